/** Names and positions of a trail's cameras, and the plan that they stand on: fields that save what is changed. */

import { change, get } from "../shared/api.js";
import { confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { notice, tell } from "../shared/shell.js";
import { unplaced } from "./trail_place.js";
import { cameraWords, lengthWords } from "./trail_words.js";

/** @typedef {import("./trail_words.js").Camera} Camera */
/** @typedef {import("./trail_words.js").Cameras} Cameras */
/** @typedef {{name: "latitude" | "longitude" | "x" | "y", label: string, least: number, most: number}} Coordinate */

const CAMERAS = "/v1/cameras";
const PLAN = "/v1/cameras/plan";
/** @type {Record<string, [Coordinate, Coordinate]>} */
const KINDS = {
  globe: [{ name: "latitude", label: "Latitude (degrees)", least: -90, most: 90 }, { name: "longitude", label: "Longitude (degrees)", least: -180, most: 180 }],
  plan: [{ name: "x", label: "From the plan's left (m)", least: -1e6, most: 1e6 }, { name: "y", label: "From its top (m)", least: -1e6, most: 1e6 }],
};

/** The fields; ``changed`` hears what is known of cameras whenever that is another. */
export class TrailCameras {
  /** @param {(known: Cameras) => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.fields = h("div", { class: "stack" });
    this.plan = h("div", { class: "stack" });
    this.element = h("details", { class: "card no-print", "data-needs": "cameras" }, h("summary", {}, h("h2", {}, "Cameras")), this.fields, this.plan);
    /** @type {Promise<void>} */
    this.saving = Promise.resolve();
  }

  /**
   * @param {Camera[]} cameras of the trail
   * @param {Cameras} known
   */
  take(cameras, known) {
    if (!this.fields.contains(document.activeElement)) show(this.fields, cameras.length ? h("p", { class: "small faint" }, "What is changed here is saved at once, for everybody who uses this service.") : h("p", {}, "No sighting of this trail names a camera."), ...cameras.map((each) => this.one(each)));
    this.drawPlan(known);
    if (cameras.length > 0 && !cameras.some((each) => each.latitude !== null || each.x !== null) && known.plan === null) this.element.open = true;
  }

  /** @param {Camera} camera */
  one(camera) {
    const places = h("div", { class: "row end" });
    const start = camera.x !== null ? "plan" : camera.latitude !== null ? "globe" : "none";
    const kind = h("select", { value: start, onchange: () => {
      draw();
      if (kind.value === "none") this.save(camera.camera_id, { latitude: null, longitude: null, x: null, y: null });
    } }, h("option", { value: "none" }, "none yet"), h("option", { value: "globe" }, "latitude and longitude"), h("option", { value: "plan" }, "metres on the plan"));
    const draw = () => {
      const inputs = (KINDS[kind.value] ?? []).map(({ name, label, least, most }) => {
        const field = h("input", { type: "number", step: "any", min: least, max: most, value: camera[name] ?? "", "data-name": name, onchange: put });
        return h("label", { class: "field" }, h("span", {}, label), field);
      });
      show(places, ...inputs);
    };
    const put = () => {
      const fields = [...places.querySelectorAll("input")];
      if (fields.some((each) => each.value === "")) return;
      if (!fields.every((each) => each.reportValidity())) return;
      const place = Object.fromEntries(fields.map((each) => [each.dataset["name"], Number(each.value)]));
      this.save(camera.camera_id, { latitude: null, longitude: null, x: null, y: null, ...place });
    };
    const name = h("input", { type: "text", maxlength: 256, value: camera.name ?? "", onchange: () => this.save(camera.camera_id, { name: name.value.trim() || null }) });
    draw();
    kind.value = start;
    return h("fieldset", { class: "row end" }, h("legend", {}, camera.camera_id), h("label", { class: "field" }, h("span", {}, "Name"), name), h("label", { class: "field" }, h("span", {}, "Position"), kind), places);
  }

  /**
   * Save what is changed of one camera; what others have changed meanwhile stays.
   * @param {string} camera_id
   * @param {Partial<Camera>} patch
   */
  save(camera_id, patch) {
    this.saving = this.saving.then(async () => {
      try {
        const now = /** @type {Cameras} */ (await get(CAMERAS));
        const before = now.cameras.find((each) => each.camera_id === camera_id) ?? unplaced(camera_id);
        const after = { ...before, ...patch };
        const others = now.cameras.filter((each) => each.camera_id !== camera_id);
        const known = /** @type {Cameras} */ (await change("PUT", CAMERAS, { json: { cameras: [...others, after].sort((one, other) => (one.camera_id < other.camera_id ? -1 : 1)) } }));
        this.changed(known);
        notice(`${cameraWords(after)} is saved.`, { label: "Undo", run: () => { this.save(camera_id, before); } });
      } catch (error) {
        tell(error, "The camera could not be saved");
      }
    });
    return this.saving;
  }

  /** @param {Cameras} known */
  drawPlan(known) {
    if (this.plan.contains(document.activeElement)) return;
    const file = h("input", { type: "file", accept: "image/*" });
    const wide = h("input", { type: "number", step: "any", min: 0.01, max: 1e6, value: known.plan?.width ?? "" });
    const set = h("button", { type: "button", onclick: () => this.setPlan(file, wide) }, known.plan ? "Replace the plan" : "Add the plan");
    const remove = known.plan === null ? null : h("button", { type: "button", onclick: () => this.removePlan() }, "Remove the plan…");
    const words = known.plan === null ? "There is no plan. A picture of the site, drawn to scale, lets cameras be placed by a click." : `The plan shows ${lengthWords(known.plan.width)} × ${lengthWords(known.plan.height)}.`;
    show(this.plan, h("h3", {}, "Plan"), h("p", { class: "small" }, words), h("div", { class: "row end" },
      h("label", { class: "field" }, h("span", {}, "Picture of the plan"), file),
      h("label", { class: "field" }, h("span", {}, "Metres from its left to its right side"), wide), set, remove));
  }

  /**
   * @param {HTMLInputElement} file
   * @param {HTMLInputElement} wide
   */
  async setPlan(file, wide) {
    const picture = file.files?.[0];
    if (picture === undefined || wide.value === "") {
      tell(new Error("Choose a picture, and say how many metres it shows from its left to its right side."));
      return;
    }
    try {
      await change("PUT", PLAN, { query: { width: wide.value }, body: picture, type: picture.type || "application/octet-stream" });
      await this.told("The plan is saved.");
    } catch (error) {
      tell(error, "The plan could not be saved");
    }
  }

  async removePlan() {
    if (!await confirmDanger("Remove the plan?", "Its picture goes for everybody who uses this service. Cameras keep their places.", "Remove it")) return;
    try {
      await change("DELETE", PLAN);
      await this.told("The plan is removed.");
    } catch (error) {
      tell(error, "The plan could not be removed");
    }
  }

  /** @param {string} words */
  async told(words) {
    this.element.querySelector("summary")?.focus(); // what has the focus now will be drawn anew
    this.changed(/** @type {Cameras} */ (await get(CAMERAS)));
    notice(words);
  }
}
