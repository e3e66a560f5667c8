/** A trail as the service tells it, and how people read its parts. */

import { durationWords, numberWords, timeWords } from "../shared/words.js";

/** @typedef {{camera_id: string, name: string | null, latitude: number | null, longitude: number | null, x: number | null, y: number | null}} Camera */
/** @typedef {{picture: string, sha256: string, pixels: number[], width: number, height: number}} Plan */
/** @typedef {{cameras: Camera[], plan: Plan | null, map_tiles: string | null, updated_at: string | null}} Cameras */
/** @typedef {import("../shared/words.js").Image & {number: number, sha256: string | null, camera: Camera | null}} Sighting */
/** @typedef {{from: number, to: number, seconds: number, metres: number | null, kmh: number | null, impossible: boolean, reason: string | null}} Leg */
/** @typedef {{query_id: string | null, image_id: string | null, box: number[] | null, sha256: string | null}} Query */
/** @typedef {{gallery: string, title: string | null, made_at: string, model: string, model_name: string, max_speed_kmh: number, queries: Query[], sightings: Sighting[], untimed: Sighting[], legs: Leg[], missing: string[]}} Trail */

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const DAY = 86_400_000;

/**
 * What people call where a sighting was.
 * @param {Sighting} sighting
 */
export function placeWords(sighting) {
  return sighting.camera?.name || sighting.camera_id || "no camera";
}

/** @param {Camera} camera */
export function cameraWords(camera) {
  return camera.name ? `${camera.name} (${camera.camera_id})` : camera.camera_id;
}

/**
 * A distance on the ground.
 * @param {number} metres
 */
export function lengthWords(metres) {
  return metres < 1000 ? `${numberWords(Math.round(metres))} m` : `${numberWords(Math.round(metres / 10) / 100)} km`;
}

/**
 * What lies between two sightings.
 * @param {Leg} leg
 */
export function legWords(leg) {
  const parts = [durationWords(leg.seconds)];
  if (leg.metres === null) parts.push("the way cannot be measured: a position is missing");
  else if (leg.metres === 0) parts.push("the same place");
  else {
    parts.push(`${lengthWords(leg.metres)} in a straight line`);
    if (leg.kmh !== null) parts.push(`${numberWords(Math.round(leg.kmh))} km/h at least`);
  }
  return parts.join(" · ");
}

/**
 * A moment as short as the span that it stands in allows.
 * @param {number} moment milliseconds
 * @param {number} span milliseconds
 */
export function tickWords(moment, span) {
  return (span > DAY ? SHORT : CLOCK).format(new Date(moment));
}

/**
 * What a point of a drawing stands for, for who cannot see it.
 * @param {Sighting} sighting
 */
export function sightingWords(sighting) {
  return `Sighting ${sighting.number}, ${timeWords(sighting.captured_at)}, ${placeWords(sighting)}`;
}
