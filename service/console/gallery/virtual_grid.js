/**
 * A grid of any number of cells of which only the rows in view, and a few around them, are in the document.
 *
 * Cells are reused. Browsers draw no element higher than some 16 to 33 million pixels, so that a grid that would be
 * higher is scrolled through on a shorter track: a wheel moves it by as many pixels as ever, the scroll bar by more.
 */

/**
 * @typedef {object} GridOptions
 * @property {string} label what is in it, for screen readers
 * @property {(cell: HTMLElement, number: number) => void} draw fills a cell for an item; called again when it changes
 * @property {(cell: HTMLElement) => void} clear takes out of a cell what should not go on loading
 * @property {(first: number, last: number) => void} shown which items are in view, and around it
 * @property {(number: number) => void} opened somebody wants to see an item whole
 * @property {(number: number, how: "toggle" | "range") => void} picked somebody selects an item
 * @property {(key: "all" | "none") => void} wanted somebody selects all, or nothing
 * @property {() => boolean} picking whether a plain click selects instead of opening
 */

const GAP = 8; // pixels
const NARROWEST = 150;
const CAPTION = 46; // pixels of text below a picture
const SHAPE = 3 / 4; // height of a picture to its width
const AROUND = 2; // rows above and below the view
const LONGEST_TRACK = 8_000_000; // pixels
const SETTLED = 200; // milliseconds without scrolling

export class VirtualGrid {
  /** @param {GridOptions} options */
  constructor(options) {
    this.options = options;
    this.count = 0;
    this.active = -1;
    this.columns = 1;
    this.rowHeight = 1;
    this.cellWidth = NARROWEST;
    this.top = 0; // of the view in the whole grid, pixels
    this.scrolled = 0; // the track's own scrollTop, when it was last looked at
    this.frame = 0;
    this.settling = 0;
    this.ordering = 0;
    /** @type {Map<number, HTMLElement>} */
    this.cells = new Map();
    /** @type {HTMLElement[]} */
    this.spare = [];
    this.element = document.createElement("div");
    this.element.className = "grid";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "listbox");
    this.element.setAttribute("aria-multiselectable", "true");
    this.element.setAttribute("aria-label", options.label);
    this.track = document.createElement("div");
    this.track.className = "track";
    this.track.setAttribute("role", "presentation");
    this.element.append(this.track);
    this.element.addEventListener("scroll", () => this.#later(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("click", (event) => this.#click(event));
    this.element.addEventListener("focus", () => {
      if (this.active < 0 && this.count > 0) this.activate(Math.ceil(this.top / this.rowHeight) * this.columns);
    });
    new ResizeObserver(() => this.#measure()).observe(this.element);
  }

  /** @param {number} count */
  setCount(count) {
    if (count === this.count) return;
    this.count = count;
    if (this.active >= count) this.#mark(count - 1);
    for (const cell of this.cells.values()) cell.setAttribute("aria-setsize", String(count));
    this.#stretch();
    this.#render();
  }

  /** Draw what is in view again. */
  refresh() {
    for (const [number, cell] of this.cells) this.options.draw(cell, number);
  }

  /** Draw one item again, where it is in view. @param {number} number */
  redraw(number) {
    const cell = this.cells.get(number);
    if (cell) this.options.draw(cell, number);
  }

  /** Make an item the one that keys act on, and bring it into view. @param {number} number */
  activate(number) {
    if (this.count === 0) return;
    const place = Math.min(Math.max(number, 0), this.count - 1);
    const above = Math.floor(place / this.columns) * this.rowHeight;
    const view = this.element.clientHeight;
    if (above < this.top) this.#go(above);
    else if (above + this.rowHeight > this.top + view) this.#go(above + this.rowHeight - view);
    this.#mark(place);
  }

  /** To the beginning, with nothing active. */
  rewind() {
    this.#mark(-1);
    this.#go(0);
  }

  get rows() {
    return Math.ceil(this.count / this.columns);
  }

  get height() {
    return this.rows * this.rowHeight + GAP;
  }

  /** How far the grid can be scrolled for a pixel of the track. */
  get ratio() {
    const view = this.element.clientHeight;
    const track = Math.min(this.height, LONGEST_TRACK) - view;
    return track > 0 ? Math.max(1, (this.height - view) / track) : 1;
  }

  #measure() {
    const width = this.element.clientWidth - GAP;
    if (width <= 0) return;
    const first = Math.round(this.top / this.rowHeight) * this.columns;
    this.columns = Math.max(1, Math.floor(width / (NARROWEST + GAP)));
    this.cellWidth = Math.floor(width / this.columns) - GAP;
    this.rowHeight = Math.round(this.cellWidth * SHAPE) + CAPTION + GAP;
    for (const cell of this.cells.values()) this.#size(cell);
    for (const cell of this.spare) this.#size(cell);
    this.#stretch();
    this.#go(Math.floor(first / this.columns) * this.rowHeight);
  }

