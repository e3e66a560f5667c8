/** Query and match side by side, large. */

import { ask } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { picture } from "../shared/pictures.js";
import { path } from "../shared/api.js";
import { facts } from "./result_grid.js";
import { boxOf, isBrought } from "./search_state.js";
import { tell } from "../shared/shell.js";
import { verdictButtons } from "./verdict_buttons.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_state.js").Part} Part */
/** @typedef {import("./search_request.js").Match} Match */
/** @typedef {import("./attention_map.js").AttentionMaps} AttentionMaps */

const SIZE = 1024; // pixels of a picture's longer side

/**
 * Show a match beside the first picture of the query; arrows go to the next and the one before.
 * @param {Search} search
 * @param {Match[]} matches
 * @param {Match} first
 * @param {AttentionMaps} maps
 */
export async function compare(search, matches, first, maps) {
  const [part] = search.parts;
  if (part === undefined) return;
  const closed = new AbortController();
  let turned = new AbortController();
  const place = h("div", {});
  const title = h("span", { class: "faint", role: "status" });
  let at = matches.indexOf(first);
  const turn = (/** @type {number} */ by) => {
    at = Math.max(0, Math.min(matches.length - 1, at + by));
    turned.abort();
    turned = new AbortController();
    const match = /** @type {Match} */ (matches[at]);
    const image = picture(match.crop, `match ${match.rank}`, { size: SIZE, eager: true });
    const frame = h("div", { class: "look-large" }, image);
    if (match.crop !== null) frame.append(maps.layer(() => maps.ofImage(search.gallery, match.image_id), frame, image, turned.signal));
    show(title, `Match ${match.rank} of ${matches.length}`);
    show(place, frame, facts(match, { long: true }), verdictButtons(search, match, turned.signal));
    const inside = document.activeElement === back || document.activeElement === on;
    back.disabled = at === 0;
    on.disabled = at === matches.length - 1;
    if (inside && back.disabled) on.focus();
    else if (inside && on.disabled) back.focus();
  };
  const back = h("button", { type: "button", onclick: () => turn(-1) }, "← Nearer");
  const on = h("button", { type: "button", onclick: () => turn(1) }, "Farther →");
  const sides = h("div", { class: "comparison" }, h("section", { "aria-label": "Query" }, h("h3", {}, "Query"), queryFrame(search, part, maps, closed.signal), search.parts.length > 1 ? h("p", { class: "faint small" }, `the first of ${search.parts.length} pictures`) : null),
  h("section", { "aria-label": "Match" }, h("h3", {}, "Match"), place));
  const body = h("div", { onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.target instanceof HTMLSelectElement) return;
    if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "ArrowRight") turn(1);
  } }, h("div", { class: "row" }, back, on, title, maps.toggle()), sides);
  turn(0);
  await ask("Query and match", [body], [{ value: "close", label: "Close", kind: "primary" }], { wide: true });
  closed.abort();
  turned.abort();
}

/**
 * The part of the query that is searched for.
 * @param {Search} search
 * @param {Part} part
 * @param {AttentionMaps} maps
 * @param {AbortSignal} signal
 */
function queryFrame(search, part, maps, signal) {
  const box = isBrought(part) ? boxOf(part) : null;
  /** @type {HTMLImageElement | {width: number, height: number}} */
  let shape;
  const frame = h("div", { class: "look-large" });
  if (isBrought(part) && box !== null) {
    const canvas = h("canvas", { role: "img", "aria-label": "the query", width: box.width, height: box.height });
    shape = box;
    cutOut(canvas, part, box).catch((error) => tell(error, "The query cannot be shown"));
    frame.append(canvas);
  } else {
    const image = isBrought(part) ? part.picture.element("the query", SIZE) : picture(path("galleries", search.gallery, "images", part.image_id, "crop"), "the query", { size: SIZE, eager: true });
    shape = image;
    frame.append(image);
  }
  frame.append(maps.layer(() => maps.ofPart(search.gallery, part), frame, shape, signal));
  return frame;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./search_state.js").BroughtPart} part
 * @param {import("./query_picture.js").Box} box
 */
async function cutOut(canvas, part, box) {
  await part.picture.measure();
  const bitmap = await createImageBitmap(await part.picture.bytes());
  const scale = bitmap.width / part.picture.width;
  canvas.width = Math.max(1, Math.round(box.width * scale));
  canvas.height = Math.max(1, Math.round(box.height * scale));
  canvas.getContext("2d")?.drawImage(bitmap, box.x * scale, box.y * scale, box.width * scale, box.height * scale, 0, 0, canvas.width, canvas.height);
}
