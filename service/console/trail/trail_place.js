/** A trail on its plan or map: cameras with the numbers of their sightings, ways between them, and moving cameras. */

import { h, show, svg } from "../shared/element.js";
import { pictureBytes } from "../shared/pictures.js";
import { mapGround, onGlobe, onPlan, planGround, scaleBar } from "./trail_ground.js";
import { way } from "./trail_line.js";
import { cameraWords } from "./trail_words.js";
import { durationWords } from "../shared/words.js";

/** @typedef {import("./trail_words.js").Camera} Camera */
/** @typedef {import("./trail_words.js").Cameras} Cameras */
/** @typedef {import("./trail_words.js").Trail} Trail */
/** @typedef {import("./trail_ground.js").Ground} Ground */
/** @typedef {import("./trail_ground.js").Point} Point */
/** @typedef {import("./trail_ground.js").Position} Position */
/** @typedef {"plan" | "map"} Kind */

const STEP = 8; // pixels that an arrow key moves a camera by; with Shift one
const LETTER = 7.5; // pixels that a letter takes, about
const PATIENCE = 600; // milliseconds after the last key until a camera is moved

/** The drawing and what is set about it. ``moved`` hears where a camera stands now. */
export class TrailPlace {
  /** @param {(camera_id: string, position: Position) => void} moved */
  constructor(moved) {
    this.moved = moved;
    /** @type {Kind | null} */
    this.kind = null;
    this.moving = false;
    /** @type {Trail | null} */
    this.trail = null;
    /** @type {Cameras | null} */
    this.known = null;
    /** @type {{sha256: string, address: string} | null} */
    this.picture = null;
    this.camera = h("select", {});
    this.tools = h("div", { class: "row end no-print" });
    this.drawing = h("div", { class: "ground" });
    this.element = h("section", { class: "card stack", "aria-labelledby": "trail-where" }, h("h2", { id: "trail-where" }, "Where"), this.tools, this.drawing);
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  /**
   * @param {Trail} trail
   * @param {Cameras} known
   */
  take(trail, known) {
    this.trail = trail;
    this.known = known;
    const kinds = this.kinds();
    if (this.kind === null || !kinds.includes(this.kind)) this.kind = kinds[0] ?? null;
    this.drawTools(kinds);
    this.draw();
    this.loadPlan();
  }

  /** Cameras of the trail, those without a position, too. */
  cameras() {
    const named = new Map((this.known?.cameras ?? []).map((each) => [each.camera_id, each]));
    const ids = [...(this.trail?.sightings ?? []), ...(this.trail?.untimed ?? [])].map((each) => each.camera_id);
    return [...new Set(ids)].filter((id) => id !== null).map((id) => named.get(id) ?? unplaced(id));
  }

  /** @returns {Kind[]} */
  kinds() {
    const cameras = this.cameras();
    /** @type {Kind[]} */
    const kinds = [];
    if (this.known?.plan || cameras.some(onPlan)) kinds.push("plan");
    if (cameras.some(onGlobe)) kinds.push("map");
    return kinds;
  }

  /** @param {Kind[]} kinds */
  drawTools(kinds) {
    const chosen = this.camera.value;
    const cameras = this.cameras();
    this.camera = h("select", {}, ...cameras.map((each) => h("option", { value: each.camera_id }, cameraWords(each))));
    if (cameras.some((each) => each.camera_id === chosen)) this.camera.value = chosen;
    const kind = kinds.length < 2 ? null : h("label", { class: "field" }, h("span", {}, "Shown on"), h("select", { value: this.kind, onchange: (/** @type {Event} */ event) => {
      this.kind = /** @type {Kind} */ (/** @type {HTMLSelectElement} */ (event.target).value);
      this.draw();
    } }, ...kinds.map((each) => h("option", { value: each }, each === "plan" ? "the plan" : "the map"))));
    const toggle = kinds.length === 0 ? null : h("button", { type: "button", "aria-pressed": String(this.moving), "data-needs": "cameras", onclick: () => {
      this.moving = !this.moving;
      this.drawTools(kinds);
      this.draw();
    } }, "Move cameras");
    const which = this.moving && kinds.length ? h("label", { class: "field" }, h("span", {}, "A click places"), this.camera) : null;
    show(this.tools, kind, toggle, which, this.moving && kinds.length ? h("p", { class: "small faint" }, "Click to place the chosen camera, drag a camera, or move it with the arrow keys (Shift: finer). The fields below take exact positions.") : null);
  }

  draw() {
    const { trail, known } = this;
    if (trail === null || known === null) return;
    const width = Math.floor(this.drawing.clientWidth);
    if (width < 50) return;
    if (this.kind === null) {
      show(this.drawing, h("div", { class: "empty" }, h("p", {}, "No camera of this trail has a position yet, so ways cannot be measured."), h("p", { "data-needs": "cameras" }, "Set positions under “Cameras”, or add a plan there and place them on it.")));
      return;
    }
    const cameras = this.cameras();
    const ground = this.kind === "plan" ? planGround(cameras, known.plan, this.address(), width) : mapGround(cameras, known.map_tiles, width);
    const focused = document.activeElement instanceof SVGElement ? document.activeElement.dataset["camera"] : undefined;
    const drawn = svg("svg", { class: this.moving ? "place moving" : "place", width, height: ground.height, viewBox: `0 0 ${width} ${ground.height}`, role: "group", "aria-label": this.kind === "plan" ? "Plan" : "Map" }, ...ground.backdrop);
    if (this.moving) drawn.addEventListener("click", (event) => {
      if (event.target instanceof Element && event.target.closest(".site") === null && this.camera.value) this.moved(this.camera.value, ground.position(pointOf(event, drawn)));
    });
    const labels = new Labels(ground, cameras.flatMap((each) => ground.pixel(each) ?? []));
    const sites = cameras.flatMap((each) => this.site(each, ground, drawn, labels));
    drawn.append(...ways(trail, ground, labels), ...scaleBar(ground, this.kind === "map"), ...sites);
    const source = this.kind === "map" && known.map_tiles !== null ? h("p", { class: "small faint" }, `The map's pictures come from ${new URL(known.map_tiles).host}.`) : null;
    show(this.drawing, drawn, source);
    if (focused !== undefined) drawn.querySelector(`[data-camera="${CSS.escape(focused)}"]`)?.dispatchEvent(new Event("refocus"));
  }

  /**
   * A camera where it stands; nothing where it has no position here.
   * @param {Camera} camera
   * @param {Ground} ground
   * @param {SVGSVGElement} drawn
   * @param {Labels} labels
   * @returns {SVGElement[]}
   */
  site(camera, ground, drawn, labels) {
    const place = ground.pixel(camera);
    if (place === null) return [];
    const numbers = [...(this.trail?.sightings ?? []), ...(this.trail?.untimed ?? [])].filter((each) => each.camera_id === camera.camera_id).map((each) => each.number);
    const words = `${cameraWords(camera)}: ${numbers.length === 1 ? "sighting" : "sightings"} ${numbers.join(", ")}`;
    const name = camera.name || camera.camera_id;
    const label = labels.put(Math.max(name.length, numbers.join(", ").length), 30, place, [["start", 14, 4], ["end", -14, 4], ["middle", 0, 32], ["middle", 0, -22]]) ?? { anchor: "start", x: 14, y: 4 };
    const site = svg("g", { class: "site", transform: `translate(${place.x} ${place.y})`, "data-camera": camera.camera_id, role: this.moving ? "button" : "img", tabindex: this.moving ? 0 : null, "aria-label": this.moving ? `${words}. Arrow keys move it.` : words },
      svg("circle", { r: 9 }), svg("circle", { class: "lens", r: 3 }),
      svg("text", { x: label.x, y: label.y - 6, "text-anchor": label.anchor }, name),
      svg("text", { class: "numbers", x: label.x, y: label.y + 9, "text-anchor": label.anchor }, numbers.join(", ")));
    site.addEventListener("refocus", () => site.focus());
    if (this.moving) this.letMove(site, camera, place, ground, drawn);
    return [site];
  }

  /**
   * @param {SVGGElement} site
   * @param {Camera} camera
   * @param {Point} place
   * @param {Ground} ground
   * @param {SVGSVGElement} drawn
   */
  letMove(site, camera, place, ground, drawn) {
    const at = { ...place };
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let later;
    const put = (/** @type {number} */ x, /** @type {number} */ y) => {
      at.x = Math.max(0, Math.min(ground.width, x));
      at.y = Math.max(0, Math.min(ground.height, y));
      site.setAttribute("transform", `translate(${at.x} ${at.y})`);
    };
    site.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      site.focus();
      site.setPointerCapture(event.pointerId);
      const from = pointOf(event, drawn);
      const [left, top] = [at.x - from.x, at.y - from.y];
      const drag = (/** @type {PointerEvent} */ move) => {
        const to = pointOf(move, drawn);
        put(to.x + left, to.y + top);
      };
      site.addEventListener("pointermove", drag);
      site.addEventListener("pointerup", () => {
        site.removeEventListener("pointermove", drag);
        if (Math.hypot(at.x - place.x, at.y - place.y) > 1) this.moved(camera.camera_id, ground.position(at));
      }, { once: true });
    });
    site.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 1 : STEP;
      const [right, down] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
      if (right === undefined || down === undefined) return;
      event.preventDefault();
      put(at.x + right, at.y + down);
      clearTimeout(later);
      later = setTimeout(() => this.moved(camera.camera_id, ground.position(at)), PATIENCE);
    });
  }

  address() {
    return this.picture !== null && this.picture.sha256 === this.known?.plan?.sha256 ? this.picture.address : null;
  }

  /** Fetch the plan's picture, where it is another than the one that is shown. */
  async loadPlan() {
    const plan = this.known?.plan ?? null;
    if (plan === null || this.address() !== null) return;
    try {
      const bytes = await pictureBytes(`${plan.picture}?max_side=2048`);
      if (this.picture !== null) URL.revokeObjectURL(this.picture.address);
      this.picture = { sha256: plan.sha256, address: URL.createObjectURL(bytes) };
      this.draw();
    } catch {
      // without the picture the plan is drawn as a grid, to the same scale
    }
  }
}

