/** Pieces that several sections of the page "Model and health" are made of. */

import { Problem } from "../shared/api.js";
import { h, show } from "../shared/element.js";
import { errorWords, notice } from "../shared/shell.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {import("../shared/element.js").Child} Child */

/**
 * Names and what they are; a row whose value is null is left out.
 * @param {[string, Child | Child[]][]} rows
 */
export function facts(rows) {
  return h("dl", { class: "facts" }, ...rows.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/**
 * What stands in a section that the caller's key does not open.
 * @param {string} what
 * @param {Caller} caller
 * @param {string} scope
 * @param {boolean} [everywhere]
 */
export function closed(what, caller, scope, everywhere = false) {
  return h("p", { class: "closed faint" }, `${what} ${caller.wants(scope, everywhere)}. The one of this page has ${caller.scopes.join(", ") || "none"}${caller.galleries === null ? "" : `, for ${caller.galleries.join(", ")}`}.`);
}

/**
 * A section that could not be filled, in the service's words.
 * @param {unknown} error
 * @param {string} doing
 */
export function refusal(error, doing) {
  const title = error instanceof Problem && error.status === 401 ? "A key is needed" : doing;
  return h("p", { class: "closed" }, h("strong", {}, `${title}: `), errorWords(error));
}

/**
 * A button that copies a text; where the browser lets no page do that (without HTTPS) it says so.
 * @param {string} text
 * @param {string} what it is
 */
export function copyButton(text, what) {
  const button = h("button", { type: "button", class: "quiet", "aria-label": `Copy ${what}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      show(button, "Copied");
      setTimeout(() => show(button, "Copy"), 3000);
    } catch {
      notice(`The browser does not let this page copy; select ${what} and copy it yourself.`);
    }
  } }, "Copy");
  return button;
}

/**
 * A table that may be wider than the window; it can be moved by keyboard, too.
 * @param {string | HTMLTableCaptionElement} name what it is called; a text is told to who cannot see it
 * @param {(string | [string, string])[]} head of each column, with a class where there is one; "" for one without a name
 * @param {HTMLTableSectionElement} body
 * @param {string} [kind] a class
 */
export function table(name, head, body, kind = "") {
  const caption = typeof name === "string" ? h("caption", { class: "unseen" }, name) : name;
  const cells = head.map((each) => {
    const [words, own] = typeof each === "string" ? [each, ""] : each;
    return words === "" ? h("td", {}) : h("th", { scope: "col", class: own }, words);
  });
  return h("div", { class: `scroll ${kind}`, tabindex: "0", role: "group", "aria-label": caption.textContent }, h("table", {}, caption, h("thead", {}, h("tr", {}, ...cells)), body));
}

/**
 * Rows of a table by a name of each, changed in place: what has the focus keeps it.
 * @template T
 * @param {HTMLTableSectionElement} body
 * @param {(each: T) => {row: HTMLTableRowElement, update: (each: T) => void}} make
 */
export function keyedRows(body, make) {
  /** @type {Map<string, {row: HTMLTableRowElement, update: (each: T) => void}>} */
  const known = new Map();
  return (/** @type {[string, T][]} */ wanted) => {
    const names = new Set(wanted.map(([name]) => name));
    for (const [name, { row }] of known) {
      if (!names.has(name)) {
        row.remove();
        known.delete(name);
      }
    }
    wanted.forEach(([name, each], at) => {
      const found = known.get(name) ?? make(each);
      known.set(name, found);
      found.update(each);
      if (body.children[at] !== found.row) body.insertBefore(found.row, body.children[at] ?? null);
    });
  };
}

/**
 * Put the focus on the heading of a part, where what had it is gone.
 * @param {HTMLElement} place in the part
 */
export function focusPart(place) {
  if (document.activeElement === null || document.activeElement === document.body) place.closest("section")?.querySelector("h2")?.focus();
}

/**
 * Put a text into an element where it is another one: what is the same is not told again.
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
