/** What a person says of a match: the same vehicle, or not. */

import { change, get, path } from "../shared/api.js";
import { h } from "../shared/element.js";
import { may } from "../shared/rights.js";
import { boxOf, boxText, isBrought } from "./search_state.js";
import { notice, tell } from "../shared/shell.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_request.js").Match} Match */
/** @typedef {{same: boolean, id: string}} Verdict */

const RECALLED = 1000; // answers on a query, the latest: as many as it has matches

/** What was said, by gallery, query and image. @type {Map<string, Verdict>} */
const said = new Map();
/** Queries of which it is known, or asked, what was said before, each with its gallery. @type {Set<string>} */
const recalled = new Set();
/** Fires the image_id of which something was said. */
const heard = new EventTarget();

/**
 * Two buttons for a match of a search; pressed again, a button takes back what it said.
 * @param {Search} search
 * @param {Match} match
 * @param {AbortSignal} signal ends listening
 */
export function verdictButtons(search, match, signal) {
  const button = (/** @type {boolean} */ same, /** @type {string} */ label, /** @type {string} */ sign) =>
    h("button", { type: "button", class: same ? "verdict yes" : "verdict no", onclick: () => give(search, match, same) }, h("span", { "aria-hidden": "true" }, sign), label);
  const yes = button(true, "Same vehicle", "✓");
  const no = button(false, "Not the same", "✗");
  const say = () => {
    const verdict = said.get(keyOf(search, match));
    yes.setAttribute("aria-pressed", String(verdict?.same === true));
    no.setAttribute("aria-pressed", String(verdict?.same === false));
  };
  say();
  void recall(search);
  heard.addEventListener(match.image_id, say, { signal });
  return h("div", { class: "verdicts", role: "group", "data-needs": "write", "aria-label": `Is match ${match.rank} the same vehicle?` }, yes, no);
}

/**
 * @param {Search} search
 * @param {Match} match
 */
function keyOf(search, match) {
  const [part] = search.parts;
  if (part === undefined) return "";
  if (!isBrought(part)) return spelled(search.gallery, part.image_id, "", match.image_id);
  const box = boxOf(part);
  return spelled(search.gallery, part.picture.id ?? part.picture.handle, box === null ? "" : boxText(box), match.image_id);
}

/** @param {string} gallery @param {string} query @param {string} box @param {string} image_id */
function spelled(gallery, query, box, image_id) {
  return `${gallery} ${query} ${box} ${image_id}`;
}

/** Learn what was said before this page was opened, once a query. @param {Search} search */
async function recall({ gallery, parts: [part] }) {
  const query = part === undefined ? null : !isBrought(part) ? { query_image_id: part.image_id } : part.picture.id === null ? null : { query_id: part.picture.id };
  if (query === null || !await may("write")) return; // nothing was said of a picture that is not kept; without the right there are no buttons
  const own = `${gallery} ${Object.values(query)}`;
  if (recalled.has(own)) return;
  recalled.add(own);
  try {
    const { feedback } = await get(path("feedback"), { gallery, limit: RECALLED, ...query }, { quiet: true });
    for (const each of feedback) { // the latest first
      const key = spelled(gallery, each.query_id ?? each.query_image_id, each.box?.join(",") ?? "", each.image_id);
      if (!said.has(key)) said.set(key, { same: each.same, id: each.feedback_id });
      heard.dispatchEvent(new Event(each.image_id));
    }
  } catch {
    recalled.delete(own); // the buttons do without; the next search asks again
  }
}

/**
 * @param {Search} search
 * @param {Match} match
 * @param {boolean} same
 */
async function give(search, match, same) {
  const before = said.get(keyOf(search, match));
  try {
    if (before?.same === same) {
      await change("DELETE", path("feedback", before.id));
      said.delete(keyOf(search, match));
    } else {
      const about = await queryOf(search);
      if (about === null) return;
      const given = await change("POST", path("feedback"), { json: { gallery: search.gallery, image_id: match.image_id, same, distance: match.distance, ...about } });
      said.set(keyOf(search, match), { same, id: given.feedback_id }); // by the picture's id, which it has by now
      notice(same ? `Noted: match ${match.rank} is the same vehicle.` : `Noted: match ${match.rank} is not the same vehicle.`);
    }
    heard.dispatchEvent(new Event(match.image_id));
  } catch (error) {
    tell(error, "What you said could not be stored");
  }
}

/**
 * The query as feedback names it: its first picture.
 * @param {Search} search
 */
async function queryOf(search) {
  const [part] = search.parts;
  if (part === undefined) return null;
  if (!isBrought(part)) return { query_image_id: part.image_id };
  await part.picture.keep();
  if (part.picture.id === null) {
    tell(new Error(`What you said could not be stored, because the picture is not kept: ${part.picture.unkept}`));
    return null;
  }
  const box = boxOf(part);
  return { query_id: part.picture.id, ...(box === null ? {} : { box: [box.x, box.y, box.width, box.height] }) };
}