/**
 * A camera that nobody has placed.
 * @param {string} camera_id
 * @returns {Camera}
 */
export function unplaced(camera_id) {
  return { camera_id, name: null, latitude: null, longitude: null, x: null, y: null };
}

/** Words beside points, so that none lies upon another or upon a camera. */
class Labels {
  /**
   * @param {Ground} ground
   * @param {Point[]} points of cameras
   */
  constructor(ground, points) {
    this.ground = ground;
    this.taken = points.map(({ x, y }) => ({ left: x - 9, right: x + 9, top: y - 9, bottom: y + 9 }));
  }

  /**
   * The first of some places beside a point where words fit; null where they fit nowhere.
   * @param {number} letters
   * @param {number} high pixels
   * @param {Point} point
   * @param {["start" | "middle" | "end", number, number][]} places anchor, and how far from the point
   */
  put(letters, high, point, places) {
    const wide = letters * LETTER;
    for (const [anchor, x, y] of places) {
      const left = point.x + x - (anchor === "start" ? 0 : anchor === "end" ? wide : wide / 2);
      const box = { left, right: left + wide, top: point.y + y - high / 2 - 4, bottom: point.y + y + high / 2 - 4 };
      const outside = box.left < 0 || box.right > this.ground.width || box.top < 0 || box.bottom > this.ground.height;
      if (outside || this.taken.some((each) => each.left < box.right && box.left < each.right && each.top < box.bottom && box.top < each.bottom)) continue;
      this.taken.push(box);
      return { anchor, x, y };
    }
    return null;
  }
}

