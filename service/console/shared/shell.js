/** What every page has: the way to the others, the key, notices, and what is said when the service is gone. */

import { gallery, onChange, read } from "./address.js";
import { Problem, connection, get, key, onKeyWanted, setKey, withQuery } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, show } from "./element.js";
import { caller, may } from "./rights.js";

const PAGES = [["/", "Search"], ["/trail", "Trail"], ["/gallery", "Gallery"], ["/model", "Model and health"]];
const THEME = "vehicle-search-theme";
const THEMES = ["system", "light", "dark"];
const NOTICE_SECONDS = 8;
const ACTION_SECONDS = 60; // of one with a button

const notices = h("div", { class: "notices", role: "status", "aria-live": "polite" });
const alarms = h("div", { class: "notices", role: "alert" });
const banner = h("p", { class: "banner", role: "alert", hidden: true });

/**
 * Put the frame around a page; the page's own part goes into the element that is returned.
 * @returns {HTMLElement}
 */
export function startPage() {
  applyTheme(theme());
  const keyButton = h("button", { type: "button", class: "quiet", onclick: () => askKey(null) });
  const sayKey = () => show(keyButton, key() === null ? "Key…" : "Key ✓");
  sayKey();
  connection.addEventListener("key", sayKey);
  show(byId("top"),
    h("a", { class: "brand", href: "/" }, h("img", { src: "/console/shared/icon.svg", alt: "", width: 24, height: 24 }), "Vehicle search"),
    h("nav", { "aria-label": "Pages" }, ...PAGES.map(link)),
    h("div", { class: "tools" }, h("span", { class: "chip", "data-lacks": "write" }, "Nothing can be changed"), themeButton(), keyButton, h("a", { href: "/docs", class: "quiet" }, "API")),
  );
  const main = byId("main");
  main.before(banner);
  document.body.append(h("div", { class: "notice-place" }, notices, alarms));
  connection.addEventListener("lost", () => {
    show(banner, "The service cannot be reached. What you see may be old; this page goes on as soon as it answers again.");
    banner.hidden = false;
  });
  connection.addEventListener("back", () => {
    banner.hidden = true;
    notice("The service answers again.");
  });
  onKeyWanted(askKey);
  const place = h("div", { class: "page" }, h("h1", {}, document.title.split(" – ")[0]));
  show(main, place);
  return place;
}

/**
 * Tell something that happened; it goes by itself.
 * @param {string} text
 * @param {{label: string, run: () => void}} [action]
 */
export function notice(text, action) {
  post(notices, "notice", text, action);
}

/**
 * Tell what went wrong, in the service's words where it has said something; an aborted request is no error.
 * @param {unknown} error
 * @param {string} [doing] what was tried, before the words
 */
