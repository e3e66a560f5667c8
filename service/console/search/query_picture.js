/** A picture that a person brought to search with: in this tab's memory, kept by the service, or both. */

import { Problem, change, get, path, withQuery } from "../shared/api.js";
import { h } from "../shared/element.js";
import { picture, pictureBytes } from "../shared/pictures.js";

/** @typedef {{x: number, y: number, width: number, height: number}} Box in whole pixels of the upright picture */

const HELD = "held-"; // what stands in the address for a picture that has no id of the service
const REFUSED = [400, 413, 415, 422]; // the picture itself is at fault
const LASTING = [403, 409, 413, 507]; // it will not be kept, however often it is sent
const PREVIEW = 1280; // pixels of the longer side, where the service makes it smaller

/** @type {Map<string, QueryPicture>} */
const pictures = new Map();

export class QueryPicture {
  /**
   * @param {string} handle
   * @param {File | null} blob
   * @param {string} name as its owner calls it
   */
  constructor(handle, blob, name) {
    this.handle = handle;
    this.blob = blob;
    this.name = name;
    /** @type {string | null} */
    this.id = blob === null ? handle : null;
    this.width = 0;
    this.height = 0;
    /** @type {string | null} */
    this.keptUntil = null;
    /** Why the service does not keep it, in its words. @type {string | null} */
    this.unkept = null;
    this.refused = false; // the service cannot read it
    this.forgotten = false; // by the service, once
    /** @type {Promise<void> | null} */
    this.keeping = null;
    /** @type {string | null} */
    this.local = null;
    pictures.set(handle, this);
  }

  /**
   * One that a person has just brought.
   * @param {File} file
   */
  static brought(file) {
    return new QueryPicture(`${HELD}${crypto.getRandomValues(new Uint32Array(1))[0]?.toString(16)}`, file, file.name);
  }

  /**
   * The one that an address names; null where it was in the memory of another tab.
   * @param {string} handle
   */
  static named(handle) {
    return pictures.get(handle) ?? (handle.startsWith(HELD) ? null : new QueryPicture(handle, null, "the picture"));
  }

  /** What stands for it in the address of the page. */
  get address() {
    return this.id ?? this.handle;
  }

  /** Have the service keep it, once; rejects where the picture is refused or the service cannot take it now. */
  keep() {
    if (this.id !== null || this.unkept !== null) return Promise.resolve();
    this.keeping ??= this.post().finally(() => { this.keeping = null; });
    return this.keeping;
  }

  async post() {
    try {
      this.take(await change("POST", path("queries"), { body: this.blob ?? "", type: this.blob?.type || "application/octet-stream" }));
    } catch (error) {
      this.refused = isRefusal(error) && error.status !== 413; // it may be small enough to be searched with
      if (this.refused || !(error instanceof Problem) || !LASTING.includes(error.status)) throw error;
      this.unkept = error.message;
    }
  }

  /** @param {{query_id: string, width: number, height: number, kept_until: string}} kept */
  take(kept) {
    this.id = kept.query_id;
    this.width = kept.width;
    this.height = kept.height;
    this.keptUntil = kept.kept_until;
    pictures.set(kept.query_id, this);
  }

  /** The service has forgotten it; whether it can be had of this tab's memory. */
  lose() {
    if (this.blob === null || this.id === null) return false;
    pictures.delete(this.id);
    this.id = this.keptUntil = null;
    if (this.forgotten) this.unkept = "the service has no room to keep it";
    this.forgotten = true;
    return true;
  }

  /** Whoever asks is somebody else now, for whom it may be kept. */
  static mayBeKept() {
    for (const each of pictures.values()) each.unkept = null;
  }

  /** Learn its size in pixels when upright. */
  async measure() {
    if (this.width > 0) return;
    if (this.blob === null) {
      this.take(await get(path("queries", this.address)));
      return;
    }
    const image = new Image();
    image.src = this.shown();
    await image.decode();
    this.width = image.naturalWidth;
    this.height = image.naturalHeight;
  }

  /** Its address for a picture element. */
  shown() {
    if (this.blob === null) return path("queries", this.address, "picture");
    this.local ??= URL.createObjectURL(this.blob);
    return this.local;
  }

  /**
   * @param {string} alt
   * @param {number} [size] pixels of the longer side, at most
   * @returns {HTMLImageElement}
   */
  element(alt, size = PREVIEW) {
    return this.blob === null ? picture(this.shown(), alt, { size, eager: true }) : h("img", { src: this.shown(), alt });
  }

  /** Its bytes, maybe smaller than it is. */
  bytes() {
    return this.blob ?? pictureBytes(withQuery(this.shown(), { max_side: PREVIEW }));
  }

  /** Have the service forget it. */
  async erase() {
    if (this.id !== null) await change("DELETE", path("queries", this.id));
    pictures.delete(this.handle);
    if (this.id !== null) pictures.delete(this.id);
  }
}

/**
 * @param {unknown} error
 * @returns {error is Problem}
 */
export function isRefusal(error) {
  return error instanceof Problem && REFUSED.includes(error.status);
}
