/** How pictures come to the page: dropped, pasted, chosen or photographed. */

import { h } from "../shared/element.js";

/** @typedef {(pictures: File[], add: boolean) => void} Taken ``add``: they show the vehicle that is searched for already */

export class PictureDrop {
  /** @param {Taken} taken */
  constructor(taken) {
    this.taken = taken;
    /** Whether pictures can be added to a query. */
    this.adds = false;
    this.anew = h("div", { class: "drop-half" }, h("strong", {}, "Search with it"));
    this.more = h("div", { class: "drop-half" }, h("strong", {}, "Add it to the query"), h("span", {}, "another picture of the same vehicle"));
    this.veil = h("div", { class: "veil", hidden: true }, this.anew, this.more);
    document.body.append(this.veil);
    addEventListener("dragenter", (event) => this.over(event));
    addEventListener("dragover", (event) => this.over(event));
    addEventListener("dragleave", (event) => { if (event.relatedTarget === null) this.veil.hidden = true; });
    addEventListener("drop", (event) => this.drop(event));
    addEventListener("paste", (event) => this.paste(event));
  }

  /**
   * A button that opens the choice of files; ``camera``: that of the camera, where the device has one to hold.
   * @param {string} label
   * @param {{add?: boolean, camera?: boolean, kind?: string}} [how]
   */
  button(label, how = {}) {
    const field = h("input", { type: "file", accept: "image/*", multiple: !how.camera, capture: how.camera ? "environment" : null, class: "unseen", tabindex: -1, "aria-hidden": "true", onchange: () => {
      this.take([...(field.files ?? [])], how.add ?? false);
      field.value = "";
    } });
    return h("span", { class: how.camera ? "camera" : "" }, field, h("button", { type: "button", class: how.kind ?? "", onclick: () => field.click() }, label));
  }

  /**
   * @param {File[]} pictures
   * @param {boolean} add
   */
  take(pictures, add) {
    if (pictures.length > 0) this.taken(pictures, add && this.adds);
  }

  /** @param {DragEvent} event */
  over(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    this.veil.hidden = false;
    this.more.hidden = !this.adds;
    const add = this.isOnMore(event);
    this.anew.classList.toggle("aimed", !add);
    this.more.classList.toggle("aimed", add);
  }

  /** @param {DragEvent} event */
  drop(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    this.veil.hidden = true;
    this.take([...event.dataTransfer.files], this.isOnMore(event));
  }

  /** @param {ClipboardEvent} event */
  paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    this.take(files, false);
  }

  /** @param {DragEvent} event */
  isOnMore(event) {
    return this.adds && event.clientX > innerWidth / 2;
  }
}