/**
 * Ways between sightings that both stand here, with the time that each took where there is room for it.
 * @param {Trail} trail
 * @param {Ground} ground
 * @param {Labels} labels
 * @returns {SVGElement[]}
 */
function ways(trail, ground, labels) {
  /** @type {Map<number, Point>} */
  const points = new Map();
  for (const sighting of trail.sightings) {
    const place = sighting.camera === null ? null : ground.pixel(sighting.camera);
    if (place !== null) points.set(sighting.number, place);
  }
  /** @type {SVGElement[]} */
  const words = [];
  const drawn = trail.legs.flatMap((leg) => {
    const [start, end] = [points.get(leg.from), points.get(leg.to)];
    if (start === undefined || end === undefined || (start.x === end.x && start.y === end.y)) return [];
    const text = `${leg.impossible ? "✕ " : ""}${durationWords(leg.seconds)}`;
    for (const share of [0.5, 0.35, 0.65, 0.2, 0.8]) {
      const at = { x: start.x + (end.x - start.x) * share, y: start.y + (end.y - start.y) * share };
      const label = labels.put(text.length, 16, at, [["start", 10, 4], ["end", -10, 4], ["middle", 0, -8], ["middle", 0, 18]]);
      if (label === null) continue;
      words.push(svg("text", { class: leg.impossible ? "way-words impossible" : "way-words", x: at.x + label.x, y: at.y + label.y, "text-anchor": label.anchor }, text));
      break;
    }
    return [way(leg, points)];
  });
  return [...drawn, ...words];
}

/**
 * @param {MouseEvent} event
 * @param {SVGSVGElement} drawn
 * @returns {Point}
 */
function pointOf(event, drawn) {
  const frame = drawn.getBoundingClientRect();
  return { x: ((event.clientX - frame.left) / frame.width) * drawn.viewBox.baseVal.width, y: ((event.clientY - frame.top) / frame.height) * drawn.viewBox.baseVal.height };
}
