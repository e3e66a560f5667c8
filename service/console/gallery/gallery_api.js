/** What the gallery's page asks of the service. */

import { change, get, parameters, path } from "../shared/api.js";

/** @typedef {import("./listed_images.js").StoredImage} StoredImage */

const PAGE = 1000; // images that one answer lists
const LONGEST_QUERY = 6000; // characters; some proxies take no line of more than 8,000

/**
 * Which images something is done to: those of some ids, or all that pass filters.
 * @typedef {{ids: string[]} | {filters: URLSearchParams}} Chosen
 */

/**
 * A part of the listing.
 * @param {string} gallery
 * @param {URLSearchParams} filters
 * @param {{order: string, offset: number, limit: number, signal?: AbortSignal}} part
 * @returns {Promise<{images: StoredImage[], total: number}>}
 */
export function listed(gallery, filters, { order, offset, limit, signal }) {
  const query = new URLSearchParams(filters);
  for (const [name, value] of Object.entries({ order, offset, limit, total: true })) query.set(name, String(value));
  return get(path("galleries", gallery, "images"), query, signal ? { signal } : {});
}

/**
 * How many images pass filters.
 * @param {string} gallery
 * @param {URLSearchParams | Record<string, string>} filters
 * @returns {Promise<number>}
 */
export async function counted(gallery, filters) {
  const { total } = await listed(gallery, new URLSearchParams(filters), { order: "image_id", offset: 0, limit: 1 });
  return total;
}

/** @param {string} gallery */
export function facets(gallery) {
  return get(path("galleries", gallery, "facets"));
}

/**
 * Erase images; how many. Ids go in several requests where they are too many for one.
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {(done: number) => void} [progress]
 */
export function erase(gallery, chosen, progress) {
  return forAll(gallery, chosen, (address, query) => change("DELETE", address, { query }), progress);
}

/**
 * Change the metadata of images by a merge patch; how many were meant. As {@link erase}.
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {Record<string, unknown>} patch
 * @param {(done: number) => void} [progress]
 */
export function patchAll(gallery, chosen, patch, progress) {
  return forAll(gallery, chosen, (address, query) => change("PATCH", address, { query, json: patch }), progress);
}

/**
 * The ids of images by the vehicle that each is of (null: of none that is known); null where there are more than ``most``.
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {number} most
 * @returns {Promise<Map<string | null, string[]> | null>}
 */
export async function byVehicle(gallery, chosen, most) {
  const parts = "filters" in chosen ? [chosen.filters] : [...batches(chosen.ids)].map((ids) => parameters({ image_id: ids }));
  /** @type {Map<string | null, string[]>} */
  const ids = new Map();
  let found = 0;
  for (const filters of parts) {
    for (let offset = 0, total = 1; offset < total; offset += PAGE) {
      const page = await listed(gallery, filters, { order: "image_id", offset, limit: PAGE });
      total = page.total;
      found += page.images.length;
      if (found > most || total > most) return null;
      for (const { image_id, vehicle_id } of page.images) {
        const own = ids.get(vehicle_id);
        if (own) own.push(image_id);
        else ids.set(vehicle_id, [image_id]);
      }
    }
  }
  return ids;
}

/**
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {(address: string, query: URLSearchParams) => Promise<{deleted?: number, updated?: number}>} run
 * @param {(done: number) => void} [progress]
 */
async function forAll(gallery, chosen, run, progress = () => {}) {
  const address = path("galleries", gallery, "images");
  if ("filters" in chosen) {
    const query = chosen.filters.size > 0 ? chosen.filters : parameters({ all: true });
    const { deleted, updated } = await run(address, query);
    return deleted ?? updated ?? 0;
  }
  let done = 0;
  for (const batch of batches(chosen.ids)) {
    const { deleted, updated } = await run(address, parameters({ image_id: batch }));
    done += deleted ?? updated ?? 0;
    progress(done);
  }
  return done;
}

/** @param {string[]} ids */
function* batches(ids) {
  let batch = [];
  let length = 0;
  for (const id of ids) {
    const own = encodeURIComponent(id).length + "image_id=&".length;
    if (batch.length > 0 && (length + own > LONGEST_QUERY || batch.length === 200)) {
      yield batch;
      batch = [];
      length = 0;
    }
    batch.push(id);
    length += own;
  }
  if (batch.length > 0) yield batch;
}
