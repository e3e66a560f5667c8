/** The filters of a search, a listing or an erasure: a form, and the parameters of the API that it stands for. */

import { h, show } from "./element.js";
import { joined, separated } from "./listed_values.js";

/** @typedef {{cameras: {camera_id: string, images: number}[], viewpoints: {viewpoint: string, images: number}[], attributes: {name: string, values: {value: string | number, images: number}[]}[], vehicles?: number, first_captured_at?: string | null, last_captured_at?: string | null}} Facets */

const FILTERS = ["camera_id", "exclude_camera_id", "vehicle_id", "viewpoint", "captured_after", "captured_before"];
const ATTRIBUTE = "attribute.";
const DRAFT = "draft "; // of an attribute

/**
 * Those of some parameters that are filters.
 * @param {URLSearchParams} parameters
 * @returns {URLSearchParams}
 */
export function filtersOf(parameters) {
  return new URLSearchParams([...parameters].filter(([name]) => isFilter(name)));
}

/** @param {string} name */
function isFilter(name) {
  return FILTERS.includes(name) || name.startsWith(ATTRIBUTE);
}

/** A form of filters; ``changed`` is called with the parameters whenever a person has changed one. */
export class FilterForm {
  /** @param {(filters: URLSearchParams) => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Facets} */
    this.facets = { cameras: [], viewpoints: [], attributes: [] };
    this.filters = new URLSearchParams();
    this.body = h("div", { class: "filter-fields" });
    this.summary = h("summary", {}, "Filters");
    this.element = h("details", { class: "filters card" }, this.summary, this.body);
    this.draw();
  }

  /**
   * What there is to choose from; it takes nothing away that a person has typed and not sent yet.
   * @param {Facets} facets
   */
  offer(facets) {
    this.facets = facets;
    const active = document.activeElement;
    const isTypedInto = active instanceof HTMLInputElement && this.body.contains(active) && active.value !== active.defaultValue;
    if (isTypedInto && !this.attributeFields().includes(active)) return; // drawn when that is sent
    const typed = this.attributeFields().map((field) => field.value);
    this.draw();
    this.attributeFields().forEach((field, place) => {
      field.value = typed[place] ?? "";
      field.dispatchEvent(new Event("input"));
    });
  }

  /** Name and value of an attribute that is not added yet. @returns {HTMLInputElement[]} */
  attributeFields() {
    return [...this.body.querySelectorAll("input")].filter((field) => field.dataset["name"]?.startsWith(DRAFT));
  }

  /**
   * Show these filters; nobody is told.
   * @param {URLSearchParams} filters
   */
  take(filters) {
    this.filters = filtersOf(filters);
    if (this.filters.size > 0) this.element.open = true;
    this.draw();
  }

  draw() {
    const focused = document.activeElement instanceof HTMLElement && this.body.contains(document.activeElement) ? document.activeElement : null;
    const focus = focused?.dataset["name"];
    const count = new Set(this.filters.keys()).size;
    show(this.summary, count === 0 ? "Filters" : `Filters (${count} set)`);
    show(this.body,
      this.several("camera_id", "Only these cameras", this.facets.cameras.map((each) => [each.camera_id, each.images])),
      this.several("exclude_camera_id", "Not these cameras", this.facets.cameras.map((each) => [each.camera_id, each.images])),
      this.several("viewpoint", "Seen from", this.facets.viewpoints.map((each) => [each.viewpoint, each.images])),
      this.time("captured_after", "From (inclusive)"),
      this.time("captured_before", "Until (exclusive)"),
      this.text("vehicle_id", "Vehicle"),
      this.attributes(),
      count === 0 ? null : h("button", { type: "button", onclick: () => this.put(new URLSearchParams()) }, "Clear all filters"),
    );
    if (focused === null) return;
    const same = focus ? this.body.querySelector(`[data-name="${CSS.escape(focus)}"]`) : null;
    /** @type {HTMLElement} */ (same ?? this.summary).focus();
  }

  /**
   * Check boxes for one filter; more than a dozen values become a field with suggestions.
   * @param {string} name
   * @param {string} label
   * @param {[string, number][]} values
   */
  several(name, label, values) {
    const chosen = this.filters.getAll(name);
    const all = [...new Set([...values.map(([value]) => value), ...chosen])];
    if (all.length === 0 && name !== "camera_id") return null;
    if (all.length === 0 || all.length > 12) return this.text(name, label, all.slice(0, 500));
    const counts = new Map(values);
    return h("fieldset", {}, h("legend", {}, label), h("div", { class: "row" }, ...all.map((value) => h("label", { class: "check" },
      h("input", { type: "checkbox", checked: chosen.includes(value), "data-name": `${name} ${value}`, onchange: (/** @type {Event} */ event) => this.toggle(name, value, /** @type {HTMLInputElement} */ (event.target).checked) }),
      `${value}${counts.has(value) ? ` (${counts.get(value)})` : ""}`))));
  }

  /**
   * Values with commas between them.
   * @param {string} name
   * @param {string} label
   * @param {string[]} suggestions
   */
  text(name, label, suggestions = []) {
    const list = suggestions.length ? h("datalist", { id: `suggest-${name}` }, ...suggestions.map((value) => h("option", { value: joined([value]) }))) : null;
    const field = h("input", { type: "text", defaultValue: joined(this.filters.getAll(name)), placeholder: "any", list: list?.id, "data-name": name, onchange: () => {
      this.set(name, separated(field.value));
    } });
    return h("label", { class: "field" }, h("span", {}, `${label}${suggestions.length || name === "vehicle_id" ? " (several with commas)" : ""}`), field, list);
  }

  /**
   * @param {string} name
   * @param {string} label
   */
  time(name, label) {
    const field = h("input", { type: "datetime-local", step: 1, defaultValue: localTime(this.filters.get(name)), "data-name": name, onchange: () => {
      this.set(name, field.value ? [new Date(field.value).toISOString()] : []);
    } });
    return h("label", { class: "field" }, h("span", {}, `Captured: ${label}`), field);
  }

  attributes() {
    const set = [...this.filters].filter(([name]) => name.startsWith(ATTRIBUTE));
    const chips = set.map(([name, value]) => h("span", { class: "chip" }, `${name.slice(ATTRIBUTE.length)} = ${value}`,
      h("button", { type: "button", class: "quiet", "aria-label": `Remove the filter ${name.slice(ATTRIBUTE.length)} = ${value}`, onclick: () => this.toggle(name, value, false) }, "×")));
    const names = h("datalist", { id: "attribute-names" }, ...this.facets.attributes.map((each) => h("option", { value: each.name })));
    const values = h("datalist", { id: "attribute-values" });
    const name = h("input", { type: "text", list: "attribute-names", placeholder: "colour", "data-name": `${DRAFT}name`, oninput: () => {
      const known = this.facets.attributes.find((each) => each.name === name.value);
      show(values, ...(known?.values ?? []).map((each) => h("option", { value: typeof each.value === "number" || !looksLikeNumber(each.value) ? String(each.value) : `"${each.value}"` })));
    } });
    const put = () => { if (name.value && value.value) this.toggle(`${ATTRIBUTE}${name.value}`, value.value, true); };
    const value = h("input", { type: "text", list: "attribute-values", placeholder: "red", "data-name": `${DRAFT}value`, onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter") put(); } });
    const add = h("button", { type: "button", onclick: put }, "Add");
    return h("fieldset", {}, h("legend", {}, "Attributes"), h("div", { class: "row" }, ...chips), h("div", { class: "row end" },
      h("label", { class: "field" }, h("span", {}, "Name"), name), h("label", { class: "field" }, h("span", {}, "Value"), value), add, names, values));
  }

  /**
   * @param {string} name
   * @param {string} value
   * @param {boolean} on
   */
  toggle(name, value, on) {
    const others = this.filters.getAll(name).filter((each) => each !== value);
    this.set(name, on ? [...others, value] : others);
  }

  /**
   * @param {string} name
   * @param {string[]} values
   */
  set(name, values) {
    const next = new URLSearchParams(this.filters);
    next.delete(name);
    for (const value of values) next.append(name, value);
    this.put(next);
  }

  /** @param {URLSearchParams} filters */
  put(filters) {
    this.filters = filters;
    this.draw();
    this.changed(new URLSearchParams(filters));
  }
}

/** @param {string} text */
function looksLikeNumber(text) {
  return /^-?\d/.test(text);
}

/**
 * As a field for local times wants it.
 * @param {string | null} moment
 */
function localTime(moment) {
  if (!moment) return "";
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? "" : new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
