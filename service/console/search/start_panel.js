/** What a person sees who searches for nothing yet: how to begin. */

import { h, show } from "../shared/element.js";
import { examplePictures } from "./example_pictures.js";

/** @typedef {import("./picture_drop.js").PictureDrop} PictureDrop */

export class StartPanel {
  /**
   * @param {PictureDrop} drop
   * @param {(image_id: string) => void} tried with a picture of the gallery
   */
  constructor(drop, tried) {
    this.tried = tried;
    this.gallery = "";
    this.examples = h("div", {});
    this.element = h("section", { class: "start", "aria-label": "Choose a picture", hidden: true }, h("h2", {}, "Where else was this vehicle seen?"),
      h("div", { "data-lacks": "read" }, h("p", {}, "The key of this page adds pictures, and does not search; that takes one with the scope read."), h("a", { class: "button primary", href: "/gallery" }, "Add pictures")),
      h("div", { "data-needs": "read" }, h("p", { class: "with-mouse" }, "Drop a picture of a vehicle here, or paste one with Ctrl+V."),
        h("p", { class: "by-touch" }, "Photograph a vehicle, or choose a picture of one."),
        h("div", { class: "row centre" }, drop.button("Choose a picture", { kind: "primary" }), drop.button("Photograph", { camera: true })),
        h("p", { class: "small faint" }, "Several pictures at once are searched for as one vehicle."), this.examples));
  }

  /** @param {string | null} gallery that is to be searched; null: there is a query */
  take(gallery) {
    this.element.hidden = gallery === null;
    if (gallery === null || gallery === this.gallery) return;
    this.gallery = gallery;
    this.again();
  }

  /** Ask for examples once more. */
  again() {
    if (this.gallery !== "") show(this.examples, examplePictures(this.gallery, (image) => this.tried(image.image_id)));
  }
}
