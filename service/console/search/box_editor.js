/** Boxes on a picture: drawn, moved and resized by mouse, pen, finger and keyboard, or by numbers. */

import { h, show } from "../shared/element.js";

/** @typedef {import("./query_picture.js").Box} Box */
/** @typedef {{x: -1 | 0 | 1, y: -1 | 0 | 1}} Edge which edges a handle moves */

const SIDES = /** @type {[keyof Box, string][]} */ ([["x", "Left"], ["y", "Top"], ["width", "Width"], ["height", "Height"]]);
const SMALLEST = 4; // pixels of a side
const CLICK = 0.015; // of the picture's longer side: what is drawn smaller was a click
const SETTLE = 450; // milliseconds after the last key
const HANDLES = /** @type {Edge[]} */ ([[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]].map(([x, y]) => ({ x, y })));
const ARROWS = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });

export class BoxEditor {
  /** @param {(boxes: Box[], chosen: number, drawn: boolean) => void} changed called when a change is finished; ``drawn``: it is another vehicle now */
  constructor(changed) {
    this.changed = changed;
    /** @type {Box[]} */
    this.boxes = [];
    this.chosen = -1;
    this.width = 0;
    this.height = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.settling = undefined;
    /** @type {{from: [number, number], box: Box | null, edge: Edge | null, before: Box[], chosen: number} | null} */
    this.drag = null;
    this.stage = h("div", { class: "stage", onpointerdown: (/** @type {PointerEvent} */ event) => this.press(event), onpointermove: (/** @type {PointerEvent} */ event) => this.move(event),
      onpointerup: () => this.release(), onpointercancel: () => this.cancel() });
    this.list = h("div", { class: "row boxes", role: "group", "aria-label": "Vehicles in this picture" });
    this.fields = SIDES.map(([name, label]) => this.field(name, label));
    this.hint = h("p", { class: "small faint", id: "box-hint" }, "Arrow keys move the chosen box, shift and arrow keys resize it, Delete removes it.");
    this.exact = h("details", {}, h("summary", { class: "small" }, "Box by keyboard or in numbers"), this.hint, h("div", { class: "row numbers" }, ...this.fields.map(({ element }) => element)));
    this.element = h("div", { class: "box-editor" }, this.stage, this.list, h("p", { class: "small faint" }, "Draw a box around one vehicle, or add one and pull its handles."), this.exact);
  }

  /**
   * Show another picture.
   * @param {HTMLElement[]} layers the picture, and what lies on it
   * @param {number} width of the upright picture, in pixels
   * @param {number} height
   */
  open(layers, width, height) {
    this.cancel();
    clearTimeout(this.settling);
    this.width = width;
    this.height = height;
    show(this.stage, ...layers);
    this.boxes = [];
    this.chosen = -1;
    this.drawAll();
  }

  /**
   * Show these boxes; nobody is told.
   * @param {Box[]} boxes
   * @param {number} chosen
   */
  take(boxes, chosen) {
    if (this.drag !== null) return;
    clearTimeout(this.settling);
    this.boxes = boxes;
    this.chosen = chosen;
    this.drawAll();
  }

  drawAll() {
    this.draw();
    const step = (/** @type {number} */ to) => () => this.choose(to);
    show(this.list,
      h("button", { type: "button", "aria-pressed": String(this.chosen === -1), onclick: step(-1) }, "Whole picture"),
      ...this.boxes.map((_, number) => h("button", { type: "button", "aria-pressed": String(this.chosen === number), onclick: step(number) }, `Vehicle ${number + 1}`)),
      h("button", { type: "button", class: "quiet", onclick: () => this.add() }, "Add a box"),
      this.chosen >= 0 ? h("button", { type: "button", class: "quiet", onclick: () => this.remove(this.chosen) }, "Remove box") : null);
    this.exact.hidden = this.chosen < 0;
    const box = this.boxes[this.chosen];
    if (box) for (const { name, input } of this.fields) {
      input.max = String(name === "x" || name === "width" ? this.width : this.height);
      input.value = String(box[name]);
    }
  }

