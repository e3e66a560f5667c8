/** The record of a trail: what stands in it, and having it as a file or on paper. */

import { path, save, send } from "../shared/api.js";
import { h } from "../shared/element.js";
import { notice, tell } from "../shared/shell.js";

const ASKED_BY = "vehicle-search-asked-by"; // kept until the tab is closed, as the key is

const FORMS = /** @type {const} */ ([["pdf", "Save as PDF"], ["csv", "Save as CSV"], ["zip", "Save as ZIP with pictures"]]);

/** @typedef {{image_ids: string[], query_ids: string[], boxes: number[][], query_image_ids: string[], max_speed_kmh: number | null, title: string | null}} Wish */

/** A form and its buttons. ``changed`` hears the title and the greatest speed, which stand in the address. */
export class TrailRecord {
  /** @param {(title: string, speed: string) => void} changed */
  constructor(changed) {
    const tell_of = () => changed(this.title.value.trim(), this.speed.validity.valid ? this.speed.value : "");
    this.title = h("input", { type: "text", maxlength: 200, placeholder: "Trail of a vehicle", onchange: tell_of });
    this.speed = h("input", { type: "number", min: 1, max: 2000, step: "any", placeholder: "150", onchange: () => { if (this.speed.reportValidity()) tell_of(); } });
    this.asked = h("input", { type: "text", maxlength: 200, value: sessionStorage.getItem(ASKED_BY) ?? "", onchange: () => sessionStorage.setItem(ASKED_BY, this.asked.value) });
    this.note = h("textarea", { maxlength: 4000, rows: 3 });
    /** @type {{gallery: string, wish: Wish} | null} */
    this.wanted = null;
    this.files = FORMS.map(([form, label]) => {
      const button = h("button", { type: "button", class: form === "pdf" ? "primary" : "", onclick: () => this.fetch(form, button) }, label);
      return button;
    });
    const print = h("button", { type: "button", onclick: () => window.print() }, "Print this page");
    this.element = h("section", { class: "card stack no-print", "aria-labelledby": "trail-record" }, h("h2", { id: "trail-record" }, "Record"),
      h("div", { class: "fields" },
        field("Title", this.title), field("Who asks", this.asked), field("Greatest speed thought possible (km/h)", this.speed), field("Note", this.note)),
      h("div", { class: "row" }, ...this.files, print),
      h("p", { class: "small faint" }, "The PDF has every picture, its SHA-256, the model's fingerprint, who asked and when, and can be handed over. The ZIP has the same as a table, and the pictures as they are stored."));
  }

  /**
   * @param {string} gallery
   * @param {Wish} wish
   * @param {string} speed
   */
  take(gallery, wish, speed) {
    this.wanted = { gallery, wish };
    if (document.activeElement !== this.title) this.title.value = wish.title ?? "";
    if (document.activeElement !== this.speed) this.speed.value = speed;
  }

  /**
   * @param {"pdf" | "csv" | "zip"} form
   * @param {HTMLButtonElement} button
   */
  async fetch(form, button) {
    if (this.wanted === null) return;
    const { gallery, wish } = this.wanted;
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      const json = { ...wish, title: this.title.value, asked_by: this.asked.value, note: this.note.value };
      const answer = await send("POST", path("galleries", gallery, "trail"), { query: { format: form }, json });
      const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? `trail.${form}`;
      await save(answer, name);
      notice(`${name} is saved.`);
    } catch (error) {
      tell(error, `The ${form.toUpperCase()} could not be made`);
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  }
}

/**
 * @param {string} label
 * @param {HTMLElement} input
 */
function field(label, input) {
  return h("label", { class: "field" }, h("span", {}, label), input);
}
