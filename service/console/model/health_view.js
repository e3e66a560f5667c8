/** How the service is now: ready or not, its queue, times of stages, galleries, disk; changed in place every look. */

import { get } from "../shared/api.js";
import { sparkline } from "./chart.js";
import { h, show } from "../shared/element.js";
import { facts, keyedRows, refusal, say, table } from "./parts.js";
import { byteWords, countWords, durationWords, numberWords, timeWords } from "../shared/words.js";

const LOOKS = 90; // that a small line holds: three minutes
const STAGES = /** @type {Record<string, string>} */ ({ queue: "waits for its turn", decode: "is decoded", embed: "goes through the model", search: "is searched for", store: "is stored" });
const WORK = /** @type {Record<string, string>} */ ({ single: "searches", batch: "batches", spare: "imports and moves" });

/**
 * Fill the parts "How it is now" and "Galleries".
 * @param {HTMLElement} banner
 * @param {HTMLElement} place
 * @param {HTMLElement} galleries
 */
export function healthView(banner, place, galleries) {
  const state = h("p", { class: "state" });
  const now = queueFigures();
  const stages = stageTable();
  const disk = meter("Disk of the data folder");
  const about = h("div", {});
  const sizes = galleryTable();
  const shown = h("div", { class: "stack" },
    state, h("div", { class: "cards" }, now.element, disk.element), stages.element,
    h("details", {}, h("summary", {}, "Since when, and which releases"), about),
  );
  show(place, shown);
  show(galleries, sizes.element);

  /** @param {any} status */
  const update = (status) => {
    if (!shown.isConnected) show(place, shown);
    if (!sizes.element.isConnected) show(galleries, sizes.element);
    stateWords(state, status);
    now.update(status.queue);
    stages.update(status);
    diskWords(disk, status.disk);
    show(about, ...aboutParts(status));
    sizes.update(status.galleries, status.model.embedding_space);
  };
  /** @param {unknown} error */
  const fail = (error) => {
    show(place, refusal(error, "The state of the service could not be asked for"));
    show(galleries, h("p", { class: "faint" }, "Shown when the state above can be asked for."));
  };
  return { update, fail, ready: (/** @type {any} */ status) => readiness(banner, status) };
}

/**
 * Say on the banner why the service is not ready; it is open to everybody, so no key is asked for.
 * @param {HTMLElement} banner
 * @param {any} status null where that is not known
 */
async function readiness(banner, status) {
  let words = "";
  if (status?.draining) words = "The service is stopping: it takes no more work.";
  try {
    const told = await get("/readyz", {}, { quiet: true, patience: 0 });
    const damaged = Object.entries(told.damaged ?? {});
    if (!words && damaged.length) words = `Some galleries cannot be used. ${damaged.map(([name, why]) => `${name}: ${why}`).join(" ")}`;
    else if (!words && told.status === "degraded" && !Object.keys(told.problems ?? {}).length) words = "Some galleries cannot be used, or answer slower than they should.";
  } catch (error) {
    if (!words && error instanceof Error && error.name === "Problem") words = `The service is not ready: ${error.message}`;
  }
  say(banner, words);
  banner.hidden = words === "";
}

/**
 * @param {HTMLElement} element
 * @param {any} status
 */
function stateWords(element, status) {
  /** @type {[string, string][]} */
  const chips = [status.draining ? ["warn", "stopping"] : ["good", "answers"]];
  if (status.read_only) chips.push(["warn", "only reads"]);
  chips.push(["", status.keys ? "asks for a key" : "asks nobody for a key"], ["", `model ${status.model.name} on ${status.model.provider}`]);
  if (status.previous) chips.push(["warn", `and ${status.previous.name} for galleries that have not moved`]);
  const key = JSON.stringify(chips);
  if (element.dataset["shown"] === key) return;
  element.dataset["shown"] = key;
  show(element, ...chips.map(([kind, text]) => [h("span", { class: `chip ${kind}` }, text), " "]).flat());
}

function queueFigures() {
  const bar = meter("Places of the queue");
  const line = sparkline(LOOKS);
  const rows = /** @type {Record<string, HTMLElement>} */ (Object.fromEntries(Object.keys(WORK).map((kind) => [kind, h("dd", {})])));
  const workers = h("dd", {});
  bar.element.append(line.element, h("dl", { class: "facts" },
    h("div", {}, h("dt", {}, "Pictures worked on at a time"), workers),
    ...Object.entries(WORK).map(([kind, words]) => h("div", {}, h("dt", {}, `At work, ${words}`), rows[kind])),
  ));
  return {
    element: bar.element,
    /** @param {any} queue */
    update: (queue) => {
      bar.update(queue.taken, queue.limit, `${numberWords(queue.taken)} of ${numberWords(queue.limit)} taken`);
      line.add(queue.taken);
      say(workers, numberWords(queue.workers));
      for (const [kind, row] of Object.entries(rows)) say(row, `${queue.work[kind].running}, waiting ${queue.work[kind].waiting}`);
    },
  };
}

