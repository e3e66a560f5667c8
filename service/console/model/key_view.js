/** API keys: who may call. A token is shown once, when it is made. */

import { change, get, path, setKey } from "../shared/api.js";
import { ask, confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { closed, copyButton, focusPart, refusal, table } from "./parts.js";
import { errorWords, notice, tell } from "../shared/shell.js";
import { timeWords } from "../shared/words.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {{id: string, name: string, state: string, scopes: string[], galleries: string[] | null, rate: number | null, burst: number | null, created_at: string, expires_at: string | null, revoked_at: string | null}} Key */

const DAY = 86_400_000;
const SCOPES = [["read", "search and look"], ["write", "add, change and erase pictures, import"], ["admin", "everything: galleries, models, keys, the audit log"]];
const ENDS = [["1", "in a day"], ["7", "in a week"], ["30", "in 30 days"], ["90", "in 90 days"], ["365", "in a year"], ["date", "on a day…"], ["", "never"]];
const STATES = /** @type {Record<string, string>} */ ({ works: "good", expired: "warn", revoked: "bad" });

/** @param {HTMLElement} place */
export function keyView(place) {
  let looks = 0;
  /** @type {Caller} */
  let who;
  const refresh = async (/** @type {Caller} */ caller) => {
    who = caller;
    looks += 1;
    const own = looks;
    if (!caller.everywhere("admin")) {
      show(place, closed("Looking after keys", caller, "admin", true));
      return;
    }
    try {
      const { keys } = await get("/v1/keys", {}, { quiet: true });
      if (own !== looks) return; // a later look shows what is true
      const focused = place.contains(document.activeElement);
      show(place, ...keyParts(keys, caller, changed));
      if (focused) focusPart(place);
    } catch (error) {
      if (own === looks) show(place, refusal(error, "The keys could not be listed"));
    }
  };
  const changed = async () => {
    await refresh(who);
    focusPart(place);
  };
  return refresh;
}

/**
 * @param {Key[]} keys
 * @param {Caller} caller
 * @param {() => void} changed
 */
function keyParts(keys, caller, changed) {
  const make = h("button", { type: "button", class: "primary", "data-needs": "administer", onclick: () => makeKey(keys.length === 0, changed) }, "Make a key…");
  if (keys.length === 0) return [h("div", { class: "empty" }, h("p", {}, "There is no key: nobody is asked who calls. With the first key every request needs one, those of this page, too."), make)];
  return [
    table("API keys", ["Name", "State", "May", "Galleries", "Requests", "Made", "Ends", ""], h("tbody", {}, ...keys.map((each) => keyRow(each, caller, changed)))),
    h("div", { class: "row" }, make),
  ];
}

/**
 * @param {Key} each
 * @param {Caller} caller
 * @param {() => void} changed
 */
function keyRow(each, caller, changed) {
  const own = each.id === caller.keyId;
  return h("tr", {},
    h("th", { scope: "row" }, each.name, own ? [" ", h("span", { class: "chip" }, "this page's")] : null, h("br", {}), h("code", { class: "small faint" }, each.id)),
    h("td", {}, h("span", { class: `chip ${STATES[each.state] ?? ""}` }, each.state)),
    h("td", {}, each.scopes.join(", ")),
    h("td", {}, each.galleries === null ? "all" : each.galleries.join(", ")),
    h("td", {}, each.rate === null ? "any number" : `${each.rate} a second, ${each.burst} at once`),
    h("td", {}, timeWords(each.created_at)),
    h("td", {}, each.revoked_at ? `revoked ${timeWords(each.revoked_at)}` : each.expires_at ? timeWords(each.expires_at) : "never"),
    h("td", {}, each.state === "revoked" ? null : h("button", { type: "button", "data-needs": "administer", "aria-label": `Revoke the key ${each.name}`, onclick: () => revoke(each, own, changed) }, "Revoke…")),
  );
}

/**
 * @param {Key} key
 * @param {boolean} own
 * @param {() => void} changed
 */
async function revoke(key, own, changed) {
  const what = `Whoever uses it is refused from then on. This cannot be undone; the key stays in the list.${own ? " It is the key that this page uses: you will need another one." : ""}`;
  if (!(await confirmDanger(`Revoke the key ${key.name}?`, what, "Revoke it"))) return;
  try {
    const told = await change("DELETE", path("keys", key.id));
    notice(`The key ${key.name} is revoked.${told.warning ? ` Mind: ${told.warning}.` : ""}`);
    changed();
  } catch (error) {
    tell(error, "The key was not revoked");
  }
}

/**
 * @param {boolean} first
 * @param {() => void} changed
 */
async function makeKey(first, changed) {
  const form = await keyForm(first);
  const fault = h("p", { class: "bad", role: "alert", hidden: true });
  /** @type {any} */
  let made = null;
  let sending = false;
  const send = async (/** @type {HTMLDialogElement} */ dialog) => {
    if (sending) return;
    sending = true;
    try {
      made = await change("POST", "/v1/keys", { json: form.read() });
      dialog.close("made");
    } catch (error) {
      show(fault, errorWords(error));
      fault.hidden = false;
    } finally {
      sending = false;
    }
  };
  await ask("Make a key", [...form.parts, fault], [{ value: "", label: "Cancel" }, { value: "make", label: "Make the key", kind: "primary" }], { check: (dialog) => {
    send(dialog);
    return false; // it closes when the key is made
  } });
  if (made === null) return;
  if (first) setKey(made.token);
  await showToken(made, first);
  changed();
}

/**
 * @param {any} made
 * @param {boolean} first
 */
async function showToken(made, first) {
  const field = h("input", { type: "text", readOnly: true, value: made.token, class: "mono token", onfocus: () => field.select() });
  await ask(`The key ${made.name}`, [
    h("p", {}, h("strong", {}, "It is shown this once."), " Keep it now where it is to be used; only a hash of it stays on the server."),
    h("label", { class: "field" }, h("span", {}, "API key"), field),
    copyButton(made.token, "the key"),
    made.warning ? h("p", { class: "warned" }, `Mind: ${made.warning}.`) : null,
    first ? h("p", {}, "This page uses it from now on, until the tab is closed.") : null,
  ], [{ value: "kept", label: "I have kept it", kind: "primary" }]);
}

/** @param {boolean} first */
async function keyForm(first) {
  const name = h("input", { type: "text", required: true, maxlength: 80, autocomplete: "off", placeholder: "camera 7, search page, …" });
  const scopes = SCOPES.map(([value, words]) => ({ value, box: h("input", { type: "checkbox", value, checked: value === (first ? "admin" : "read") }), words }));
  const galleries = await galleryBoxes();
  const date = h("input", { type: "date", min: new Date(Date.now() + DAY).toISOString().slice(0, 10), "aria-label": "The day", hidden: true });
  const ends = h("select", { onchange: () => { date.hidden = ends.value !== "date"; } }, ...ENDS.map(([value, label]) => h("option", { value }, label)));
  ends.value = first ? "" : "90";
  const rate = h("input", { type: "number", min: 0.001, max: 1_000_000, step: "any", placeholder: "any number" });
  const burst = h("input", { type: "number", min: 1, max: 1_000_000, step: 1, placeholder: "those of a second" });
  return {
    parts: [
      first ? h("p", { class: "warned" }, "It is the first key: from then on every request needs one. Make one with admin, so that others can be made here.") : null,
      h("label", { class: "field" }, h("span", {}, "Who will use it"), name),
      h("fieldset", { class: "choices" }, h("legend", {}, "What it may do"), ...scopes.map((each) => h("label", { class: "check" }, each.box, h("span", {}, h("strong", {}, each.value), ` – ${each.words}`)))),
      galleries.element,
      h("div", { class: "row end" }, h("label", { class: "field" }, h("span", {}, "It ends"), ends), date),
      h("details", {}, h("summary", {}, "How often it may ask"), h("div", { class: "row end" },
        h("label", { class: "field" }, h("span", {}, "Requests a second"), rate), h("label", { class: "field" }, h("span", {}, "At once"), burst))),
    ],
    read: () => ({
      name: name.value.trim(), scopes: scopes.filter((each) => each.box.checked).map((each) => each.value), galleries: galleries.read(),
      rate: rate.value === "" ? null : Number(rate.value), burst: burst.value === "" ? null : Number(burst.value), expires_at: endOf(ends.value, date.value),
    }),
  };
}

/**
 * @param {string} choice
 * @param {string} day
 */
function endOf(choice, day) {
  if (choice === "") return null;
  if (choice !== "date") return new Date(Date.now() + Number(choice) * DAY).toISOString();
  return day === "" ? "" : new Date(`${day}T00:00:00`).toISOString();
}

async function galleryBoxes() {
  /** @type {string[]} */
  let names = [];
  try {
    names = (await get("/v1/galleries")).galleries.map((/** @type {{name: string}} */ each) => each.name);
  } catch (error) {
    tell(error, "The galleries could not be listed");
  }
  const boxes = names.map((name) => h("input", { type: "checkbox", value: name }));
  const list = h("div", { class: "choices", hidden: true }, ...boxes.map((box) => h("label", { class: "check" }, box, box.value)));
  const group = `galleries-${Math.random().toString(36).slice(2)}`;
  const choose = (/** @type {boolean} */ some) => { list.hidden = !some; };
  const all = h("input", { type: "radio", name: group, checked: true, onchange: () => choose(false) });
  const some = h("input", { type: "radio", name: group, onchange: () => choose(true) });
  return {
    element: h("fieldset", { class: "choices" }, h("legend", {}, "Galleries"), h("label", { class: "check" }, all, "all, those to come, too"), h("label", { class: "check" }, some, "only these"), list),
    read: () => (some.checked ? boxes.filter((box) => box.checked).map((box) => box.value) : null),
  };
}