export function tell(error, doing = "") {
  if (error instanceof DOMException && error.name === "AbortError") return;
  post(alarms, "notice error", `${doing ? `${doing}: ` : ""}${errorWords(error)}`);
  if (!(error instanceof Error)) console.error(error);
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function errorWords(error) {
  if (error instanceof Problem && error.document.errors?.length) {
    const more = error.document.errors.map((each) => each.detail).filter((each) => !error.message.includes(each));
    return [error.message, ...more].join(" ");
  }
  return error instanceof Error ? error.message : String(error);
}

/**
 * A choice of the galleries that the key is for; calls when another is chosen.
 * @param {(name: string) => void} chosen
 * @returns {HTMLLabelElement}
 */
export function galleryChoice(chosen) {
  const choice = h("select", { onchange: () => chosen(choice.value) }, h("option", { value: gallery() }, gallery()));
  const fill = async () => {
    try {
      const names = await galleryNames();
      if (elsewhere(names)) return;
      if (!names.includes(gallery())) names.push(gallery());
      show(choice, ...names.map((/** @type {string} */ name) => h("option", { value: name }, name)));
      choice.value = gallery();
    } catch (error) {
      tell(error, "The galleries could not be listed");
    }
  };
  fill();
  connection.addEventListener("back", fill);
  connection.addEventListener("key", fill);
  return h("label", { class: "field inline" }, h("span", {}, "Gallery"), choice);
}

/** @returns {Promise<string[]>} those that the key is for, as far as it may know them */
async function galleryNames() {
  try {
    const { galleries } = await get("/v1/galleries");
    return galleries.map((/** @type {{name: string}} */ each) => each.name);
  } catch (error) {
    if (await may("read")) throw error;
    return (await caller())?.galleries ?? [gallery()];
  }
}

let leaving = false;

/**
 * Go to a gallery that the key is for, where it is not for the one that is meant when none is named; whether it goes.
 * @param {string[]} names
 */
function elsewhere(names) {
  if (leaving) return true;
  const [first] = names;
  if (first === undefined || names.includes(gallery()) || read().has("gallery")) return false;
  const parameters = read();
  parameters.set("gallery", first);
  leaving = true; // a second look would go there again, and break the first way off
  location.replace(withQuery(location.pathname, parameters));
  return true;
}

/** @param {string[]} page */
function link([address = "/", name = ""]) {
  const own = location.pathname === address;
  const anchor = h("a", { "aria-current": own ? "page" : null }, name);
  const say = () => anchor.setAttribute("href", gallery() === "default" ? address : `${address}?gallery=${encodeURIComponent(gallery())}`);
  say();
  onChange(say);
  return anchor;
}

/**
 * @param {HTMLElement} place
 * @param {string} kind
 * @param {string} text
 * @param {{label: string, run: () => void}} [action]
 */
function post(place, kind, text, action) {
  const said = [...place.children].find((each) => each.firstChild?.textContent === text);
  said?.remove();
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close this notice", onclick: () => box.remove() }, "×");
  const more = action ? h("button", { type: "button", onclick: () => { box.remove(); byId("main").focus({ preventScroll: true }); action.run(); } }, action.label) : null;
  const box = h("div", { class: kind }, h("span", {}, text), more, close);
  place.append(box);
  if (place === notices) setTimeout(() => { if (!box.matches(":hover, :focus-within")) box.remove(); }, (action ? ACTION_SECONDS : NOTICE_SECONDS) * 1000);
}

/** @type {Promise<boolean> | null} */
let asking = null;

/**
 * Ask for a key; several requests that want one ask once.
 * @param {Problem | null} why
 */
function askKey(why) {
  asking ??= askOnce(why).finally(() => { asking = null; });
  return asking;
}

/** @param {Problem | null} why */
async function askOnce(why) {
  const field = h("input", { type: "password", autocomplete: "off", value: key() ?? "", placeholder: "vsk_…" });
  const body = [
    h("p", {}, why === null ? "Requests of this page are sent with it. It is kept until this tab is closed." : errorWords(why)),
    h("label", { class: "field" }, h("span", {}, "API key"), field),
  ];
  const buttons = [{ value: "", label: "Cancel" }, { value: "none", label: "Without a key" }, { value: "use", label: "Use this key", kind: /** @type {const} */ ("primary") }];
  const answer = await ask("API key", body, why === null ? buttons : buttons.filter((each) => each.value !== "none"));
  if (answer === "use" && field.value.trim() !== "") setKey(field.value.trim());
  else if (answer === "none") setKey(null);
  else return false;
  return true;
}

function theme() {
  const kept = localStorage.getItem(THEME) ?? "system";
  return THEMES.includes(kept) ? kept : "system";
}

/** @param {string} name */
function applyTheme(name) {
  if (name === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = name;
}

function themeButton() {
  const button = h("button", { type: "button", class: "quiet", onclick: () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? "system";
    localStorage.setItem(THEME, next);
    applyTheme(next);
    say();
  } });
  const say = () => show(button, `Colours: ${theme()}`);
  say();
  return button;
}
