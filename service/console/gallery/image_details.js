/** One image of a gallery whole: its picture, what is known of it, and a form to correct that. */

import { Problem, change, get, path, withQuery } from "../shared/api.js";
import { h, show } from "../shared/element.js";
import { picture } from "../shared/pictures.js";
import { errorWords } from "../shared/shell.js";
import { imageWords, timeWords } from "../shared/words.js";

/** @typedef {import("./listed_images.js").StoredImage} StoredImage */
/**
 * @typedef {object} Around what the page does for the dialog
 * @property {(step: -1 | 1) => Promise<string | null>} beside the id of the image before or after, null at an end
 * @property {(image: StoredImage) => void} saved
 * @property {(image: StoredImage) => Promise<boolean>} erase asks, and erases; whether it did
 * @property {(image: StoredImage) => Promise<StoredImage | null>} correct asks of which vehicle it is; what it is then
 * @property {(id: string) => void} shown
 * @property {() => void} closed
 */

const WHOLE = 1024; // pixels of the longer side at most

export class ImageDetails {
  /**
   * @param {string} gallery
   * @param {Around} around
   */
  constructor(gallery, around) {
    this.gallery = gallery;
    this.around = around;
    this.turn = 0; // a later one makes an earlier one's answer of no use
    /** @type {StoredImage | null} */
    this.image = null;
    this.title = h("h2", { id: "details-title" }, "Image");
    this.frame = h("div", { class: "whole" });
    this.facts = h("dl", { class: "facts" });
    this.form = h("div", { class: "stack" });
    this.links = h("div", { class: "row" });
    this.problem = h("p", { class: "chip bad", role: "alert", hidden: true });
    this.state = h("p", { class: "small faint", role: "status" });
    const side = h("div", { class: "stack" }, h("div", { "data-needs": "write" }, this.form), this.problem, this.state, this.facts, this.links);
    this.dialog = h("dialog", { class: "wide details", "aria-labelledby": "details-title" },
      h("div", { class: "row" }, this.title,
        h("span", { class: "row right" },
          h("button", { type: "button", "aria-label": "Previous image", onclick: () => this.step(-1) }, "←"),
          h("button", { type: "button", "aria-label": "Next image", onclick: () => this.step(1) }, "→"),
          h("button", { type: "button", onclick: () => this.dialog.close() }, "Close"))),
      h("div", { class: "halves" }, this.frame, side));
    this.dialog.addEventListener("close", () => around.closed());
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target instanceof HTMLInputElement || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") void this.step(-1);
      if (event.key === "ArrowRight") void this.step(1);
    });
    document.body.append(this.dialog);
  }

  get open() {
    return this.dialog.open;
  }

  /**
   * Show an image, by its id: what is told of it is as it is now.
   * @param {string} id
   */
  async show(id) {
    const turn = ++this.turn;
    this.around.shown(id);
    if (!this.dialog.open) this.dialog.showModal();
    show(this.title, id);
    try {
      const image = await get(path("galleries", this.gallery, "images", id));
      if (turn === this.turn) this.draw(image);
    } catch (error) {
      if (turn === this.turn) this.lack(id, error);
    }
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  /**
   * @param {string} id
   * @param {unknown} error
   */
  lack(id, error) {
    this.image = null;
    for (const part of [this.frame, this.facts, this.form, this.links, this.state]) show(part);
    const gone = error instanceof Problem && error.status === 404;
    show(this.problem, gone ? `There is no image ${id} in gallery ${this.gallery} any more.` : errorWords(error));
    this.problem.hidden = false;
  }

  /** @param {StoredImage} image */
  draw(image) {
    this.image = image;
    this.problem.hidden = true;
    show(this.state);
    show(this.title, image.image_id);
    show(this.frame, picture(image.crop, imageWords(image), { size: WHOLE, eager: true }));
    const viewpoints = Object.entries(image.viewpoint).sort((one, other) => other[1] - one[1]);
    show(this.facts,
      ...known(image).flatMap(([name, value]) => [h("dt", { "data-lacks": "write" }, name), h("dd", { "data-lacks": "write" }, value)]),
      h("dt", {}, "Seen from"), h("dd", {}, viewpoints.map(([name, share]) => `${name} ${Math.round(share * 100)} %`).join(", ") || "this model knows no viewpoints"),
      h("dt", {}, "Added"), h("dd", {}, timeWords(image.ingested_at)));
    this.drawForm(image);
    show(this.links,
      h("a", { class: "button primary", href: withQuery("/", { gallery: this.gallery, image_id: image.image_id }) }, "Search with this picture"),
      image.vehicle_id === null ? null : h("a", { class: "button", href: withQuery("/gallery", { gallery: this.gallery, vehicle_id: image.vehicle_id }) }, "All images of this vehicle"),
      h("button", { type: "button", "data-needs": "write", onclick: () => this.correct(image) }, "Correct the vehicle…"),
      h("button", { type: "button", class: "danger", "data-needs": "write", onclick: () => this.erase(image) }, "Erase…"));
  }

  /** @param {StoredImage} image */
  drawForm(image) {
    const vehicle = h("input", { type: "text", maxlength: 256, value: image.vehicle_id ?? "", placeholder: "not known" });
    const camera = h("input", { type: "text", maxlength: 256, value: image.camera_id ?? "", placeholder: "not known" });
    const [vehicleBefore, cameraBefore] = [vehicle.value, camera.value]; // as fields show them: without line breaks
    const before = localTime(image.captured_at);
    const time = h("input", { type: "datetime-local", step: 1, value: before });
    const rows = h("div", { class: "stack" }, ...Object.entries(image.attributes).map(([name, value]) => attributeRow(name, value)));
    const add = h("button", { type: "button", onclick: () => {
      const row = attributeRow("", "");
      rows.append(row);
      row.querySelector("input")?.focus();
    } }, "Add an attribute");
    const save = h("button", { type: "submit", class: "primary" }, "Save");
    const form = h("form", { class: "stack", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      /** @type {Record<string, unknown>} */
      const patch = {};
      if (vehicle.value !== vehicleBefore) patch["vehicle_id"] = vehicle.value.trim() || null;
      if (camera.value !== cameraBefore) patch["camera_id"] = camera.value.trim() || null;
      if (time.value !== before) patch["captured_at"] = time.value ? new Date(time.value).toISOString() : null;
      const attributes = attributePatch(image.attributes, rows);
      if (Object.keys(attributes).length) patch["attributes"] = attributes;
      void this.save(image, patch);
    } },
      field("Vehicle", vehicle), field("Camera", camera), field("Captured (your time zone)", time),
      h("fieldset", {}, h("legend", {}, "Attributes"), rows, add),
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => this.drawForm(image) }, "Undo changes"), save));
    show(this.form, form);
  }

  /**
   * @param {StoredImage} image
   * @param {Record<string, unknown>} patch
   */
  async save(image, patch) {
    this.problem.hidden = true;
    try {
      const changed = await change("PATCH", path("galleries", this.gallery, "images", image.image_id), { json: patch });
      this.around.saved(changed);
      if (this.image?.image_id !== image.image_id) return;
      this.draw(changed);
      show(this.state, "Saved.");
    } catch (error) {
      show(this.problem, errorWords(error));
      this.problem.hidden = false;
    }
  }

  /** @param {-1 | 1} step */
  async step(step) {
    const id = await this.around.beside(step);
    if (id !== null) await this.show(id);
    else show(this.state, step < 0 ? "This is the first image." : "This is the last image.");
  }

  /** @param {StoredImage} image */
  async correct(image) {
    const changed = await this.around.correct(image);
    if (changed && this.image?.image_id === image.image_id) this.draw(changed);
  }

  /** @param {StoredImage} image */
  async erase(image) {
    if (await this.around.erase(image)) this.close();
  }
}

