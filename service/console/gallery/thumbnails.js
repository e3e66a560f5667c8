/** Small pictures of cells that are used again and again: what a cell no longer shows is not waited for. */

import { key, withQuery } from "../shared/api.js";
import { pictureBytes } from "../shared/pictures.js";

const SIDE = 160; // pixels, the longer one; those of a fine screen are twice as many
const FINE = 320;

/** @type {WeakMap<HTMLImageElement, AbortController>} */
const coming = new WeakMap();

/**
 * Show a picture of the service in an element.
 * @param {HTMLImageElement} image
 * @param {string} address of the crop
 */
export function showThumbnail(image, address) {
  const whole = withQuery(address, { max_side: devicePixelRatio > 1.4 ? FINE : SIDE });
  if (image.dataset["address"] === whole) return;
  dropThumbnail(image);
  image.dataset["address"] = whole;
  if (key() === null) image.src = whole;
  else void fetched(image, whole);
}

/** @param {HTMLImageElement} image */
export function dropThumbnail(image) {
  coming.get(image)?.abort();
  coming.delete(image);
  delete image.dataset["address"];
  image.removeAttribute("src"); // a request that waits for a connection is given up
}

/**
 * @param {HTMLImageElement} image
 * @param {string} address
 */
async function fetched(image, address) {
  const abort = new AbortController();
  coming.set(image, abort);
  try {
    const local = URL.createObjectURL(await pictureBytes(address, abort.signal));
    if (coming.get(image) !== abort) {
      URL.revokeObjectURL(local);
      return;
    }
    const done = () => URL.revokeObjectURL(local);
    image.addEventListener("load", done, { once: true });
    image.addEventListener("error", done, { once: true });
    image.src = local;
  } catch {
    if (coming.get(image) === abort) image.dispatchEvent(new Event("error"));
  }
}
