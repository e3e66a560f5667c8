/** The page /trail: chosen sightings of a vehicle on a time line and a plan, and the record of them. */

import { gallery, onWalk, read, write } from "../shared/address.js";
import { change, connection, get, isKeptNoMore, path, withQuery } from "../shared/api.js";
import { h, show } from "../shared/element.js";
import { picture } from "../shared/pictures.js";
import { followCaller } from "../shared/rights.js";
import { errorWords, galleryChoice, notice, startPage, tell } from "../shared/shell.js";
import { TrailCameras } from "./trail_cameras.js";
import { timeLine } from "./trail_line.js";
import { TrailPlace } from "./trail_place.js";
import { TrailRecord } from "./trail_record.js";
import { legWords, placeWords, sightingWords } from "./trail_words.js";
import { countWords, distanceWords, imageWords, timeWords, viewpointWords, zoneWords } from "../shared/words.js";

/** @typedef {import("./trail_words.js").Trail} Trail */
/** @typedef {import("./trail_words.js").Cameras} Cameras */
/** @typedef {import("./trail_words.js").Sighting} Sighting */
/** @typedef {import("./trail_words.js").Leg} Leg */

/** @type {Trail | null} */
let trail = null;
const EAGER = 60; // sightings whose pictures are all fetched at once, so that they are there to be printed
let turn = 0; // of the requests: what an earlier one gives is not shown any more

const page = startPage();
followCaller();
const summary = h("p", { class: "summary", role: "status" });
const line = h("div", { class: "line" });
const lineCard = h("section", { class: "card", "aria-labelledby": "trail-line" }, h("h2", { id: "trail-line" }, "Time line"), line);
const list = h("ol", { class: "sightings" });
const untimed = h("ul", { class: "sightings" });
const untimedCard = h("section", { "aria-labelledby": "trail-untimed" }, h("h2", { id: "trail-untimed" }, "Without a time"), untimed);
const missing = h("div", {});
const paper = h("div", { class: "only-print" });
const queries = h("div", { class: "row queries" });
const empty = h("div", { class: "empty" },
  h("p", {}, "No sightings are chosen yet."),
  h("p", { "data-lacks": "read" }, "The key of this page adds pictures, and does not search; that takes one with the scope read."),
  h("p", { "data-needs": "read" }, "Search for a vehicle, mark the matches that show it, and choose “Trail”. Or add a picture of the gallery by its id."),
  h("p", { "data-needs": "read" }, h("a", { class: "button", href: "/" }, "Search for a vehicle")));
const place = new TrailPlace((camera_id, position) => { cameras.save(camera_id, position); });
const cameras = new TrailCameras(() => { load(); });
const record = new TrailRecord((title, speed) => {
  const parameters = read();
  parameters.delete("title");
  parameters.delete("max_speed");
  if (title) parameters.set("title", title);
  if (speed) parameters.set("max_speed", speed);
  write(parameters, { replace: true });
  load();
});
const whole = h("div", { class: "trail", hidden: true }, paper, summary, missing, queries, lineCard, place.element, h("section", { "aria-labelledby": "trail-list" }, h("h2", { id: "trail-list" }, "Sightings"), list, untimedCard), cameras.element, record.element);

page.append(tools(), empty, whole);
new ResizeObserver(() => drawLine()).observe(line);
onWalk(() => load());
addEventListener("beforeprint", drawPaper);
connection.addEventListener("back", () => load());
connection.addEventListener("key", () => load());
load();