  #stretch() {
    this.track.style.height = `${Math.min(this.height, LONGEST_TRACK)}px`;
  }

  /** @param {number} top */
  #go(top) {
    this.top = Math.min(Math.max(top, 0), Math.max(0, this.height - this.element.clientHeight));
    this.element.scrollTop = this.top / this.ratio;
    this.scrolled = this.element.scrollTop;
    this.#render();
  }

  #later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.#scroll();
    });
  }

  #scroll() {
    const now = this.element.scrollTop;
    const moved = now - this.scrolled;
    this.scrolled = now;
    const view = this.element.clientHeight;
    const ratio = this.ratio;
    const end = this.height - view;
    if (ratio === 1 || Math.abs(moved) > view) this.top = now * ratio;
    else this.top += moved;
    if (now <= 0) this.top = 0;
    this.top = Math.min(Math.max(this.top, 0), Math.max(0, end));
    this.#render();
    clearTimeout(this.settling);
    if (ratio > 1) this.settling = setTimeout(() => this.#go(this.top), SETTLED); // the track follows what a wheel did
  }

  #render() {
    const view = this.element.clientHeight;
    if (view === 0) return;
    const firstRow = Math.max(0, Math.floor(this.top / this.rowHeight) - AROUND);
    const lastRow = Math.min(this.rows, Math.ceil((this.top + view) / this.rowHeight) + AROUND);
    const first = firstRow * this.columns;
    const last = Math.min(this.count, lastRow * this.columns);
    for (const [number, cell] of this.cells) {
      if (number >= first && number < last) continue;
      this.cells.delete(number);
      this.options.clear(cell);
      this.spare.push(cell);
    }
    const shift = this.scrolled - this.top; // 0 unless the track is shorter than the grid
    const added = [];
    for (let number = first; number < last; number++) {
      let cell = this.cells.get(number);
      const fresh = !cell;
      if (!cell) {
        cell = this.spare.pop() ?? this.#cell();
        this.cells.set(number, cell);
        this.#name(cell, number);
      }
      const x = (number % this.columns) * (this.cellWidth + GAP) + GAP;
      const y = Math.floor(number / this.columns) * this.rowHeight + GAP + shift;
      cell.style.transform = `translate(${x}px, ${y}px)`;
      if (fresh) this.options.draw(cell, number);
      if (!cell.isConnected) added.push(cell);
    }
    for (const cell of this.spare) cell.remove();
    if (added.length) this.track.append(...added);
    if (this.spare.length > 60) this.spare.length = 60;
    this.#describeActive();
    clearTimeout(this.ordering);
    this.ordering = setTimeout(() => this.#order(), SETTLED);
    this.options.shown(first, last);
  }

  /** Screen readers read cells in the document's order. */
  #order() {
    /** @type {HTMLElement | null} */
    let before = null;
    const numbers = [...this.cells.keys()].sort((one, other) => one - other);
    for (const number of numbers) {
      const cell = /** @type {HTMLElement} */ (this.cells.get(number));
      /** @type {ChildNode | null} */
      const next = before === null ? this.track.firstChild : before.nextSibling;
      if (next !== cell) this.track.insertBefore(cell, next);
      before = cell;
    }
  }

  #cell() {
    const cell = document.createElement("div");
    cell.className = "cell";
    cell.setAttribute("role", "option");
    this.#size(cell);
    return cell;
  }

  /** @param {HTMLElement} cell */
  #size(cell) {
    cell.style.width = `${this.cellWidth}px`;
    cell.style.height = `${this.rowHeight - GAP}px`;
  }

  /** @param {HTMLElement} cell @param {number} number */
  #name(cell, number) {
    cell.id = `cell-${number}`;
    cell.dataset.number = String(number);
    cell.setAttribute("aria-posinset", String(number + 1));
    cell.setAttribute("aria-setsize", String(this.count));
    cell.classList.toggle("active", number === this.active);
  }

  /** @param {number} number */
  #mark(number) {
    this.cells.get(this.active)?.classList.remove("active");
    this.active = number;
    this.cells.get(number)?.classList.add("active");
    this.#describeActive();
  }

  #describeActive() {
    if (this.cells.has(this.active)) this.element.setAttribute("aria-activedescendant", `cell-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight)) * this.columns;
    /** @type {Record<string, number>} */
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page, PageDown: page,
      Home: -this.count, End: this.count,
    };
    const step = steps[event.key];
    if (step !== undefined && !event.altKey && !event.metaKey) {
      const next = this.active + step;
      const outside = next < 0 || next >= this.count;
      if (!outside || event.key === "Home" || event.key === "End") this.activate(next);
      else if (event.key.startsWith("Page")) this.activate(next);
      if (event.shiftKey) this.options.picked(this.active, "range");
    } else if (event.key === "Enter" && this.active >= 0) this.options.opened(this.active);
    else if (event.key === " " && this.active >= 0) this.options.picked(this.active, event.shiftKey ? "range" : "toggle");
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.options.wanted("all");
    else if (event.key === "Escape") this.options.wanted("none");
    else return;
    event.preventDefault();
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const cell = /** @type {HTMLElement | null} */ (target.closest(".cell"));
    if (!cell) return;
    const number = Number(cell.dataset.number);
    this.#mark(number);
    if (event.shiftKey) this.options.picked(number, "range");
    else if (target.closest(".tick") || event.ctrlKey || event.metaKey || this.options.picking()) {
      this.options.picked(number, "toggle");
    } else this.options.opened(number);
  }
}
