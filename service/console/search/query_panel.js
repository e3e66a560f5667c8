/** The pictures that are searched with: looked at, boxed, added and removed. */

import { Problem, Unreachable, path } from "../shared/api.js";
import { BoxEditor } from "./box_editor.js";
import { h, show } from "../shared/element.js";
import { picture } from "../shared/pictures.js";
import { MOST_PARTS, isBrought, partKey } from "./search_state.js";
import { errorWords } from "../shared/shell.js";
import { timeWords, viewpointWords } from "../shared/words.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_state.js").Part} Part */
/** @typedef {import("./search_state.js").BroughtPart} BroughtPart */
/** @typedef {import("./attention_map.js").AttentionMaps} AttentionMaps */
/** @typedef {import("./picture_drop.js").PictureDrop} PictureDrop */

const TILE = 160; // pixels of a small picture's longer side
const STORED = 800; // and of one of the gallery

export class QueryPanel {
  /**
   * @param {{changed: (parts: Part[], step: "push" | "replace") => void, erase: (part: BroughtPart) => void}} actions
   * @param {PictureDrop} drop
   * @param {AttentionMaps} maps
   */
  constructor(actions, drop, maps) {
    this.actions = actions;
    this.maps = maps;
    /** @type {Search | null} */
    this.search = null;
    this.at = 0;
    this.open = "";
    this.shown = new AbortController();
    this.editor = new BoxEditor((boxes, chosen, drawn) => this.replace(this.at, (part) => ({ ...part, boxes, chosen }), drawn ? "push" : "replace"));
    this.place = h("div", { class: "query-place" });
    this.strip = h("div", { class: "row strip", role: "group", "aria-label": "Pictures of the query" });
    this.seen = h("p", { class: "small" });
    this.kept = h("div", { class: "small faint" });
    this.adder = drop.button("Add another picture", { add: true });
    this.element = h("section", { class: "card query", "aria-label": "Query", tabindex: -1, hidden: true },
      h("div", { class: "row apart" }, h("h2", {}, "Query"), h("button", { type: "button", class: "quiet", onclick: () => actions.changed([], "push") }, "Clear")),
      this.place, this.strip, h("div", { class: "row apart" }, this.seen, h("a", { class: "to-results", href: "#results" }, "Results ↓")),
      h("div", { class: "row" }, drop.button("New picture"), this.adder, drop.button("Photograph", { camera: true })), this.kept);
  }

  /** @param {Search} search */
  take(search) {
    this.search = search;
    const { parts } = search;
    this.element.hidden = parts.length === 0;
    this.at = Math.max(0, Math.min(this.at, parts.length - 1));
    this.adder.hidden = parts.length >= MOST_PARTS;
    const part = parts[this.at];
    this.drawStrip();
    this.sayKept();
    if (part === undefined) this.close();
    else if (isBrought(part)) this.showBrought(part);
    else this.showStored(search.gallery, part.image_id);
  }

  /** Show the last picture, which was added just now. */
  showLast() {
    this.at = MOST_PARTS;
  }

  /** @param {Record<string, number> | null} viewpoint of the query, as the model sees it */
  see(viewpoint) {
    const words = viewpoint === null ? "" : viewpointWords(viewpoint);
    show(this.seen, words ? `Seen from: ${words}` : null);
  }

  /** Say until when the pictures are kept, or why they are not. */
  sayKept() {
    const part = this.search?.parts[this.at];
    const unkept = this.search?.parts.find((each) => isBrought(each) && each.picture.unkept !== null);
    if (unkept && isBrought(unkept)) show(this.kept, h("p", { class: "warning" }, `This search cannot be shared: ${unkept.picture.unkept}`));
    else if (part && isBrought(part) && part.picture.keptUntil !== null) {
      show(this.kept, h("p", {}, `The picture is kept until ${timeWords(part.picture.keptUntil)}, so that this page's address can be shared. `,
        h("button", { type: "button", class: "quiet inline", onclick: () => this.actions.erase(part) }, "Erase it now")));
    } else show(this.kept);
  }

  close() {
    this.shown.abort();
    this.open = "";
    show(this.place);
  }

