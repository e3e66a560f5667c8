/** Import jobs: how far they are, what failed, and an end to them. */

import { change, get, path, save, send } from "../shared/api.js";
import { csvRows } from "../shared/csv.js";
import { ask, confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { closed, keyedRows, refusal, say, table } from "./parts.js";
import { notice, tell } from "../shared/shell.js";
import { countWords, numberWords, timeWords } from "../shared/words.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {{id: string, gallery: string, state: string, source: {archive?: string | null, path?: string}, created_at: string, finished_at: string | null, total: number | null, done: number, created: number, updated: number, unchanged: number, failed: number, images_per_second: number | null, problem: string | null}} Job */

const OPEN = ["queued", "running"];
const STATES = /** @type {Record<string, string>} */ ({ done: "good", failed: "bad", cancelled: "warn" });
const SHOWN = 200; // failures in a dialog; the file has all

/**
 * Fill the part "Imports"; ``update`` looks at the jobs and resolves to whether one is at work.
 * @param {HTMLElement} place
 * @param {() => void} changed
 */
export function importView(place, changed) {
  const body = h("tbody", {});
  const rows = keyedRows(body, (/** @type {Job} */ first) => jobRow(first, changed));
  const listed = table("Import jobs", ["From", "Gallery", "State", "Progress", "Failed", ""], body);
  const empty = h("div", { class: "empty" }, h("p", {}, "No import is at work, and none is remembered."), h("a", { class: "button", href: "/gallery" }, "Bring pictures in on the gallery's page"));
  return async (/** @type {Caller} */ caller) => {
    if (!caller.may("write")) {
      show(place, closed("Looking at imports", caller, "write"));
      return false;
    }
    try {
      /** @type {Job[]} */
      const jobs = (await get("/v1/imports", {}, { quiet: true, patience: 0 })).imports;
      const wanted = jobs.length ? listed : empty;
      if (place.firstChild !== wanted) show(place, wanted);
      rows(jobs.map((each) => [each.id, each]));
      return jobs.some((each) => OPEN.includes(each.state));
    } catch (error) {
      show(place, refusal(error, "The imports could not be listed"));
      return false;
    }
  };
}

/**
 * @param {Job} first
 * @param {() => void} changed
 */
function jobRow(first, changed) {
  let job = first;
  const from = first.source.path ?? first.source.archive ?? "an archive without a name";
  const state = h("span", { class: "chip" });
  const problem = h("div", { class: "small" });
  const bar = h("progress", { "aria-label": `Progress of the import of ${from}` });
  const words = h("div", { class: "small" });
  const failed = h("button", { type: "button", onclick: () => showFailures(job, from) });
  const end = h("button", { type: "button", "data-needs": "write", onclick: () => endJob(job, from, changed) });
  return {
    row: h("tr", {}, h("th", { scope: "row" }, from, h("div", { class: "small faint" }, timeWords(first.created_at))), h("td", {}, h("a", { href: `/gallery?gallery=${encodeURIComponent(first.gallery)}` }, first.gallery)), h("td", {}, state, problem), h("td", { class: "progress" }, bar, words), h("td", {}, failed), h("td", {}, end)),
    update: (/** @type {Job} */ now) => {
      job = now;
      const open = OPEN.includes(job.state);
      say(state, job.state);
      state.className = `chip ${STATES[job.state] ?? ""}`;
      say(problem, job.problem ?? "");
      if (job.total === null) bar.removeAttribute("value");
      else {
        bar.max = Math.max(1, job.total);
        bar.value = job.total === 0 ? 1 : job.done;
      }
      bar.hidden = !open;
      say(words, progressWords(job, open));
      say(failed, countWords(job.failed, "picture") + "…");
      failed.hidden = job.failed === 0;
      failed.setAttribute("aria-label", `${countWords(job.failed, "picture")} of ${from} failed: show why`);
      say(end, open ? "Cancel…" : "Forget…");
      end.setAttribute("aria-label", `${open ? "Cancel" : "Forget"} the import of ${from}`);
    },
  };
}

/**
 * @param {Job} job
 * @param {boolean} open
 */
function progressWords(job, open) {
  const done = job.total === null ? `${numberWords(job.done)} so far` : `${numberWords(job.done)} of ${numberWords(job.total)}`;
  const rate = open && job.images_per_second ? `, ${job.images_per_second.toFixed(job.images_per_second < 10 ? 1 : 0)} a second` : "";
  const kinds = /** @type {[number, string][]} */ ([[job.created, "new"], [job.updated, "changed"], [job.unchanged, "as before"]]).filter(([count]) => count > 0).map(([count, word]) => `${numberWords(count)} ${word}`);
  return `${done}${rate}${kinds.length ? `: ${kinds.join(", ")}` : ""}`;
}

/**
 * @param {Job} job
 * @param {string} from
 * @param {() => void} changed
 */
async function endJob(job, from, changed) {
  const open = OPEN.includes(job.state);
  const sure = open
    ? await confirmDanger(`Cancel the import of ${from}?`, "What came in so far stays in the gallery; the rest does not come.", "Cancel the import")
    : await confirmDanger(`Forget the import of ${from}?`, "Its pictures stay in the gallery. What failed in it can then no more be looked at.", "Forget it");
  if (!sure) return;
  try {
    await change("DELETE", path("imports", job.id));
    notice(open ? `The import of ${from} is cancelled.` : `The import of ${from} is forgotten.`);
    changed();
  } catch (error) {
    tell(error, open ? "The import was not cancelled" : "The import was not forgotten");
  }
}

/**
 * @param {Job} job
 * @param {string} from
 */
async function showFailures(job, from) {
  try {
    const text = await (await send("GET", path("imports", job.id, "failures"))).text();
    const [head = [], ...rows] = csvRows(text).map((row) => row.cells);
    const reason = head.indexOf("import_failure");
    const name = Math.max(0, head.indexOf("path"));
    const answer = await ask(`What failed of ${from}`, [
      table("Pictures that failed, and why", ["Picture", "Why"], h("tbody", {}, ...rows.slice(0, SHOWN).map((row) => h("tr", {}, h("th", { scope: "row" }, row[name] ?? ""), h("td", {}, row[reason] ?? "")))), "failures"),
      rows.length > SHOWN ? h("p", { class: "faint" }, `The first ${SHOWN} of ${numberWords(rows.length)}; the file has all.`) : null,
      h("p", { class: "faint small" }, "The file is a manifest.csv: mend it, put the pictures beside it, and import it again."),
    ], [{ value: "", label: "Close" }, { value: "save", label: "Save as a file", kind: "primary" }], { wide: true });
    if (answer === "save") await save(new Response(text, { headers: { "Content-Type": "text/csv" } }), "failures.csv");
  } catch (error) {
    tell(error, "What failed could not be asked for");
  }
}
