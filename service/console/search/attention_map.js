/** Where the model looked: its attention maps, drawn over the pictures that they belong to. */

import { get, path } from "../shared/api.js";
import { h } from "../shared/element.js";
import { askFor } from "./search_request.js";
import { FIRST_RESULTS, isBrought, partKey } from "./search_state.js";
import { tell } from "../shared/shell.js";

/** @typedef {import("./search_request.js").Attention} Attention */
/** @typedef {import("./search_state.js").Part} Part */
/** @typedef {{size: number[], crop: number[], aspect: string}} Resize of the model's contract; height before width */
/** @typedef {"both" | "global" | "local"} Kind */

// Lightness rises evenly, so that it is read without colours, too; after matplotlib's "inferno" (CC0), as the reports draw it.
const COLOURS = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];
const COLD = 0.45; // how much of it covers the picture where the map is lowest
const HOT = 0.75;
const SIDE = 320; // pixels of a drawn map's longer side
const AT_ONCE = 2;
/** @type {Record<Kind, string>} */
const NAMES = { both: "all of it", global: "overall (global)", local: "details (local)" };

/** Maps that are wanted, whether they are shown, and which. Fires "change". */
export class AttentionMaps extends EventTarget {
  constructor() {
    super();
    this.on = false;
    /** @type {Kind} */
    this.kind = "both";
    /** @type {Map<string, Promise<Attention>>} */
    this.known = new Map();
    /** @type {Promise<Resize> | null} */
    this.resizing = null;
    this.free = AT_ONCE;
    /** @type {(() => void)[]} */
    this.queue = [];
  }

  /** A button that shows and hides all maps, and says what they mean. */
  toggle() {
    const button = h("button", { type: "button", "aria-pressed": "false", onclick: () => { this.on = !this.on; this.tellAll(); } }, "Where the model looked");
    const choice = h("select", { "aria-label": "Which attention", onchange: () => { this.kind = /** @type {Kind} */ (choice.value); this.tellAll(); } },
      ...Object.entries(NAMES).map(([value, name]) => h("option", { value }, name)));
    const scale = h("canvas", { width: 64, height: 1, class: "scale", role: "img", "aria-label": "Colours from dark, little, to bright, much" });
    for (let x = 0; x < 64; x += 1) dot(scale, x, x / 63);
    const legend = h("span", { class: "legend small" }, "little", scale, "much", choice);
    const say = () => {
      button.setAttribute("aria-pressed", String(this.on));
      legend.hidden = !this.on;
      choice.value = this.kind;
    };
    this.addEventListener("change", say);
    say();
    return h("span", { class: "row maps" }, button, legend);
  }

  tellAll() {
    this.dispatchEvent(new Event("change"));
  }

  /**
   * A layer for the map of a picture, of the same shape; it is asked for when it is to be seen. ``signal`` ends it.
   * @param {() => Promise<Attention>} load
   * @param {HTMLElement} frame gets the class "mapped" while the map lies on it
   * @param {HTMLImageElement | {width: number, height: number}} shape of the picture, or of the part of it that was searched for
   * @param {AbortSignal} signal
   */
  layer(load, frame, shape, signal) {
    const canvas = h("canvas", { class: "map", hidden: true, role: "img", "aria-label": "where the model looked" });
    let seen = false;
    const draw = async () => {
      canvas.hidden = !this.on || !canvas.classList.contains("drawn");
      frame.classList.toggle("mapped", !canvas.hidden);
      if (!this.on || !seen) return;
      try {
        const [attention, resize, size] = await Promise.all([load(), this.resize(), sizeOf(shape)]);
        if (signal.aborted || !this.on) return;
        paint(canvas, level(attention, this.kind), size, resize);
        canvas.classList.add("drawn");
        canvas.dataset["kind"] = this.kind;
        canvas.hidden = false;
        frame.classList.add("mapped");
      } catch (error) {
        if (!signal.aborted) tell(error, "Where the model looked cannot be shown");
      }
    };
    const eye = new IntersectionObserver((entries) => {
      seen = entries.some((entry) => entry.isIntersecting);
      if (seen && this.on) draw();
    });
    eye.observe(frame);
    signal.addEventListener("abort", () => eye.disconnect());
    this.addEventListener("change", draw, { signal });
    return canvas;
  }

  /**
   * @param {string} gallery
   * @param {string} image_id
   */
  ofImage(gallery, image_id) {
    return this.remembered(`${gallery} ${image_id}`, async () => (await get(path("galleries", gallery, "images", image_id, "similar"), { top_k: 1, include: "attention" })).attention);
  }