/**
 * What the form holds, for who may not change it.
 * @param {StoredImage} image
 * @returns {[string, string][]}
 */
function known(image) {
  /** @type {[string, string | null][]} */
  const facts = [["Vehicle", image.vehicle_id], ["Camera", image.camera_id], ["Captured", image.captured_at && timeWords(image.captured_at)]];
  return [...facts, ...Object.entries(image.attributes)].map(([name, value]) => [name, String(value ?? "not known")]);
}

/**
 * @param {string} label
 * @param {HTMLElement} input
 */
function field(label, input) {
  return h("label", { class: "field" }, h("span", {}, label), input);
}

/**
 * @param {string} name
 * @param {string | number} value
 */
function attributeRow(name, value) {
  const row = h("div", { class: "row attribute" },
    h("input", { type: "text", maxlength: 128, value: name, placeholder: "colour", "aria-label": "Name of the attribute" }),
    h("input", { type: "text", maxlength: 1024, value: written(value), placeholder: "red", "aria-label": `Value of ${name || "the attribute"}` }),
    h("button", { type: "button", class: "quiet", "aria-label": `Remove ${name || "this attribute"}`, onclick: () => row.remove() }, "×"));
  return row;
}

const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/** A value as it is written in a field: a text that looks like a number stands in quotes. @param {string | number} value */
function written(value) {
  return typeof value === "string" && NUMBER.test(value) ? `"${value}"` : String(value);
}

/** What a field that nobody touches gives for a value. @param {string | number} value */
function shownAs(value) {
  return written(value).replaceAll(/[\r\n]/g, "").trim();
}

/**
 * What is different in the rows, as a merge patch.
 * @param {Record<string, string | number>} before
 * @param {HTMLElement} rows
 */
function attributePatch(before, rows) {
  /** @type {Record<string, string | number | null>} */
  const patch = {};
  const left = new Set(Object.keys(before));
  for (const row of rows.children) {
    const [name, value] = [...row.querySelectorAll("input")].map((input) => input.value.trim());
    if (!name || value === undefined) continue;
    left.delete(name);
    if (name in before && value === shownAs(before[name] ?? "")) continue;
    const quoted = value.length >= 2 && value.startsWith('"') && value.endsWith('"');
    const meant = quoted ? value.slice(1, -1) : NUMBER.test(value) ? Number(value) : value;
    if (before[name] !== meant) patch[name] = meant;
  }
  for (const name of left) patch[name] = null;
  return patch;
}

/** As a field for local times wants it. @param {string | null} moment */
function localTime(moment) {
  if (!moment) return "";
  const date = new Date(moment);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
