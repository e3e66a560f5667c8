/** How far a match may be: a slider over the distances that were found. */

import { h, show, svg } from "../shared/element.js";
import { countWords, distanceWords } from "../shared/words.js";

const STEP = 0.01;
const WIDTH = 1000; // of the drawing, in its own units

export class DistanceThreshold {
  /** @param {(threshold: number | null) => void} changed null: everything that was found */
  constructor(changed) {
    this.changed = changed;
    /** @type {number[]} */
    this.distances = [];
    this.most = 1;
    /** @type {[string, string]} */
    this.what = ["match", "matches"];
    this.field = h("input", { type: "range", min: 0, max: 1, step: STEP, value: "1", "aria-label": "Distance threshold", "aria-describedby": "within",
      oninput: () => this.say(), onchange: () => this.changed(this.value) });
    this.marks = svg("svg", { viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: "none", "aria-hidden": "true", class: "marks" });
    this.words = h("output", { id: "within" });
    this.element = h("div", { class: "threshold" }, h("span", { class: "small faint" }, "Within a distance of"), h("div", { class: "slide" }, this.marks, this.field), this.words);
    /** Called while the slider moves. @type {(threshold: number | null) => void} */
    this.moving = () => {};
  }

  /** The distance that is chosen; null where the slider is at its end. */
  get value() {
    const value = Number(this.field.value);
    return value >= this.most ? null : value;
  }

  /**
   * @param {number[]} distances of what was found
   * @param {number | null} threshold
   * @param {[string, string]} what was found: one of it, many
   */
  take(distances, threshold, what) {
    this.distances = distances;
    this.what = what;
    this.most = Math.max(STEP, Math.ceil(Math.max(0, ...distances, threshold ?? 0) / STEP) * STEP);
    this.field.max = this.most.toFixed(2);
    this.field.value = String(threshold ?? this.most);
    show(this.marks, ...distances.map((each) => svg("line", { x1: (WIDTH * each) / this.most, x2: (WIDTH * each) / this.most, y1: 0, y2: 10, "vector-effect": "non-scaling-stroke" })));
    this.say();
  }

  say() {
    const { value } = this;
    const within = this.distances.filter((each) => value === null || each <= value).length;
    show(this.words, h("strong", {}, distanceWords(value ?? this.most)), ` · ${within} of ${countWords(this.distances.length, ...this.what)}`);
    this.field.setAttribute("aria-valuetext", `${distanceWords(value ?? this.most)}: ${within} of ${this.distances.length} within`);
    this.moving(value);
  }
}
