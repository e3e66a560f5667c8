/** Pictures of the gallery to try a search with. */

import { get, path } from "../shared/api.js";
import { h, show } from "../shared/element.js";
import { picture } from "../shared/pictures.js";
import { errorWords } from "../shared/shell.js";
import { imageWords } from "../shared/words.js";

/** @typedef {import("../shared/words.js").Image} Image */

const LOOKED_AT = 100; // pictures of which some are offered
const OFFERED = 6;
const SIZE = 240; // pixels of the longer side

/**
 * A few pictures, far apart, as buttons; or what to do where there are none.
 * @param {string} gallery
 * @param {(image: Image) => void} chosen
 */
export function examplePictures(gallery, chosen) {
  const place = h("div", { class: "examples" });
  fill(place, gallery, chosen).catch((error) => show(place, h("p", { class: "error" }, errorWords(error))));
  return place;
}

/**
 * @param {HTMLElement} place
 * @param {string} gallery
 * @param {(image: Image) => void} chosen
 */
async function fill(place, gallery, chosen) {
  /** @type {Image[]} */
  const images = (await get(path("galleries", gallery, "images"), { limit: LOOKED_AT })).images;
  if (images.length === 0) {
    show(place, h("p", {}, `The gallery ${gallery} has no pictures yet, so nothing can be found in it. `, h("span", { "data-needs": "write" }, h("a", { href: `/gallery?gallery=${encodeURIComponent(gallery)}` }, "Add some on the page Gallery"), ".")));
    return;
  }
  const step = Math.max(1, images.length / OFFERED);
  const offered = Array.from({ length: Math.min(OFFERED, images.length) }, (_, number) => /** @type {Image} */ (images[Math.floor(number * step)]));
  show(place, h("p", {}, "No picture at hand? Try it with one of this gallery:"), h("div", { class: "row" }, ...offered.map((image) =>
    h("button", { type: "button", class: "look", "aria-label": `Try it with ${imageWords(image)}`, onclick: () => chosen(image) }, picture(image.crop, "", { size: SIZE, eager: true })))));
}
