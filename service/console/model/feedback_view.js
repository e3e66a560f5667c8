/** What people said of matches: looked through, given out as a data set, erased. */

import { change, get, key, path, save, send, withQuery } from "../shared/api.js";
import { gallery as gallerySaid } from "../shared/address.js";
import { confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { closed, refusal, table } from "./parts.js";
import { picture } from "../shared/pictures.js";
import { notice, tell } from "../shared/shell.js";
import { countWords, distanceWords, timeWords } from "../shared/words.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {{feedback_id: string, gallery: string, image_id: string, same: boolean, query_id: string | null, query_image_id: string | null, distance: number | null, given_at: string}} Answer */

const PAGE = 20;
const SIDE = 96; // pixels of a picture's longer side

/** @param {HTMLElement} place */
export function feedbackView(place) {
  return async (/** @type {Caller} */ caller) => {
    if (!caller.may("read")) {
      show(place, closed("Looking at feedback", caller, "read"));
      return;
    }
    try {
      const { galleries } = await get("/v1/galleries", {}, { quiet: true });
      show(place, ...feedbackParts(galleries.map((/** @type {{name: string}} */ each) => each.name)));
    } catch (error) {
      show(place, refusal(error, "The galleries could not be listed"));
    }
  };
}

/**
 * @param {string[]} names
 */
function feedbackParts(names) {
  const choice = h("select", { onchange: () => read(true) }, ...names.map((name) => h("option", { value: name }, name)));
  if (names.includes(gallerySaid())) choice.value = gallerySaid();
  const body = h("tbody", {});
  const listed = table("Feedback, latest first", ["Said", "Of", "Searched with", "Distance", "When", ""], body);
  const empty = h("div", { class: "empty" }, h("p", {}, "Nobody has said anything of this gallery's matches. On the search page each match can be marked as the same vehicle, or not."), h("a", { class: "button", href: "/" }, "To the search"));
  const words = h("p", { class: "faint small", role: "status" });
  const older = h("button", { type: "button", onclick: () => read(false) }, "Older ones");
  const give = h("button", { type: "button", onclick: () => exportAll(choice.value) }, "Save as a data set");
  const erase = h("button", { type: "button", "data-needs": "write", onclick: async () => { if (await eraseAll(choice.value)) read(true); } }, "Erase all…");
  /** @type {string | null} */
  let next = null;

  const tellCount = () => {
    const count = body.children.length;
    listed.hidden = count === 0;
    empty.hidden = count !== 0;
    older.hidden = next === null;
    give.disabled = count === 0;
    if (erase) erase.disabled = count === 0;
    show(words, count === 0 ? "" : `${countWords(count, "answer")}${next ? ", and there are older ones" : ""}`);
  };
  const read = async (/** @type {boolean} */ anew) => {
    if (anew) next = null;
    const name = choice.value;
    try {
      const page = await get("/v1/feedback", { gallery: name, limit: PAGE, cursor: next }, { quiet: true });
      if (choice.value !== name) return;
      if (anew) show(body);
      next = page.next;
      body.append(...page.feedback.map((/** @type {Answer} */ each) => answerRow(each, tellCount)));
      tellCount();
    } catch (error) {
      show(body);
      next = null;
      tellCount();
      empty.hidden = true;
      show(words, refusal(error, "The feedback could not be listed"));
    }
  };
  read(true);
  return [
    h("div", { class: "row end" }, h("label", { class: "field inline" }, h("span", {}, "Gallery"), choice), give, erase),
    h("p", { class: "faint small" }, "The data set is a .zip that ", h("code", {}, "vehicle-model train"), " reads once it is unpacked: what was said to be the same is one vehicle."),
    listed, empty, words, older,
  ];
}

/**
 * @param {Answer} answer
 * @param {() => void} changed
 */
function answerRow(answer, changed) {
  const erase = h("button", { type: "button", "data-needs": "write", "aria-label": `Erase what was said of ${answer.image_id}`, onclick: async () => {
    try {
      await change("DELETE", path("feedback", answer.feedback_id));
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      changed();
      next?.querySelector("button")?.focus();
    } catch (error) {
      tell(error, "It was not erased");
    }
  } }, "Erase");
  const row = h("tr", {},
    h("td", {}, h("span", { class: `chip ${answer.same ? "good" : "bad"}` }, answer.same ? "the same" : "not the same")),
    h("th", { scope: "row" }, thumbnail(answer.gallery, answer.image_id)),
    h("td", {}, answer.query_image_id ? thumbnail(answer.gallery, answer.query_image_id) : "a picture of somebody's, kept with the answer"),
    h("td", { class: "number" }, answer.distance === null ? "–" : distanceWords(answer.distance)),
    h("td", {}, timeWords(answer.given_at)),
    h("td", {}, erase),
  );
  return row;
}

/**
 * @param {string} gallery
 * @param {string} image
 */
function thumbnail(gallery, image) {
  return h("span", { class: "thumbnail" }, picture(path("galleries", gallery, "images", image, "crop"), "", { size: SIDE }), h("code", {}, image));
}

/**
 * Have the browser save the data set. Without a key it fetches it by itself, piece by piece.
 * @param {string} name
 */
async function exportAll(name) {
  const address = withQuery("/v1/feedback/export", { gallery: name });
  if (key() === null) {
    h("a", { href: address, download: "" }).click();
    return;
  }
  try {
    notice("The data set is being put together; the browser saves it when it is there.");
    await save(await send("GET", address), `feedback-${name}.zip`);
  } catch (error) {
    tell(error, "The data set could not be saved");
  }
}

/** @param {string} name */
async function eraseAll(name) {
  if (!(await confirmDanger(`Erase all feedback of ${name}?`, "What people said of its matches goes, and the pictures that were kept for it. The gallery's own pictures stay.", "Erase it"))) return false;
  try {
    const told = await change("DELETE", withQuery("/v1/feedback", { gallery: name }));
    notice(`${countWords(told.deleted, "answer")} erased.`);
    return true;
  } catch (error) {
    tell(error, "The feedback was not erased");
    return false;
  }
}
