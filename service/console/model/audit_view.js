/** The audit log: who did what, page by page, latest first. */

import { get } from "../shared/api.js";
import { h, show } from "../shared/element.js";
import { closed, refusal, table } from "./parts.js";
import { countWords, timeWords } from "../shared/words.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {Record<string, any>} Entry */

const PAGE = 50;
const ACTIONS = ["search", "keep-query", "erase-query", "embed", "trail", "add", "change", "erase", "import", "cancel-import", "give-feedback", "erase-feedback", "export-feedback", "create-gallery", "drop-gallery", "migrate", "cancel-migration", "reload-model", "set-cameras", "set-plan", "remove-plan", "read-audit", "create-key", "revoke-key"];
const TOLD = ["time", "action", "key", "address", "gallery", "status", "request_id", "filters", "pictures"]; // they have a place of their own, or say nothing to people

/** @param {HTMLElement} place */
export function auditView(place) {
  /**
   * @param {Caller} caller
   * @param {boolean | null} kept whether there is a log; null: nobody knows
   */
  return (caller, kept) => {
    if (!caller.may("admin")) show(place, closed("Reading the audit log", caller, "admin"));
    else if (kept === false) show(place, h("div", { class: "empty" }, h("p", {}, "The audit log is off. A service that is started with ", h("code", {}, "--audit"), " writes down who searched, wrote or erased what, and when.")));
    else show(place, ...auditParts());
  };
}

function auditParts() {
  const action = h("select", {}, h("option", { value: "" }, "all"), ...ACTIONS.map((each) => h("option", { value: each }, each)));
  const key = h("input", { type: "text", autocomplete: "off", placeholder: "id of a key, or keyless" });
  const gallery = h("input", { type: "text", autocomplete: "off" });
  const since = h("input", { type: "datetime-local" });
  const until = h("input", { type: "datetime-local" });
  const body = h("tbody", {});
  const words = h("p", { class: "faint small", role: "status" });
  const found = table("Audit log, latest first", ["When", "What", "Gallery", "Key", "From", "Answer", "More"], body);
  found.hidden = true;
  const older = h("button", { type: "button", hidden: true, onclick: () => read(false) }, "Older entries");
  /** @type {string | null} */
  let next = null;

  const read = async (/** @type {boolean} */ anew) => {
    if (anew) {
      next = null;
      show(body);
    }
    try {
      const page = await get("/v1/audit", { action: action.value, key: key.value.trim(), gallery: gallery.value.trim(), since: moment(since.value), until: moment(until.value), limit: PAGE, cursor: next });
      next = page.next;
      body.append(...page.entries.map(entryRow));
      words.textContent = body.children.length ? `${countWords(body.children.length, "entry", "entries")}${next ? ", and there are older ones" : ", these are all"}` : next ? "None among the latest; look at older ones." : "There is no such entry.";
    } catch (error) {
      show(words, refusal(error, "The audit log could not be read"));
      next = null;
    }
    found.hidden = body.children.length === 0;
    older.hidden = next === null;
  };
  const form = h("form", { class: "row end", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    read(true);
  } },
    field("What", action), field("Key", key), field("Gallery", gallery), field("From", since), field("Until", until),
    h("button", { type: "submit", class: "primary" }, "Look"),
  );
  return [form, h("p", { class: "faint small" }, "Looking is an entry, too."), found, words, older];
}

/**
 * @param {string} name
 * @param {HTMLElement} control
 */
function field(name, control) {
  return h("label", { class: "field" }, h("span", {}, name), control);
}

/** @param {Entry} entry */
function entryRow(entry) {
  const more = Object.entries(entry).filter(([name, value]) => !TOLD.includes(name) && value !== null);
  const asked = Object.entries(entry["filters"] ?? {}).map(([name, values]) => `${name}=${/** @type {string[]} */ (values).join(",")}`);
  const pictures = entry["pictures"]?.length ? [`${entry["pictures"].length} × picture`] : [];
  const told = [...more.map(([name, value]) => `${name.replaceAll("_", " ")}: ${typeof value === "string" || typeof value === "number" ? value : JSON.stringify(value)}`), ...asked, ...pictures];
  return h("tr", {},
    h("td", {}, h("time", { datetime: entry["time"] }, timeWords(entry["time"]))), h("th", { scope: "row" }, entry["action"]), h("td", {}, entry["gallery"] ?? "–"),
    h("td", {}, h("code", {}, entry["key"] ?? "–")), h("td", {}, entry["address"] ?? "–"), h("td", { class: "number" }, entry["status"] ?? "–"), h("td", { class: "small" }, told.join("; ")),
  );
}

/** @param {string} local */
function moment(local) {
  return local === "" ? null : new Date(local).toISOString();
}
