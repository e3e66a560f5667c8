/** Moves of galleries to the loaded model: begin, watch, cancel. */

import { change, get, path } from "../shared/api.js";
import { ask, confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { closed, facts, keyedRows, refusal, say, table } from "./parts.js";
import { notice, tell } from "../shared/shell.js";
import { countWords, numberWords, timeWords } from "../shared/words.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {{name: string, images?: number, embedding_space?: string, problem: string | null, migration?: {id: string, state: string, done: number, total: number} | null}} Gallery */

/**
 * Fill the part "Moves to another model" with what the status tells of galleries.
 * @param {HTMLElement} place
 * @param {() => void} changed
 */
export function migrationView(place, changed) {
  const body = h("tbody", {});
  const rows = keyedRows(body, (/** @type {Gallery & {old: boolean}} */ first) => galleryRow(first, changed));
  const settled = h("p", { class: "faint" });
  const listed = table("Galleries that another model has filled, or that move", ["Gallery", "State", "Progress", ""], body);
  const earlier = earlierMoves();
  /**
   * @param {Caller} caller
   * @param {Gallery[]} galleries
   * @param {string} space of the model that answers
   */
  return (caller, galleries, space) => {
    if (!caller.may("admin")) {
      if (place.querySelector(".closed") === null) show(place, closed("Moving galleries to another model", caller, "admin"));
      return;
    }
    const wanted = galleries.filter((each) => each.embedding_space !== undefined && (each.migration || each.embedding_space !== space));
    if (!settled.isConnected) show(place, settled, listed, earlier.element);
    say(settled, wanted.length ? "A gallery that another model has filled answers by that one, where it is loaded, too. Moving it makes its vectors anew from the stored pictures, and switches when all are there." : "Every gallery has vectors of the model that answers; nothing is to be moved.");
    listed.hidden = wanted.length === 0;
    rows(wanted.map((each) => [each.name, { ...each, old: each.embedding_space !== space }]));
    earlier.update(galleries.map((each) => each.name));
  };
}

/**
 * @param {Gallery & {old: boolean}} first
 * @param {() => void} changed
 */
function galleryRow(first, changed) {
  let gallery = first;
  const state = h("td", {});
  const bar = h("progress", { "aria-label": `Progress of moving ${first.name}` });
  const words = h("div", { class: "small" });
  const button = h("button", { type: "button", "data-needs": "administer", onclick: () => (gallery.migration ? cancel(gallery, changed) : begin(gallery, changed)) });
  return {
    row: h("tr", {}, h("th", { scope: "row" }, first.name), state, h("td", { class: "progress" }, bar, words), h("td", {}, button)),
    update: (/** @type {Gallery & {old: boolean}} */ now) => {
      gallery = now;
      const move = gallery.migration;
      say(state, move ? move.state : "filled by another model");
      bar.hidden = !move;
      if (move) {
        bar.max = Math.max(1, move.total);
        bar.value = move.done;
      }
      say(words, move ? `${numberWords(move.done)} of ${numberWords(move.total)}` : countWords(gallery.images ?? 0, "picture"));
      say(button, move ? "Cancel…" : "Move…");
      button.setAttribute("aria-label", move ? `Cancel moving ${gallery.name}` : `Move ${gallery.name} to the model that answers`);
    },
  };
}

/**
 * @param {Gallery} gallery
 * @param {() => void} changed
 */
async function begin(gallery, changed) {
  const answer = await ask(`Move ${gallery.name} to the model that answers?`, [h("p", {}, `${countWords(gallery.images ?? 0, "stored picture is", "stored pictures are")} embedded anew, beside searches. Until all are there nothing changes; then the gallery switches at once.`)], [{ value: "", label: "Not now" }, { value: "yes", label: "Begin", kind: "primary" }]);
  if (answer !== "yes") return;
  try {
    await change("POST", path("galleries", gallery.name, "migrations"));
    notice(`${gallery.name} moves to the model that answers.`);
    changed();
  } catch (error) {
    tell(error, "The move was not begun");
  }
}

/**
 * @param {Gallery} gallery
 * @param {() => void} changed
 */
async function cancel(gallery, changed) {
  if (!gallery.migration || !(await confirmDanger(`Cancel moving ${gallery.name}?`, "The gallery stays with its model; what was embedded anew is thrown away.", "Cancel the move"))) return;
  try {
    await change("DELETE", path("galleries", gallery.name, "migrations", gallery.migration.id));
    notice(`${gallery.name} stays with its model.`);
    changed();
  } catch (error) {
    tell(error, "The move was not cancelled");
  }
}

function earlierMoves() {
  const choice = h("select", {});
  const found = h("div", { role: "status" });
  const look = h("button", { type: "button", onclick: async () => {
    try {
      const { migrations } = await get(path("galleries", choice.value, "migrations"));
      show(found, ...(migrations.length ? migrations.map(moveParts) : [h("p", { class: "faint" }, `${choice.value} has never been moved.`)]));
    } catch (error) {
      show(found, refusal(error, "The moves could not be listed"));
    }
  } }, "Show");
  return {
    element: h("details", {}, h("summary", {}, "Moves so far"), h("div", { class: "row end" }, h("label", { class: "field inline" }, h("span", {}, "Gallery"), choice), look), found),
    /** @param {string[]} names */
    update: (names) => {
      const key = names.join(",");
      if (choice.dataset["names"] === key) return;
      choice.dataset["names"] = key;
      const chosen = choice.value;
      show(choice, ...names.map((name) => h("option", { value: name }, name)));
      if (names.includes(chosen)) choice.value = chosen;
    },
  };
}

/** @param {any} move */
function moveParts(move) {
  return h("div", { class: "card" }, facts([
    ["State", move.state],
    ["To", move.model.name],
    ["Begun", timeWords(move.begun_at)],
    ["Ended", move.ended_at ? timeWords(move.ended_at) : "not yet"],
    ["Pictures", `${numberWords(move.done)} of ${numberWords(move.total)}`],
    ["Why it does not go on", move.problem],
    ["Could not be embedded", move.failures ? [countWords(move.failures, "picture"), h("ul", {}, ...move.failed.map((/** @type {{image_id: string, detail: string}} */ each) => h("li", {}, h("code", {}, each.image_id), `: ${each.detail}`)))] : null],
  ]));
}