function stageTable() {
  const body = h("tbody", {});
  const caption = h("caption", {}, "Times of stages");
  const rows = keyedRows(body, (/** @type {any} */ first) => {
    const [pictures, half, most] = [h("td", { class: "number" }), h("td", { class: "number" }), h("td", { class: "number" })];
    const line = sparkline(LOOKS);
    const row = h("tr", {}, h("th", { scope: "row" }, STAGES[first.name] ?? first.name), pictures, half, most, h("td", {}, line.element));
    return {
      row,
      update: (/** @type {any} */ each) => {
        say(pictures, numberWords(each.pictures));
        say(half, milliseconds(each.p50_seconds));
        say(most, milliseconds(each.p99_seconds));
        line.add(each.p50_seconds);
      },
    };
  });
  return {
    element: table(caption, ["A picture", ["Pictures", "number"], ["Half take at most", "number"], ["99 of 100 at most", "number"], "Lately"], body),
    /** @param {any} status */
    update: (status) => {
      say(caption, `Times of the last ${durationWords(status.recent_seconds)}`);
      rows(Object.entries(status.stages).map(([name, each]) => [name, { name, .../** @type {object} */ (each) }]));
    },
  };
}

function galleryTable() {
  const body = h("tbody", {});
  const total = h("p", { class: "faint small" });
  const rows = keyedRows(body, (/** @type {any} */ first) => {
    const images = h("td", { class: "number" });
    const [kind, state] = [h("td", {}), h("td", {})];
    const line = sparkline(LOOKS);
    const address = `/gallery?gallery=${encodeURIComponent(first.name)}`;
    return {
      row: h("tr", {}, h("th", { scope: "row" }, h("a", { href: address }, first.name)), images, h("td", {}, line.element), kind, state),
      update: (/** @type {any} */ each) => {
        say(images, each.images === undefined ? "–" : numberWords(each.images));
        line.add(each.images ?? null);
        say(kind, each.kind ?? "–");
        say(state, each.problem ?? each.index_problem ?? each.told);
        state.className = each.problem ? "bad" : each.index_problem ? "warn" : "";
      },
    };
  });
  return {
    element: h("div", {}, table("Galleries and how many pictures are in them", ["Gallery", ["Pictures", "number"], "Lately", "Index", "State"], body), total),
    /**
     * @param {any[]} galleries
     * @param {string} space
     */
    update: (galleries, space) => {
      rows(galleries.map((each) => [each.name, { ...each, told: galleryWords(each, space) }]));
      const images = galleries.reduce((sum, each) => sum + (each.images ?? 0), 0);
      say(total, `${countWords(images, "picture")} in ${countWords(galleries.length, "gallery", "galleries")}`);
    },
  };
}

/**
 * @param {any} gallery
 * @param {string} space
 */
function galleryWords(gallery, space) {
  if (gallery.migration) return `moves to another model: ${numberWords(gallery.migration.done)} of ${numberWords(gallery.migration.total)}`;
  return gallery.embedding_space === space ? "in order" : "filled by another model";
}

/**
 * @param {ReturnType<typeof meter>} bar
 * @param {any} disk
 */
function diskWords(bar, disk) {
  const told = disk.folder ? `, ${disk.folder}` : "";
  if (disk.total_bytes === null) bar.update(0, 1, `cannot be looked at${told}`);
  else bar.update(disk.total_bytes - disk.free_bytes, disk.total_bytes, `${byteWords(disk.free_bytes)} free of ${byteWords(disk.total_bytes)}${told}`);
}

/** @param {string} name */
function meter(name) {
  const words = h("span", {});
  const bar = h("progress", { "aria-label": name, max: 1 });
  return {
    element: h("div", { class: "card" }, h("h3", {}, name), words, bar),
    /**
     * @param {number} value
     * @param {number} most
     * @param {string} text
     */
    update: (value, most, text) => {
      bar.max = most;
      bar.value = value;
      say(words, text);
    },
  };
}

/** @param {any} status */
function aboutParts(status) {
  return [
    facts([
      ["Started", `${timeWords(status.started_at)}, ${durationWords(status.uptime_seconds)} ago`],
      ["Audit log", status.audit ? "kept" : "off"],
      ...Object.entries(status.versions).map(([name, release]) => /** @type {[string, string]} */ ([name, String(release)])),
    ]),
  ];
}

/** @param {number | null} seconds */
function milliseconds(seconds) {
  if (seconds === null) return "–";
  return seconds < 10 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : durationWords(seconds);
}
