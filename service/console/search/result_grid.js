/** Matches as a grid, nearest first. */

import { h, show } from "../shared/element.js";
import { picture } from "../shared/pictures.js";
import { verdictButtons } from "./verdict_buttons.js";
import { distanceWords, imageWords, timeWords, viewpointWords } from "../shared/words.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_request.js").Match} Match */
/** @typedef {import("./attention_map.js").AttentionMaps} AttentionMaps */
/** @typedef {{like: (match: Match) => void, add: (match: Match) => void, compare: (match: Match) => void, pick: (match: Match, picked: boolean) => void}} Actions */

const SIZE = 400; // pixels of a picture's longer side
const STEPS = /** @type {Record<string, (columns: number) => number>} */ ({ ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: (columns) => -columns, ArrowDown: (columns) => columns });

export class ResultGrid {
  /**
   * @param {Actions} actions
   * @param {AttentionMaps} maps
   */
  constructor(actions, maps) {
    this.actions = actions;
    this.maps = maps;
    /** @type {{match: Match, card: HTMLElement, box: HTMLInputElement}[]} */
    this.cards = [];
    this.shown = new AbortController();
    this.element = h("ol", { class: "matches", onkeydown: (/** @type {KeyboardEvent} */ event) => this.walk(event) });
  }

  /**
   * @param {Search} search
   * @param {Match[]} matches
   * @param {(image_id: string) => boolean} isPicked
   */
  take(search, matches, isPicked) {
    this.shown.abort();
    this.shown = new AbortController();
    this.cards = matches.map((match) => this.card(search, match, isPicked(match.image_id)));
    show(this.element, ...this.cards.map(({ card }) => card));
  }

  /** @param {number | null} threshold what lies beyond it fades */
  fade(threshold) {
    for (const { match, card } of this.cards) {
      const beyond = threshold !== null && match.distance > threshold;
      card.classList.toggle("beyond", beyond);
      /** @type {HTMLElement} */ (card.querySelector(".far")).hidden = !beyond;
    }
  }

  /** @param {(image_id: string) => boolean} isPicked */
  pick(isPicked) {
    for (const { match, card, box } of this.cards) {
      box.checked = isPicked(match.image_id);
      card.classList.toggle("picked", box.checked);
    }
  }

  /**
   * @param {Search} search
   * @param {Match} match
   * @param {boolean} picked
   */
  card(search, match, picked) {
    const { like, add, compare, pick } = this.actions;
    const image = picture(match.crop, "", { size: SIZE });
    const look = h("button", { type: "button", class: "look", "aria-label": `Match ${match.rank}, compare: ${imageWords(match)}`, onclick: () => compare(match) }, image);
    if (match.crop !== null) {
      look.append(this.maps.layer(() => this.maps.ofImage(search.gallery, match.image_id), look, image, this.shown.signal));
    }
    const box = h("input", { type: "checkbox", checked: picked, "aria-label": `Choose match ${match.rank}`, onchange: () => {
      card.classList.toggle("picked", box.checked);
      pick(match, box.checked);
    } });
    const card = h("li", { class: `match${picked ? " picked" : ""}`, "data-image": match.image_id },
      h("div", { class: "shown" }, look, h("span", { class: "rank", "aria-hidden": "true" }, match.rank), h("label", { class: "pick" }, box)),
      facts(match),
      h("div", { class: "acts" },
        h("button", { type: "button", "aria-label": `More like this, match ${match.rank}`, title: "Search with this picture instead", onclick: () => like(match) }, "More like this"),
        h("button", { type: "button", "aria-label": `+ Query, match ${match.rank}`, title: "Search with this picture, too", onclick: () => add(match) }, "+ Query")),
      verdictButtons(search, match, this.shown.signal));
    return { match, card, box };
  }

  /**
   * Arrow keys go from picture to picture.
   * @param {KeyboardEvent} event
   */
  walk(event) {
    const step = STEPS[event.key];
    const at = this.cards.findIndex(({ card }) => card.querySelector(".look") === event.target);
    if (step === undefined || at === -1) return;
    const columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const next = this.cards[at + step(columns)];
    if (next === undefined) return;
    event.preventDefault();
    /** @type {HTMLElement | null} */ (next.card.querySelector(".look"))?.focus();
  }
}

/**
 * What is known of a match, as lines.
 * @param {Match} match
 * @param {{long?: boolean}} [how]
 */
export function facts(match, { long = false } = {}) {
  const viewpoint = viewpointWords(match.viewpoint);
  const attributes = Object.entries(match.attributes).map(([name, value]) => `${name}: ${value}`);
  return h("div", { class: "facts" },
    h("p", { class: "nearness" }, h("span", { class: "unseen" }, "Distance "), h("strong", {}, distanceWords(match.distance)), probabilityChip(match), h("span", { class: "chip warn far", hidden: true }, "beyond")),
    h("p", {}, ...(match.camera_id ? ["Camera ", h("bdi", {}, match.camera_id)] : ["Camera unknown"]), viewpoint ? ` · ${viewpoint}` : null), h("p", {}, timeWords(match.captured_at)),
    match.vehicle_id ? h("p", { class: "faint" }, "Vehicle ", h("bdi", {}, match.vehicle_id)) : null,
    long ? h("p", { class: "faint" }, `Picture ${match.image_id}`) : null,
    attributes.length > 0 ? h("p", { class: "faint clip" }, h("bdi", {}, attributes.join(" · "))) : null);
}

/** @param {Match} match */
function probabilityChip(match) {
  const { probability } = match;
  if (probability === undefined || probability === null) return null;
  const percent = probability > 0.99 && probability < 1 ? "> 99" : probability < 0.01 && probability > 0 ? "< 1" : String(Math.round(probability * 100));
  return h("span", { class: `chip${probability >= 0.5 ? " good" : ""}`, title: "how probably it is the same vehicle, as the model's contract says of this distance" }, `${percent} % same`);
}