/** What stands on paper only: that which the record's form says, and where it comes from. */
function drawPaper() {
  if (trail === null) return;
  const facts = [["Title", trail.title ?? ""], ["Asked by", record.asked.value], ["Note", record.note.value], ["Gallery", trail.gallery], ["Made", timeWords(trail.made_at)], ["Times", `${zone(trail)}; PDF and CSV have them in UTC`], ["Model", `${trail.model_name}, fingerprint ${trail.model}`]];
  show(paper, h("dl", {}, ...facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

/** The zone that its times are told in, as it was when the vehicle was seen first. @param {Trail} made */
function zone(made) {
  return zoneWords(new Date(made.sightings[0]?.captured_at ?? Date.now()));
}

/** The gallery, and a field for one more sighting. */
function tools() {
  const id = h("input", { type: "text", maxlength: 128, required: true, placeholder: "image id", autocomplete: "off" });
  const form = h("form", { class: "row end", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    add(id.value.trim());
    id.value = "";
  } }, h("label", { class: "field" }, h("span", {}, "Add a sighting"), id), h("button", { type: "submit" }, "Add"));
  const choice = galleryChoice((name) => {
    write(new URLSearchParams(name === "default" ? {} : { gallery: name }));
    load();
  });
  return h("div", { class: "row end no-print trail-tools" }, choice, form);
}

/** What the address asks for. */
function wished() {
  const parameters = read();
  const speed = Number(parameters.get("max_speed"));
  return {
    image_ids: [...new Set(parameters.getAll("image_id"))],
    query_ids: parameters.getAll("query_id"),
    boxes: parameters.getAll("box").map((each) => each.split(",").map(Number)),
    query_image_ids: parameters.getAll("query_image_id"),
    max_speed_kmh: speed > 0 && speed <= 2000 ? speed : null,
    title: parameters.get("title"),
  };
}

/** Ask for the trail that the address means, and show it. */
async function load() {
  const own = (turn += 1);
  const wish = wished();
  record.take(gallery(), wish, read().get("max_speed") ?? "");
  if (wish.image_ids.length === 0) {
    trail = null;
    empty.hidden = false;
    whole.hidden = true;
    return;
  }
  try {
    const [known, made] = await Promise.all([get("/v1/cameras"), trailOf(wish)]);
    if (own === turn) draw(made, known);
  } catch (error) {
    if (own !== turn) return;
    tell(error, "The trail could not be made");
    if (trail === null) nothing(error, wish.image_ids);
  }
}

/**
 * The trail of these; without the pictures that were searched with where those are kept no more.
 * @param {ReturnType<typeof wished>} wish
 * @returns {Promise<Trail>}
 */
async function trailOf(wish) {
  try {
    return await change("POST", path("galleries", gallery(), "trail"), { json: wish });
  } catch (error) {
    if (!isKeptNoMore(error)) throw error;
    notice(`Distances are left out: ${errorWords(error)}`);
    const parameters = read();
    parameters.delete("query_id");
    parameters.delete("box");
    write(parameters, { replace: true });
    record.take(gallery(), wished(), parameters.get("max_speed") ?? "");
    return trailOf(wished());
  }
}

/**
 * Say why there is nothing to be seen, and let the sightings go.
 * @param {unknown} error
 * @param {string[]} image_ids
 */
function nothing(error, image_ids) {
  whole.hidden = true;
  empty.hidden = false;
  show(missing);
  const again = h("button", { type: "button", onclick: () => load() }, "Try again");
  const clear = h("button", { type: "button", onclick: () => { write(withoutAll(image_ids)); location.reload(); } }, "Begin anew");
  show(empty, h("p", {}, errorWords(error)), h("div", { class: "row centre" }, again, clear));
}

/**
 * @param {Trail} made
 * @param {Cameras} known
 */
function draw(made, known) {
  trail = made;
  empty.hidden = true;
  whole.hidden = false;
  const impossible = made.legs.filter((each) => each.impossible).length;
  const unmeasured = made.legs.filter((each) => each.metres === null).length;
  show(summary, [
    countWords(made.sightings.length + made.untimed.length, "sighting"),
    impossible ? `${countWords(impossible, "way")} impossible at up to ${made.max_speed_kmh} km/h` : "",
    unmeasured ? `${countWords(unmeasured, "way")} not measured for want of positions` : "",
    `times of ${zone(made)}`,
  ].filter(Boolean).join(" · "));
  show(missing, made.missing.length === 0 ? null : h("p", { class: "chip warn" }, `Not in the gallery (any more): ${made.missing.join(", ")}`, h("button", { type: "button", class: "quiet no-print", onclick: () => { write(withoutAll(made.missing), { replace: true }); load(); } }, "Leave them out")));
  show(queries, ...asked(made));
  const ways = new Map(made.legs.map((each) => [each.to, each]));
  const eager = made.sightings.length + made.untimed.length <= EAGER;
  show(list, ...made.sightings.flatMap((each) => [leg(ways.get(each.number)), card(each, eager)]));
  untimedCard.hidden = made.untimed.length === 0;
  show(untimed, ...made.untimed.map((each) => card(each, eager)));
  lineCard.hidden = made.sightings.length === 0;
  drawLine();
  place.take(made, known);
  cameras.take(place.cameras(), known);
}

function drawLine() {
  const width = Math.floor(line.clientWidth);
  if (trail === null || width < 50) return;
  const focused = document.activeElement instanceof SVGElement && line.contains(document.activeElement) ? [...line.querySelectorAll(".point")].indexOf(document.activeElement) : -1;
  show(line, timeLine(trail, width, choose));
  const again = line.querySelectorAll(".point")[focused];
  if (again instanceof SVGElement) again.focus();
}

/**
 * What was looked for.
 * @param {Trail} made
 */
function asked(made) {
  return made.queries.map((each, at) => {
    const address = each.query_id !== null ? `${path("queries", each.query_id)}/picture` : `${path("galleries", made.gallery, "images", each.image_id ?? "")}/crop`;
    return h("figure", { class: "query" }, picture(each.image_id !== null && each.sha256 === null ? null : address, `what was looked for, picture ${at + 1}`, { size: 160, eager: true }), h("figcaption", { class: "small faint" }, "Looked for"));
  });
}

/**
 * The way to a sighting, before it.
 * @param {Leg | undefined} leg
 */
function leg(leg) {
  if (leg === undefined) return null;
  return h("li", { class: leg.impossible ? "leg impossible" : "leg" }, h("span", {}, `↓ ${legWords(leg)}`), leg.impossible ? h("strong", {}, ` ✕ Impossible: ${leg.reason}`) : null);
}

/**
 * @param {Sighting} sighting
 * @param {boolean} eager whether its picture is fetched before it is seen
 */
function card(sighting, eager) {
  const facts = [
    ["Camera", sighting.camera_id ?? "unknown"],
    ["Vehicle", sighting.vehicle_id ?? "not named"],
    ["Viewpoint", viewpointWords(sighting.viewpoint)],
    ["Distance", sighting.distance === null || sighting.distance === undefined ? "" : distanceWords(sighting.distance)],
    ["Image", sighting.image_id],
  ];
  const remove = h("button", { type: "button", class: "no-print", "aria-label": `Remove sighting ${sighting.number}`, onclick: () => take(sighting) }, "Remove");
  return h("li", { class: "card sighting", id: `sighting-${sighting.number}`, tabindex: -1, "aria-label": sightingWords(sighting) },
    picture(sighting.crop, imageWords(sighting), { size: 480, eager }),
    h("div", { class: "words" },
      h("h3", {}, h("span", { class: "badge" }, sighting.number), ` ${timeWords(sighting.captured_at)}`),
      h("p", { class: "where" }, placeWords(sighting)),
      h("dl", {}, ...facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))))),
    h("div", { class: "buttons" }, h("a", { class: "button no-print", href: withQuery("/", { gallery: gallery() === "default" ? null : gallery(), image_id: sighting.image_id }) }, "Search with it"), remove));
}

/**
 * Show a sighting of the list.
 * @param {number} number
 */
function choose(number) {
  const found = document.getElementById(`sighting-${number}`);
  found?.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "center" });
  found?.focus({ preventScroll: true });
}

/** @param {string} image_id */
function add(image_id) {
  const parameters = read();
  if (image_id === "" || parameters.getAll("image_id").includes(image_id)) {
    if (image_id) notice(`${image_id} is in this trail already.`);
    return;
  }
  parameters.append("image_id", image_id);
  write(parameters);
  load();
}

/** @param {Sighting} sighting */
function take(sighting) {
  const before = read();
  write(withoutAll([sighting.image_id]));
  load();
  document.getElementById("trail-list")?.scrollIntoView({ block: "nearest" });
  notice(`Sighting ${sighting.number} is removed.`, { label: "Undo", run: () => { write(before); load(); } });
}

/**
 * The address without these sightings.
 * @param {string[]} image_ids
 */
function withoutAll(image_ids) {
  const parameters = read();
  const rest = parameters.getAll("image_id").filter((each) => !image_ids.includes(each));
  parameters.delete("image_id");
  for (const each of rest) parameters.append("image_id", each);
  return parameters;
}