  /** Put the boxes where they are; elements stay, so that the focus stays. */
  draw() {
    const shown = [...this.stage.querySelectorAll(".box")];
    for (const surplus of shown.slice(this.boxes.length)) surplus.remove();
    for (const [number, box] of this.boxes.entries()) {
      let element = /** @type {HTMLElement | undefined} */ (shown[number]);
      if (element === undefined) {
        element = h("div", { class: "box", role: "button", tabindex: 0, "aria-describedby": "box-hint", "data-number": number, onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event, number) },
          h("span", { class: "tag", "aria-hidden": "true" }, number + 1), ...HANDLES.map((edge) => h("span", { class: `handle h${edge.x}${edge.y}`, "data-x": edge.x, "data-y": edge.y })));
        this.stage.append(element);
      }
      const percent = (/** @type {number} */ part, /** @type {number} */ all) => `${(100 * part) / all}%`;
      element.style.left = percent(box.x, this.width);
      element.style.top = percent(box.y, this.height);
      element.style.width = percent(box.width, this.width);
      element.style.height = percent(box.height, this.height);
      element.classList.toggle("chosen", number === this.chosen);
      element.setAttribute("aria-pressed", String(number === this.chosen));
      element.setAttribute("aria-label", `Box of vehicle ${number + 1}: ${box.width} × ${box.height} pixels at ${box.x}, ${box.y}`);
    }
  }

  /** @param {number} number */
  choose(number) {
    if (number === this.chosen) return;
    this.chosen = number;
    this.tell(true);
  }

  /** A box in the middle, for who does not draw. */
  add() {
    const width = Math.max(1, Math.round(this.width * 0.6));
    const height = Math.max(1, Math.round(this.height * 0.6));
    const shift = Math.round((this.boxes.length % 4) * 0.06 * Math.min(this.width, this.height));
    this.boxes = [...this.boxes, this.inside({ x: Math.round((this.width - width) / 2) + shift, y: Math.round((this.height - height) / 2) + shift, width, height })];
    this.chosen = this.boxes.length - 1;
    this.tell(true);
    /** @type {HTMLElement | null} */ (this.stage.querySelector(".box.chosen"))?.focus();
  }

  /** @param {number} number */
  remove(number) {
    this.boxes = this.boxes.filter((_, each) => each !== number);
    this.chosen = Math.min(this.chosen, this.boxes.length - 1);
    this.tell(true);
    /** @type {HTMLElement | null} */ (this.list.querySelector("[aria-pressed=true]"))?.focus();
  }

  /** @param {boolean} drawn */
  tell(drawn) {
    clearTimeout(this.settling);
    this.drawAll();
    this.changed(this.boxes, this.chosen, drawn);
  }

  /** Tell when nothing has changed for a moment. */
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.tell(false), SETTLE);
  }

  /**
   * @param {number} number
   * @param {Box} box
   */
  replace(number, box) {
    this.boxes = this.boxes.map((each, at) => (at === number ? box : each));
    this.draw();
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} number
   */
  key(event, number) {
    const box = this.boxes[number];
    const arrow = ARROWS[event.key];
    if (box === undefined) return;
    if (event.key === "Enter" || event.key === " ") this.choose(number);
    else if (event.key === "Delete" || event.key === "Backspace") this.remove(number);
    else if (arrow !== undefined) {
      const step = Math.max(1, Math.round(Math.max(this.width, this.height) / 100));
      const [right, down] = [arrow[0] * step, arrow[1] * step];
      this.chosen = number;
      this.replace(number, event.shiftKey
        ? { ...box, width: clamp(box.width + right, SMALLEST, this.width - box.x), height: clamp(box.height + down, SMALLEST, this.height - box.y) }
        : this.inside({ ...box, x: box.x + right, y: box.y + down }));
      this.settle();
    } else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0 || this.width === 0 || !(event.target instanceof HTMLElement)) return;
    const element = /** @type {HTMLElement | null} */ (event.target.closest(".box"));
    const before = { before: this.boxes, chosen: this.chosen };
    const from = this.place(event);
    if (element !== null) {
      const number = Number(element.dataset["number"]);
      const handle = number === this.chosen ? event.target.dataset : {};
      const edge = handle["x"] === undefined ? null : /** @type {Edge} */ ({ x: Number(handle["x"]), y: Number(handle["y"]) });
      this.chosen = number;
      this.drag = { from, box: this.boxes[number] ?? null, edge, ...before };
      element.focus({ preventScroll: true });
    } else if (event.pointerType !== "touch") { // a finger there scrolls the page
      this.drag = { from, box: null, edge: null, ...before };
    } else return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    this.draw();
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.drag === null) return;
    const { from, box, edge, before } = this.drag;
    const to = this.place(event);
    const [right, down] = [Math.round(to[0] - from[0]), Math.round(to[1] - from[1])];
    if (box === null) {
      if (Math.max(Math.abs(right), Math.abs(down)) < CLICK * Math.max(this.width, this.height)) return;
      this.boxes = [...before, this.between(from, to)];
      this.chosen = before.length;
      this.draw();
    } else if (edge === null) this.replace(this.chosen, this.inside({ ...box, x: box.x + right, y: box.y + down }));
    else this.replace(this.chosen, this.pulled(box, edge, right, down));
  }

  release() {
    if (this.drag === null) return;
    const { before, chosen } = this.drag;
    this.drag = null;
    const same = this.boxes === before || (this.boxes.length === before.length && JSON.stringify(this.boxes) === JSON.stringify(before));
    if (!same || this.chosen !== chosen) this.tell(this.chosen !== chosen);
  }

  cancel() {
    if (this.drag === null) return;
    this.boxes = this.drag.before;
    this.chosen = this.drag.chosen;
    this.drag = null;
    this.drawAll();
  }

  /**
   * Where an event is, in pixels of the picture.
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  place(event) {
    const frame = this.stage.getBoundingClientRect();
    return [clamp(((event.clientX - frame.left) / frame.width) * this.width, 0, this.width), clamp(((event.clientY - frame.top) / frame.height) * this.height, 0, this.height)];
  }

  /**
   * @param {[number, number]} one
   * @param {[number, number]} other
   * @returns {Box}
   */
  between(one, other) {
    const [x, y] = [Math.floor(Math.min(one[0], other[0])), Math.floor(Math.min(one[1], other[1]))];
    return this.inside({ x, y, width: Math.max(SMALLEST, Math.ceil(Math.abs(one[0] - other[0]))), height: Math.max(SMALLEST, Math.ceil(Math.abs(one[1] - other[1]))) });
  }

  /**
   * @param {Box} box
   * @param {Edge} edge
   * @param {number} right
   * @param {number} down
   * @returns {Box}
   */
  pulled(box, edge, right, down) {
    const [x, width] = pull(box.x, box.width, edge.x, right, this.width);
    const [y, height] = pull(box.y, box.height, edge.y, down, this.height);
    return { x, y, width, height };
  }

  /**
   * The same size as far as the picture has room for it, wholly inside it.
   * @param {Box} box
   * @returns {Box}
   */
  inside(box) {
    const width = clamp(box.width, 1, this.width);
    const height = clamp(box.height, 1, this.height);
    return { x: clamp(box.x, 0, this.width - width), y: clamp(box.y, 0, this.height - height), width, height };
  }

  /**
   * @param {keyof Box} name
   * @param {string} label
   */
  field(name, label) {
    const input = h("input", { type: "number", min: name === "x" || name === "y" ? 0 : 1, step: 1, onchange: () => {
      const box = this.boxes[this.chosen];
      const value = Math.round(Number(input.value));
      if (box === undefined) return;
      const most = name === "width" ? this.width - box.x : name === "height" ? this.height - box.y : value;
      this.replace(this.chosen, this.inside({ ...box, [name]: input.value === "" ? box[name] : Math.min(value, most) }));
      this.tell(false);
    } });
    return { name, input, element: h("label", { class: "field" }, h("span", {}, label), input) };
  }
}

/**
 * One side of a box whose lower (-1) or upper (1) edge is pulled.
 * @param {number} start
 * @param {number} size
 * @param {-1 | 0 | 1} edge
 * @param {number} by
 * @param {number} most
 * @returns {[number, number]}
 */
function pull(start, size, edge, by, most) {
  if (edge === 0) return [start, size];
  if (edge === 1) return [start, clamp(size + by, Math.min(SMALLEST, size), most - start)];
  const moved = clamp(start + by, 0, Math.max(start + size - SMALLEST, start));
  return [moved, start + size - moved];
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