  /**
   * @param {string} gallery
   * @param {Part} part
   */
  ofPart(gallery, part) {
    if (!isBrought(part)) return this.ofImage(gallery, part.image_id);
    const search = { gallery, parts: [part], filters: new URLSearchParams(), byVehicle: false, topK: FIRST_RESULTS, threshold: null };
    return this.remembered(`${gallery} ${partKey(part)}`, async () => /** @type {Attention} */ ((await askFor(search, undefined, { include: "attention", top_k: "1" })).attention));
  }

  /** How the model's crop is made of a picture. */
  resize() {
    this.resizing ??= get(path("model")).then((model) => model.contract.resize, (error) => {
      this.resizing = null;
      throw error;
    });
    return this.resizing;
  }

  /**
   * What was asked for once; two at a time, because each takes the model.
   * @param {string} name
   * @param {() => Promise<Attention>} ask
   */
  remembered(name, ask) {
    const known = this.known.get(name);
    if (known !== undefined) return known;
    const asked = this.turn(ask);
    asked.catch(() => this.known.delete(name));
    this.known.set(name, asked);
    return asked;
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async turn(work) {
    if (this.free === 0) await new Promise((resolve) => this.queue.push(() => resolve(null)));
    else this.free -= 1;
    try {
      return await work();
    } finally {
      const next = this.queue.shift();
      if (next === undefined) this.free += 1;
      else next();
    }
  }
}

/**
 * In pixels; that of a picture on the page when it is there.
 * @param {HTMLImageElement | {width: number, height: number}} shape
 */
async function sizeOf(shape) {
  if (!(shape instanceof HTMLImageElement)) return shape;
  if (!shape.naturalWidth) await new Promise((resolve) => shape.addEventListener("load", resolve, { once: true }));
  return { width: shape.naturalWidth, height: shape.naturalHeight };
}

/**
 * The part of a picture that the model sees, in its pixels; it may reach beyond the picture where that is padded.
 * @param {number} width
 * @param {number} height
 * @param {Resize} resize
 */
export function seenPart(width, height, { size: [tall = 1, wide = 1], crop: [cropTall = 1, cropWide = 1], aspect }) {
  const scale = aspect === "pad" ? Math.min(wide / width, tall / height) : null;
  const [across, down] = [scale ?? wide / width, scale ?? tall / height];
  const part = { width: cropWide / across, height: cropTall / down };
  return { ...part, x: (width - part.width) / 2, y: (height - part.height) / 2 };
}

/**
 * A map from 0, its own lowest, to 1, its highest; what multiplies the model's features is the sum of both.
 * @param {Attention} attention
 * @param {Kind} kind
 */
export function level(attention, kind) {
  const { global, local } = attention;
  const rows = kind === "global" ? global : kind === "local" ? local : global.map((row, y) => row.map((value, x) => value + (local[y]?.[x] ?? 0)));
  const low = Math.min(...rows.flat());
  const high = Math.max(...rows.flat());
  return rows.map((row) => row.map((value) => (high > low ? (value - low) / (high - low) : 0.5)));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number[][]} rows
 * @param {{width: number, height: number}} shape
 * @param {Resize} resize
 */
function paint(canvas, rows, { width, height }, resize) {
  const small = document.createElement("canvas");
  small.width = rows[0]?.length ?? 1;
  small.height = rows.length;
  for (const [y, row] of rows.entries()) for (const [x, value] of row.entries()) dot(small, x, value, y, COLD + (HOT - COLD) * value);
  const scale = SIDE / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d");
  if (pen === null) return;
  pen.imageSmoothingQuality = "high";
  const part = seenPart(width, height, resize);
  pen.drawImage(small, part.x * scale, part.y * scale, part.width * scale, part.height * scale);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} x
 * @param {number} value from 0 to 1
 * @param {number} [y]
 * @param {number} [cover]
 */
function dot(canvas, x, value, y = 0, cover = 1) {
  const pen = canvas.getContext("2d");
  if (pen === null) return;
  const place = value * (COLOURS.length - 1);
  const low = COLOURS[Math.floor(place)] ?? [0, 0, 0];
  const high = COLOURS[Math.ceil(place)] ?? low;
  const mixed = low.map((each, channel) => Math.round(each + ((high[channel] ?? each) - each) * (place % 1)));
  pen.fillStyle = `rgb(${mixed.join(" ")} / ${cover})`;
  pen.fillRect(x, y, 1, 1);
}