  /** @param {BroughtPart} part */
  async showBrought(part) {
    const name = part.picture.handle;
    if (this.open === name) {
      this.editor.take(part.boxes, part.chosen);
      return;
    }
    this.close();
    this.open = name;
    const { signal } = this.shown = new AbortController();
    const image = part.picture.element("the picture that is searched with");
    try {
      await part.picture.measure();
    } catch (error) {
      if (signal.aborted) return;
      const said = error instanceof Problem || error instanceof Unreachable;
      show(this.place, h("p", { class: "faint" }, "This picture cannot be shown here", said ? `: ${errorWords(error)}` : "."));
      if (said) this.open = ""; // it may be another time
      return;
    }
    if (signal.aborted) return;
    this.sayKept();
    const { width, height } = part.picture;
    const layer = h("div", { class: "map-place" });
    this.editor.open([image, layer], width, height);
    fit(this.editor.stage, width, height);
    show(this.place, this.editor.element);
    const now = () => /** @type {BroughtPart | undefined} */ (this.search?.parts[this.at]);
    this.boxLayer = () => this.layMap(layer, now(), width, height);
    const current = now();
    if (current) this.editor.take(current.boxes, current.chosen);
    this.layMap(layer, current, width, height);
  }

  /**
   * The map of the part of the picture that is searched for.
   * @param {HTMLElement} layer
   * @param {BroughtPart | undefined} part
   * @param {number} width
   * @param {number} height
   */
  layMap(layer, part, width, height) {
    this.mapped?.abort();
    this.mapped = new AbortController();
    this.shown.signal.addEventListener("abort", () => this.mapped?.abort());
    if (part === undefined || this.search === null) return;
    const box = part.boxes[part.chosen] ?? { x: 0, y: 0, width, height };
    const { gallery } = this.search;
    layer.style.left = `${(100 * box.x) / width}%`;
    layer.style.top = `${(100 * box.y) / height}%`;
    layer.style.width = `${(100 * box.width) / width}%`;
    layer.style.height = `${(100 * box.height) / height}%`;
    show(layer, this.maps.layer(() => this.maps.ofPart(gallery, part), this.editor.stage, box, this.mapped.signal));
  }

  /**
   * @param {string} gallery
   * @param {string} image_id
   */
  showStored(gallery, image_id) {
    const name = `${gallery} ${image_id}`;
    if (this.open === name) return;
    this.close();
    this.open = name;
    this.shown = new AbortController();
    const image = picture(path("galleries", gallery, "images", image_id, "crop"), `picture ${image_id} of the gallery`, { size: STORED, eager: true });
    const stage = h("div", { class: "stage" }, image);
    image.addEventListener("load", () => fit(stage, image.naturalWidth, image.naturalHeight));
    stage.append(this.maps.layer(() => this.maps.ofImage(gallery, image_id), stage, image, this.shown.signal));
    show(this.place, stage, h("p", { class: "small faint" }, `Picture ${image_id} of this gallery`));
  }

  drawStrip() {
    const { gallery, parts } = /** @type {Search} */ (this.search);
    show(this.strip, ...(parts.length < 2 ? [] : parts.map((part, number) => h("span", { class: "tile" },
      h("button", { type: "button", class: "look", "aria-pressed": String(number === this.at), "aria-label": `Show picture ${number + 1} of the query`, onclick: () => { this.at = number; this.take(/** @type {Search} */ (this.search)); } },
        isBrought(part) ? part.picture.element("", TILE) : picture(path("galleries", gallery, "images", part.image_id, "crop"), "", { size: TILE, eager: true })),
      h("button", { type: "button", class: "remove", "aria-label": `Remove picture ${number + 1} from the query`, onclick: () => this.actions.changed(parts.filter((each) => each !== part), "push") }, "×")))),
    parts.length < 2 ? null : h("p", { class: "small faint" }, `${parts.length} pictures are searched for as one vehicle.`));
  }

  /**
   * @param {number} number
   * @param {(part: BroughtPart) => BroughtPart} changed
   * @param {"push" | "replace"} step
   */
  replace(number, changed, step) {
    const parts = this.search?.parts ?? [];
    const part = parts[number];
    if (part === undefined || !isBrought(part)) return;
    const next = changed(part);
    const before = partKey(part);
    this.actions.changed(parts.map((each) => (each === part ? next : each)), step);
    if (partKey(next) !== before) this.boxLayer?.();
  }
}

/**
 * As wide as there is room, but no taller than half the window.
 * @param {HTMLElement} stage
 * @param {number} width
 * @param {number} height
 */
function fit(stage, width, height) {
  stage.style.width = `min(100%, ${Math.round((50 * width) / height)}vh)`;
}
