/** A search as a request: by an address where the service keeps the pictures, else with the pictures themselves. */

import { change, get, path } from "../shared/api.js";
import { pictureBytes } from "../shared/pictures.js";
import { boxOf, boxText, boxesOf, broughtOf, isBrought, storedOf } from "./search_state.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_state.js").Part} Part */
/** @typedef {import("./query_picture.js").Box} Box */
/** @typedef {import("../shared/words.js").Image & {rank: number, distance: number}} Match */
/** @typedef {{global: number[][], local: number[][]}} Attention */
/** @typedef {{viewpoint: Record<string, number>, matches: Match[], attention?: Attention, timing_ms: {total: number}}} Answer */

const SENT_TWICE = 512 * 1024; // bytes at most

/**
 * Ask the service. A single small picture that it has not kept yet is sent with the search, so that nobody waits for
 * both; a large one is kept first, because sending it is what takes long.
 * @param {Search} search
 * @param {AbortSignal} [signal]
 * @param {Record<string, string>} [more] options of the search
 * @returns {Promise<Answer>}
 */
export async function askFor(search, signal, more = {}) {
  const address = path("galleries", search.gallery, "search");
  const options = new URLSearchParams({ ...Object.fromEntries(optionsOf(search)), ...more });
  for (const [name, value] of search.filters) options.append(name, value);
  const brought = broughtOf(search.parts);
  const first = brought[0];
  const asked = signal ? { signal } : {};
  const alone = search.parts.length === 1 && first?.picture.blob ? first : null;
  if (alone?.picture.blob && alone.picture.blob.size > SENT_TWICE) await alone.picture.keep();
  if (alone?.picture.blob && alone.picture.id === null) {
    const box = boxOf(alone);
    if (box !== null) options.set("box", boxText(box));
    return change("POST", address, { ...asked, query: options, body: alone.picture.blob, type: alone.picture.blob.type || "application/octet-stream" });
  }
  await Promise.all(brought.map((part) => part.picture.keep()));
  if (brought.some((part) => part.picture.id === null)) return askWithBytes(search, address, options, asked);
  if (brought.some((part) => boxOf(part) !== null)) await Promise.all(brought.map((part) => part.picture.measure()));
  for (const part of brought) options.append("query_id", part.picture.address);
  for (const box of boxesOf(brought)) options.append("box", box);
  for (const image of storedOf(search.parts)) options.append("image_id", image);
  return get(address, options, asked);
}

/** @param {Search} search */
function optionsOf(search) {
  const options = new URLSearchParams({ top_k: String(search.topK) });
  if (search.byVehicle) options.set("group_by", "vehicle_id");
  return options;
}

/**
 * Where the service keeps no pictures: all go along, those of the gallery, too.
 * @param {Search} search
 * @param {string} address
 * @param {URLSearchParams} options
 * @param {{signal?: AbortSignal}} asked
 * @returns {Promise<Answer>}
 */
async function askWithBytes(search, address, options, asked) {
  const form = new FormData();
  for (const [number, data] of (await Promise.all(search.parts.map((part) => bytesOf(part, search.gallery)))).entries()) form.append("image", data, `${number}`);
  options.set("combine", "mean");
  const answer = await change("POST", address, { ...asked, query: options, body: form });
  const own = new Set(storedOf(search.parts));
  return { ...answer, matches: answer.matches.filter((/** @type {Match} */ match) => !own.has(match.image_id)) };
}

/**
 * @param {Part} part
 * @param {string} gallery
 * @returns {Promise<Blob>}
 */
async function bytesOf(part, gallery) {
  if (!isBrought(part)) return pictureBytes(path("galleries", gallery, "images", part.image_id, "crop"));
  const whole = await part.picture.bytes();
  const box = boxOf(part);
  return box === null ? whole : cut(whole, box);
}

/**
 * @param {Blob} picture
 * @param {Box} box
 * @returns {Promise<Blob>}
 */
async function cut(picture, { x, y, width, height }) {
  const bitmap = await createImageBitmap(picture, x, y, width, height);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob === null ? reject(new Error("the box could not be cut out of the picture")) : resolve(blob)), "image/png"));
}
