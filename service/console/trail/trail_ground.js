/** Where a trail lies: a plan in metres, or the globe as a flat map; both turn positions into pixels and back. */

import { svg } from "../shared/element.js";
import { lengthWords } from "./trail_words.js";

/** @typedef {import("./trail_words.js").Camera} Camera */
/** @typedef {import("./trail_words.js").Plan} Plan */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {{latitude: number, longitude: number, x: null, y: null} | {x: number, y: number, latitude: null, longitude: null}} Position */
/**
 * @typedef {object} Ground
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {number} metres that a pixel shows, in the middle
 * @property {SVGElement[]} backdrop what lies below cameras
 * @property {(camera: Camera) => Point | null} pixel where a camera is drawn; null where it has no position of this kind
 * @property {(point: Point) => Position} position what a point means
 */

const MARGIN = 48; // pixels around the outermost cameras
const EQUATOR = 40_075_016.7; // metres
const ALONE = 0.00003; // of the world's width that is shown around a single camera: a kilometre at the equator
const TILE = 256;
const DEEPEST = 19; // zoom of tiles

/** @param {Camera} camera */
export function onPlan(camera) {
  return camera.x !== null && camera.y !== null;
}

/** @param {Camera} camera */
export function onGlobe(camera) {
  return camera.latitude !== null && camera.longitude !== null;
}

/**
 * A plan as wide as it may be; without a picture the metres around the cameras.
 * @param {Camera[]} cameras
 * @param {Plan | null} plan
 * @param {string | null} picture address of the plan's picture
 * @param {number} width pixels
 * @returns {Ground}
 */
export function planGround(cameras, plan, picture, width) {
  const frame = plan === null ? around(cameras.filter(onPlan).map((each) => ({ x: each.x ?? 0, y: each.y ?? 0 })), 10, width) : { left: 0, top: 0, scale: width / plan.width, height: (width / plan.width) * plan.height };
  const { left, top, scale, height } = frame;
  return {
    width, height, metres: 1 / scale,
    backdrop: picture === null ? grid(width, height) : [svg("image", { href: picture, x: 0, y: 0, width, height })],
    pixel: (camera) => (camera.x === null || camera.y === null ? null : { x: (camera.x - left) * scale, y: (camera.y - top) * scale }),
    position: ({ x, y }) => ({ x: rounded(x / scale + left, 2), y: rounded(y / scale + top, 2), latitude: null, longitude: null }),
  };
}

/**
 * The globe in Mercator's projection, so that it is to scale around the trail; with the pictures of a map where
 * ``tiles`` names them.
 * @param {Camera[]} cameras
 * @param {string | null} tiles
 * @param {number} width pixels
 * @returns {Ground}
 */
export function mapGround(cameras, tiles, width) {
  const places = cameras.filter(onGlobe).map((each) => flat(each.latitude ?? 0, each.longitude ?? 0));
  const { left, top, scale, height } = around(places.length ? places : [flat(0, 0)], ALONE, width);
  const middle = latitude(top + height / 2 / scale);
  return {
    width, height, metres: (EQUATOR * Math.cos((middle * Math.PI) / 180)) / scale,
    backdrop: tiles === null ? grid(width, height) : tilesOf(tiles, left, top, scale, width, height),
    pixel: (camera) => {
      if (camera.latitude === null || camera.longitude === null) return null;
      const place = flat(camera.latitude, camera.longitude);
      return { x: (place.x - left) * scale, y: (place.y - top) * scale };
    },
    position: ({ x, y }) => ({ latitude: rounded(latitude(y / scale + top), 6), longitude: rounded((x / scale + left) * 360 - 180, 6), x: null, y: null }),
  };
}

/**
 * A bar of a round length, and which side is north on a map.
 * @param {Ground} ground
 * @param {boolean} north
 * @returns {SVGElement[]}
 */
export function scaleBar(ground, north) {
  const most = ground.metres * Math.min(140, ground.width / 3);
  const power = 10 ** Math.floor(Math.log10(most));
  const metres = [5, 2, 1].map((each) => each * power).find((each) => each <= most) ?? power;
  const wide = metres / ground.metres;
  const y = ground.height - 12;
  const words = svg("text", { class: "scale-words", x: 12 + wide / 2, y: y - 5, "text-anchor": "middle" }, metres < 1 ? `${Math.round(metres * 100)} cm` : lengthWords(metres));
  const bar = svg("path", { class: "scale", d: `M12 ${y - 4}v4h${wide}v-4` });
  const up = north ? [svg("text", { class: "scale-words", x: ground.width - 18, y: 34, "text-anchor": "middle" }, "N"), svg("path", { class: "scale", d: `M${ground.width - 18} 20v-12m-4 5l4 -5l4 5` })] : [];
  return [bar, words, ...up];
}

/**
 * A frame around points, in their own unit: where it begins, pixels a unit, and its height in pixels.
 * @param {Point[]} points
 * @param {number} alone the least that is shown, in their unit
 * @param {number} width pixels
 */
function around(points, alone, width) {
  const [xs, ys] = [points.map((each) => each.x), points.map((each) => each.y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const height = Math.max(240, Math.min(520, width * 0.6));
  const scale = Math.min((width - 2 * MARGIN) / Math.max(right - left, alone), (height - 2 * MARGIN) / Math.max(bottom - top, alone));
  return { left: (left + right) / 2 - width / 2 / scale, top: (top + bottom) / 2 - height / 2 / scale, scale, height };
}

/**
 * Mercator's projection: the world is 1 wide, and x grows to the east, y to the south.
 * @param {number} north degrees
 * @param {number} east degrees
 * @returns {Point}
 */
function flat(north, east) {
  const held = (Math.max(-85, Math.min(85, north)) * Math.PI) / 180;
  return { x: (east + 180) / 360, y: (1 - Math.asinh(Math.tan(held)) / Math.PI) / 2 };
}

/** @param {number} y of Mercator's world */
function latitude(y) {
  return (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;
}

/**
 * @param {string} template
 * @param {number} left
 * @param {number} top
 * @param {number} scale
 * @param {number} width
 * @param {number} height
 */
function tilesOf(template, left, top, scale, width, height) {
  const zoom = Math.max(0, Math.min(DEEPEST, Math.round(Math.log2(scale / TILE))));
  const [count, size] = [2 ** zoom, scale / 2 ** zoom];
  const made = [];
  for (let row = Math.floor(top * count); row * size < top * scale + height; row += 1) {
    for (let column = Math.floor(left * count); column * size < left * scale + width; column += 1) {
      if (row < 0 || row >= count) continue;
      const address = template.replace("{z}", String(zoom)).replace("{x}", String(((column % count) + count) % count)).replace("{y}", String(row));
      made.push(svg("image", { href: address, x: column * size - left * scale, y: row * size - top * scale, width: size + 0.5, height: size + 0.5, preserveAspectRatio: "none" }));
    }
  }
  return made;
}

/**
 * @param {number} width
 * @param {number} height
 */
function grid(width, height) {
  const lines = [];
  for (let x = 40; x < width; x += 40) lines.push(svg("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height }));
  for (let y = 40; y < height; y += 40) lines.push(svg("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }));
  return lines;
}

/**
 * @param {number} value
 * @param {number} digits
 */
function rounded(value, digits) {
  return Number(value.toFixed(digits));
}
