/** The time line of a trail: a lane a camera, sightings as numbered points that can be chosen, ways between them. */

import { svg } from "../shared/element.js";
import { legWords, placeWords, sightingWords, tickWords } from "./trail_words.js";

/** @typedef {import("./trail_words.js").Trail} Trail */
/** @typedef {import("./trail_words.js").Sighting} Sighting */
/** @typedef {import("./trail_words.js").Leg} Leg */
/** @typedef {{x: number, y: number}} Point */

const RADIUS = 12;
const NAME = 22; // pixels above a lane for its name
const LEVEL = 28; // between points of a lane that would lie upon each other
const SIDE = 18;
const TICK = 120; // pixels that the words of a tick take, about

/**
 * Draw what has a time, as wide as it may be; ``chosen`` hears the number of a sighting.
 * @param {Trail} trail
 * @param {number} width pixels
 * @param {(number: number) => void} chosen
 * @returns {SVGSVGElement}
 */
export function timeLine(trail, width, chosen) {
  const moments = trail.sightings.map((each) => Date.parse(each.captured_at ?? ""));
  const first = moments[0] ?? 0;
  const span = (moments[moments.length - 1] ?? first) - first;
  /** @param {number} moment */
  const across = (moment) => (span === 0 ? width / 2 : SIDE + ((moment - first) / span) * (width - 2 * SIDE));
  const { points, lanes, height } = laidOut(trail.sightings, moments.map(across));
  const drawn = svg("svg", { class: "time-line", width, height: height + 24, viewBox: `0 0 ${width} ${height + 24}`, role: "group", "aria-label": "Time line" });
  drawn.append(...ticks(first, span, width, height, across));
  drawn.append(...lanes.map((lane) => svg("line", { class: "lane", x1: 0, x2: width, y1: lane.line, y2: lane.line })));
  for (const leg of trail.legs) drawn.append(way(leg, points));
  drawn.append(...lanes.map((lane) => svg("text", { class: "lane-name", x: 2, y: lane.top + 15 }, lane.name)));
  drawn.append(...numbered(trail.sightings, points, chosen));
  return drawn;
}

/**
 * Where each point lies, by its number, and the lanes; points that would lie upon each other come to levels of a lane.
 * @param {Sighting[]} sightings
 * @param {number[]} places pixels from the left
 */
function laidOut(sightings, places) {
  /** @type {Map<string, {name: string, ends: number[], members: {number: number, x: number, level: number}[]}>} */
  const cameras = new Map();
  sightings.forEach((sighting, at) => {
    const id = sighting.camera_id ?? "";
    const lane = cameras.get(id) ?? { name: placeWords(sighting), ends: [], members: [] };
    cameras.set(id, lane);
    const x = places[at] ?? 0;
    let level = lane.ends.findIndex((end) => x - end >= 2 * RADIUS + 2);
    if (level < 0) level = lane.ends.length;
    lane.ends[level] = x;
    lane.members.push({ number: sighting.number, x, level });
  });
  /** @type {Map<number, Point>} */
  const points = new Map();
  const lanes = [];
  let top = 0;
  for (const { name, ends, members } of cameras.values()) {
    const line = top + NAME + RADIUS;
    for (const { number, x, level } of members) points.set(number, { x, y: line + level * LEVEL });
    lanes.push({ name, top, line });
    top = line + (ends.length - 1) * LEVEL + RADIUS + 6;
  }
  return { points, lanes, height: top };
}

/**
 * @param {number} first
 * @param {number} span milliseconds
 * @param {number} width
 * @param {number} height
 * @param {(moment: number) => number} across
 */
function ticks(first, span, width, height, across) {
  const count = span === 0 ? 1 : Math.max(2, Math.min(7, Math.floor(width / TICK)));
  return Array.from({ length: count }, (_, at) => {
    const moment = count === 1 ? first : first + (span * at) / (count - 1);
    const x = across(moment);
    const anchor = count === 1 ? "middle" : at === 0 ? "start" : at === count - 1 ? "end" : "middle";
    const at_edge = anchor === "start" ? 0 : anchor === "end" ? width : x;
    return svg("g", {},
      svg("line", { class: "tick", x1: x, x2: x, y1: 0, y2: height }),
      svg("text", { class: "tick-words", x: at_edge, y: height + 17, "text-anchor": anchor }, tickWords(moment, span)));
  });
}

/**
 * A way between two points; one that is impossible is broken and crossed, too.
 * @param {Leg} leg
 * @param {Map<number, Point>} points
 * @returns {SVGGElement}
 */
export function way(leg, points) {
  const start = points.get(leg.from);
  const end = points.get(leg.to);
  const drawn = svg("g", { class: leg.impossible ? "way impossible" : "way" }, svg("title", {}, leg.reason ?? legWords(leg)));
  if (start === undefined || end === undefined) return drawn;
  drawn.append(svg("line", { x1: start.x, y1: start.y, x2: end.x, y2: end.y }));
  if (leg.impossible) {
    const [x, y] = [(start.x + end.x) / 2, (start.y + end.y) / 2];
    drawn.append(svg("path", { class: "cross", d: `M${x - 6} ${y - 6}l12 12m0 -12l-12 12` }));
  }
  return drawn;
}

/**
 * Numbered points, one of which is in the order of Tab; arrow keys go to the others.
 * @param {Sighting[]} sightings
 * @param {Map<number, Point>} points
 * @param {(number: number) => void} chosen
 */
function numbered(sightings, points, chosen) {
  const drawn = sightings.map((sighting, at) => {
    const { x, y } = points.get(sighting.number) ?? { x: 0, y: 0 };
    return svg("g", {
      class: "point", role: "button", tabindex: at === 0 ? 0 : -1, "aria-label": sightingWords(sighting), transform: `translate(${x} ${y})`,
      onclick: () => chosen(sighting.number),
      onkeydown: (/** @type {KeyboardEvent} */ event) => walk(event, at),
    }, svg("circle", { r: RADIUS }), svg("text", { "text-anchor": "middle", y: 4 }, sighting.number));
  });

  /**
   * @param {KeyboardEvent} event
   * @param {number} at
   */
  function walk(event, at) {
    const steps = new Map([["ArrowRight", at + 1], ["ArrowDown", at + 1], ["ArrowLeft", at - 1], ["ArrowUp", at - 1], ["Home", 0], ["End", drawn.length - 1]]);
    const next = steps.get(event.key);
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      chosen(sightings[at]?.number ?? 0);
    }
    const other = next === undefined ? undefined : drawn[next];
    if (other === undefined) return;
    event.preventDefault();
    drawn[at]?.setAttribute("tabindex", "-1");
    other.setAttribute("tabindex", "0");
    other.focus();
  }
  return drawn;
}
