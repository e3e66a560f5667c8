/** Matches that a person has chosen, from one search or several; they go to the trail. */

import { withQuery } from "../shared/api.js";
import { h, show } from "../shared/element.js";
import { boxesOf, broughtOf, storedOf } from "./search_state.js";
import { countWords } from "../shared/words.js";

/** @typedef {import("./search_state.js").Search} Search */

const KEPT = "vehicle-search-chosen";

export class ChosenMatches {
  /** @param {{changed: () => void, add: (image_ids: string[]) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.gallery = "default";
    /** @type {Set<string>} */
    this.images = new Set();
    this.count = h("strong", { role: "status" });
    this.trail = h("a", { class: "button primary", href: "/trail" }, "Show their trail");
    this.element = h("div", { class: "chosen-bar", role: "region", "aria-label": "Chosen matches", hidden: true }, this.count, this.trail,
      h("button", { type: "button", onclick: () => actions.add([...this.images]) }, "Add to the query"),
      h("button", { type: "button", class: "quiet", onclick: () => this.clear() }, "Choose none"));
  }

  /**
   * Those of a gallery, also when the person comes back from another page.
   * @param {string} gallery
   */
  of(gallery) {
    this.gallery = gallery;
    this.images = new Set(/** @type {string[]} */ (JSON.parse(sessionStorage.getItem(`${KEPT} ${gallery}`) ?? "[]")));
  }

  /**
   * @param {string[]} images
   * @param {boolean} chosen
   */
  set(images, chosen) {
    for (const image of images) {
      if (chosen) this.images.add(image);
      else this.images.delete(image);
    }
    sessionStorage.setItem(`${KEPT} ${this.gallery}`, JSON.stringify([...this.images]));
    this.actions.changed();
  }

  clear() {
    this.set([...this.images], false);
  }

  /**
   * The trail is that of the chosen pictures and of those of the gallery that were searched with.
   * @param {Search | null} search
   */
  draw(search) {
    const parts = search?.parts ?? [];
    this.element.hidden = this.images.size === 0;
    show(this.count, countWords(this.images.size, "match chosen", "matches chosen"));
    const kept = broughtOf(parts).filter((part) => part.picture.id !== null);
    const boxes = kept.every((part) => part.picture.width > 0) ? boxesOf(kept) : [];
    this.trail.setAttribute("href", withQuery("/trail", {
      gallery: this.gallery, image_id: [...new Set([...storedOf(parts), ...this.images])], query_id: kept.map((part) => part.picture.address), box: boxes, query_image_id: storedOf(parts),
    }));
  }
}
