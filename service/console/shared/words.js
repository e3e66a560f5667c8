/** Numbers and times as people read them. */

/** @typedef {{image_id: string, vehicle_id: string | null, camera_id: string | null, captured_at: string | null, viewpoint: Record<string, number>, attributes: Record<string, string | number>, crop: string | null, ingested_at?: string, distance?: number, probability?: number, rank?: number}} Image */

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const NUMBER = new Intl.NumberFormat();

/**
 * A moment in the reader's own time zone.
 * @param {string | null | undefined} moment RFC 3339
 */
export function timeWords(moment) {
  return moment ? TIME.format(new Date(moment)) : "time unknown";
}

/** The zone that times are told in, with what it is ahead of UTC: "Europe/Berlin, GMT+2". @param {Date} [at] */
export function zoneWords(at = new Date()) {
  const { timeZone } = TIME.resolvedOptions();
  const parts = new Intl.DateTimeFormat("en", { timeZone, timeZoneName: "shortOffset" }).formatToParts(at);
  return `${timeZone}, ${parts.find((each) => each.type === "timeZoneName")?.value ?? "UTC"}`;
}

/** @param {number} value */
export function numberWords(value) {
  return NUMBER.format(value);
}

/** @param {number} value Euclidean */
export function distanceWords(value) {
  return value.toFixed(3);
}

/**
 * The most probable viewpoint and how sure it is; empty where the model knows of none.
 * @param {Record<string, number>} viewpoint
 */
export function viewpointWords(viewpoint) {
  const first = Object.entries(viewpoint).sort((one, other) => other[1] - one[1])[0];
  return first === undefined ? "" : `${first[0]} ${Math.round(first[1] * 100)}\u00a0%`;
}

/** @param {number} bytes */
export function byteWords(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let left = bytes;
  let unit = 0;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? left : left.toFixed(left < 10 ? 1 : 0)} ${units[unit]}`;
}

/**
 * A length of time; "2 min 5 s".
 * @param {number} seconds
 */
export function durationWords(seconds) {
  const whole = Math.round(Math.abs(seconds));
  if (Math.abs(seconds) < 10) return `${Math.abs(seconds).toFixed(1)} s`;
  /** @type {[number, string][]} */
  const units = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const parts = [];
  let left = whole;
  for (const [size, name] of units) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) parts.push(`${count} ${name}`);
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

/**
 * "1 picture", "2 pictures".
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function countWords(count, one, many = `${one}s`) {
  return `${numberWords(count)} ${count === 1 ? one : many}`;
}

/**
 * What a picture shows, for who cannot see it.
 * @param {Image} image
 */
export function imageWords(image) {
  const parts = [image.vehicle_id ? `vehicle ${image.vehicle_id}` : "vehicle", viewpointWords(image.viewpoint)];
  if (image.camera_id) parts.push(`camera ${image.camera_id}`);
  if (image.captured_at) parts.push(timeWords(image.captured_at));
  return parts.filter(Boolean).join(", ");
}
