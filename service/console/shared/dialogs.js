/** Questions to the person, in the browser's own modal dialogs: they keep the focus and close by Escape. */

import { h } from "./element.js";

/** @typedef {import("./element.js").Child} Child */

/**
 * Show a dialog until it is closed; resolves to the value of the button that closed it, "" for Escape.
 * @param {string} title
 * @param {(Child | Child[])[]} body
 * @param {{value: string, label: string, kind?: "plain" | "primary" | "danger"}[]} buttons the last one is the one that goes on
 * @param {{wide?: boolean, check?: (dialog: HTMLDialogElement, value: string) => boolean}} [how] ``check``: whether it may close by a value
 * @returns {Promise<string>}
 */
export function ask(title, body, buttons, how = {}) {
  return new Promise((resolve) => {
    const name = `dialog-${Math.random().toString(36).slice(2)}`;
    const row = buttons.map(({ value, label, kind }) => h("button", { type: value === "" ? "button" : "submit", value, class: kind === "plain" ? "" : kind ?? "", onclick: value === "" ? () => dialog.close("") : null }, label));
    const form = h("form", { method: "dialog", onsubmit: (/** @type {SubmitEvent} */ event) => {
      const value = event.submitter instanceof HTMLButtonElement ? event.submitter.value : "";
      event.preventDefault();
      if (how.check === undefined || how.check(dialog, value)) dialog.close(value);
    } }, h("h2", { id: name }, title), ...body, h("div", { class: "buttons" }, ...row));
    const dialog = h("dialog", { "aria-labelledby": name, class: how.wide ? "wide" : "" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Ask whether something is to be done that cannot be undone.
 * @param {string} title
 * @param {string} what happens
 * @param {string} label of the button that does it
 * @returns {Promise<boolean>}
 */
export async function confirmDanger(title, what, label) {
  const answer = await ask(title, [h("p", {}, what)], [{ value: "", label: "Cancel" }, { value: "yes", label, kind: "danger" }]);
  return answer === "yes";
}
