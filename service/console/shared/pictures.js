/** Pictures of the service on the page, also where it wants a key, which an address alone cannot bring. */

import { authorization, connection, key, withQuery } from "./api.js";
import { h } from "./element.js";

const NOTHING = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='3' height='2'/%3E";

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    waiting.get(entry.target)?.();
    waiting.delete(entry.target);
  }
}, { rootMargin: "300px" });
/** @type {WeakMap<Element, () => void>} */
const waiting = new WeakMap();

/**
 * A picture by its address, fetched when it comes into view. ``size``: its longer side at most, in pixels, where the
 * service makes a smaller one.
 * @param {string | null} address null: none is kept
 * @param {string} alt
 * @param {{size?: number, eager?: boolean, class?: string}} [how]
 * @returns {HTMLImageElement}
 */
export function picture(address, alt, how = {}) {
  const image = h("img", { alt, class: how.class, decoding: "async" });
  if (address === null) {
    image.src = NOTHING;
    image.classList.add("missing");
    image.title = "this gallery keeps no pictures";
    return image;
  }
  const whole = withQuery(address, { max_side: how.size ?? null });
  image.addEventListener("error", () => {
    image.classList.add("missing");
    image.title = "the picture could not be loaded";
    connection.addEventListener("back", () => load(image, whole), { once: true });
  });
  image.addEventListener("load", () => image.classList.remove("missing"));
  if (how.eager) load(image, whole);
  else {
    waiting.set(image, () => load(image, whole));
    seen.observe(image);
  }
  return image;
}

/**
 * @param {HTMLImageElement} image
 * @param {string} address
 */
async function load(image, address) {
  if (key() === null) {
    image.src = address;
    return;
  }
  try {
    const local = URL.createObjectURL(await pictureBytes(address));
    image.addEventListener("load", () => URL.revokeObjectURL(local), { once: true });
    image.src = local;
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}

/**
 * The bytes of a picture of the service.
 * @param {string} address
 * @param {AbortSignal} [signal]
 * @returns {Promise<Blob>}
 */
export async function pictureBytes(address, signal) {
  const answer = await fetch(address, { headers: authorization(), signal: signal ?? null });
  if (!answer.ok) throw new Error(`the picture could not be loaded: ${answer.status}`);
  return answer.blob();
}
