/** Pictures on their way into a gallery, on the page: what is given, a question what is known of it, and how far it is. */

import { archivedPictures } from "./archived_pictures.js";
import { csvRows } from "../shared/csv.js";
import { Problem, authorization, change, get, path, pause, save, send, withQuery } from "../shared/api.js";
import { ask } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { givenByDrop, givenFiles, pictures } from "./picture_sources.js";
import { may } from "../shared/rights.js";
import { errorWords, tell } from "../shared/shell.js";
import { UploadRun } from "./upload_run.js";
import { byteWords, countWords, durationWords, numberWords } from "../shared/words.js";

/** @typedef {import("./picture_sources.js").Given} Given */
/** @typedef {import("./upload_run.js").Ready} Ready */
/** @typedef {import("./upload_run.js").Reply} Reply */
/** @typedef {{id: string, gallery: string, state: string, source: {archive?: string | null, path?: string}, total: number | null, done: number, created: number, updated: number, unchanged: number, failed: number, images_per_second: number | null, problem: string | null}} ImportJob */

const LOOK = 1000; // milliseconds between looks at a job
const DRAW = 200; // milliseconds between two drawings of a run
const SHOW = 2000; // milliseconds between looks at what was added
const ENDED = ["done", "failed", "cancelled"];
const MOST_FAILURES = 200; // that are shown

export class AddingPictures {
  /**
   * @param {() => string} gallery the one that is looked at
   * @param {() => void} added the gallery has other images now
   * @param {() => void} ended no more come for now
   */
  constructor(gallery, added, ended) {
    this.gallery = gallery;
    this.added = added;
    this.ended = ended;
    this.element = h("section", { class: "adding", "aria-label": "Pictures that are being added", hidden: true });
    this.veil = h("div", { class: "veil", hidden: true }, h("p", {}, "Drop pictures, a folder or an archive to add them"));
    document.body.append(this.veil);
    this.files = this.chooser({ multiple: true, accept: "image/*,.zip,.tar,.tgz,.gz,.bz2,.xz" });
    this.folder = this.chooser({ webkitdirectory: true });
    /** @type {Set<string>} */
    this.watched = new Set();
    /** @type {Set<UploadRun>} */
    this.running = new Set();
    this.hearDrops();
    addEventListener("beforeunload", (event) => {
      if ([...this.running].some((run) => !run.ended)) event.preventDefault();
    });
  }

  /** Buttons that begin it. */
  buttons() {
    return [
      h("button", { type: "button", class: "primary", onclick: () => this.files.click() }, "Add pictures…"),
      h("button", { type: "button", onclick: () => this.folder.click() }, "Add a folder…"),
    ];
  }

  /** Show the jobs of a gallery that are at work, whoever began them. */
  async findJobs() {
    try {
      const { imports } = await get("/v1/imports", {}, { quiet: true });
      for (const job of imports) if (job.gallery === this.gallery() && !ENDED.includes(job.state)) void this.watch(job);
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // a key that only reads is told of no jobs
    }
  }

  /** @param {Record<string, any>} properties */
  chooser(properties) {
    const input = h("input", { type: "file", class: "unseen", tabindex: -1, "aria-hidden": "true", ...properties, onchange: () => {
      if (input.files?.length) void this.offer(givenFiles(input.files));
      input.value = "";
    } });
    document.body.append(input);
    return input;
  }

  hearDrops() {
    /** @param {DragEvent} event */
    const carriesFiles = (event) => Boolean(event.dataTransfer?.types.includes("Files"));
    let inside = 0;
    addEventListener("dragenter", (event) => {
      if (!carriesFiles(event) || document.querySelector("dialog[open]")) return;
      inside += 1;
      this.veil.hidden = false;
    });
    addEventListener("dragleave", (event) => {
      if (!carriesFiles(event)) return;
      inside = Math.max(0, inside - 1);
      this.veil.hidden = inside === 0;
    });
    addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      inside = 0;
      this.veil.hidden = true;
      if (!event.dataTransfer || !carriesFiles(event)) return;
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) void this.offer(givenByDrop(event.dataTransfer));
    });
  }

  /**
   * Ask what is known of what was given, and begin.
   * @param {Given} given
   */
  async offer(given) {
    const gallery = this.gallery();
    if (!await may("write")) {
      tell(new Error("Pictures cannot be added here: it takes a key with the scope write, and a service that does not only read."));
      return;
    }
    for (const archive of given.archives) {
      const told = `${archive.name} (${byteWords(archive.size)}) is sent to the service, which adds its pictures to gallery ${gallery} in the background. A manifest.csv in it says vehicle, camera and time of each.`;
      const answer = await ask("Import an archive", [h("p", {}, told)], [{ value: "", label: "Cancel" }, { value: "import", label: "Import", kind: "primary" }]);
      if (answer === "import") void this.sendArchive(gallery, archive);
    }
    if (given.count === 0 && given.archives.length > 0) return;
    if (given.count === 0) {
      tell(new Error("None of these files is a picture: JPEG, PNG, WebP, BMP and GIF are read, archives as .zip or .tar."));
      return;
    }
    const camera = h("input", { type: "text", maxlength: 256, placeholder: "not known" });
    const vehicle = h("input", { type: "text", maxlength: 256, placeholder: "not known" });
    const dated = h("input", { type: "checkbox" });
    const what = given.count === null ? `The pictures of ${given.told}` : given.folder ? `${countWords(given.count, "picture")} of ${given.told}` : given.told;
    const others = given.others === 0 ? null : h("p", {}, `${countWords(given.others, "other file is", "other files are")} left out.`);
    const answer = await ask(`Add to gallery ${gallery}`, [
      h("p", {}, `${what} ${given.count === 1 ? "is" : "are"} added. What is the same for all of them?`), others,
      h("div", { class: "stack" },
        h("label", { class: "field" }, h("span", {}, "Camera"), camera),
        h("label", { class: "field" }, h("span", {}, "Vehicle"), vehicle),
        h("label", { class: "check" }, dated, "Captured when the file was made"),
        given.folder ? h("p", { class: "small faint" }, "A manifest.csv in the folder says it for each picture.") : null),
    ], [{ value: "", label: "Cancel" }, { value: "add", label: "Add", kind: "primary" }]);
    if (answer !== "add") return;
    /** @type {Record<string, unknown>} */
    const same = {};
    if (camera.value.trim()) same["camera_id"] = camera.value.trim();
    if (vehicle.value.trim()) same["vehicle_id"] = vehicle.value.trim();
    const known = (/** @type {File} */ file) => (dated.checked ? { ...same, captured_at: new Date(file.lastModified).toISOString() } : same);
    await this.upload(gallery, given, known);
  }

  /**
   * @param {string} gallery
   * @param {Given} given
   * @param {(file: File) => Record<string, unknown>} known
   */
  async upload(gallery, given, known) {
    /** @type {string[]} */
    const odd = [];
    const card = new RunCard(`${given.told} → gallery ${gallery}`, "Stop adding");
    let drawn = 0;
    let later = 0;
    const draw = () => {
      clearTimeout(later);
      const now = performance.now();
      if (now - drawn < DRAW && !run.ended) later = setTimeout(draw, DRAW);
      else {
        drawn = now;
        card.drawUpload(run, odd);
      }
    };
    const run = new UploadRun(pictures(given, known, (problem) => odd.push(problem)), (batch, signal) => sendBatch(gallery, batch, signal), draw);
    if (given.count !== null) run.expected = given.count;
    card.onStop(() => run.cancel());
    this.put(card);
    this.running.add(run);
    const showing = setInterval(() => { if (run.created + run.updated > 0) this.added(); }, SHOW);
    await run.run();
    clearInterval(showing);
    clearTimeout(later);
    this.running.delete(run);
    card.drawUpload(run, odd);
    card.end();
    this.added();
    this.ended();
  }

  /**
   * Send an archive and watch its job.
   * @param {string} gallery
   * @param {File} archive
   */
  async sendArchive(gallery, archive) {
    const card = new RunCard(`${archive.name} → gallery ${gallery}`, "Stop sending");
    this.put(card);
    try {
      const job = await sendFile(withQuery(path("galleries", gallery, "imports")), archive, card);
      await this.watch(job, card, archive);
    } catch (error) {
      card.say(error instanceof DOMException ? "Stopped." : errorWords(error), !(error instanceof DOMException));
      card.end();
    }
  }

  /**
   * @param {ImportJob} job
   * @param {RunCard} [shown]
   * @param {File | null} [archive] where it came from this page
   */
  async watch(job, shown, archive = null) {
    if (this.watched.has(job.id)) return;
    this.watched.add(job.id);
    const named = job.source.archive ?? job.source.path ?? "an archive";
    const card = shown ?? new RunCard(`${named} → gallery ${job.gallery}`, "Cancel the import");
    if (!shown) this.put(card);
    const address = path("imports", job.id);
    card.onStop(async () => {
      try {
        await change("DELETE", address);
      } catch (error) {
        tell(error, "The import could not be cancelled");
      }
    }, "Cancel the import");
    let last = job;
    for (let done = -1; !ENDED.includes(last.state); ) {
      card.drawJob(last);
      if (last.done !== done) this.added();
      done = last.done;
      await pause(LOOK);
      try {
        last = await get(address);
      } catch (error) {
        if (error instanceof Problem && error.status === 404) break; // somebody removed it from the list
        if (error instanceof Problem && (error.status === 401 || error.status === 403)) {
          card.say(errorWords(error), true);
          card.end();
          return;
        }
      }
    }
    card.drawJob(last);
    if (last.failed > 0) await card.listJobFailures(address, archive);
    card.end();
    this.added();
    this.ended();
  }

  /** @param {RunCard} card */
  put(card) {
    card.onClose(() => { this.element.hidden = this.element.children.length === 0; });
    this.element.append(card.element);
    this.element.hidden = false;
  }
}

/** One upload or import on the page. */
class RunCard {
  /**
   * @param {string} title
   * @param {string} stop label of the button that ends it
   */
  constructor(title, stop) {
    this.bar = h("progress", { "aria-label": title });
    this.words = h("p", { class: "small" });
    this.told = h("p", { class: "unseen", role: "status" }); // what is worth hearing
    this.list = h("div", { class: "failures" });
    this.summary = h("summary", {});
    this.failures = h("details", { hidden: true }, this.summary, this.list);
    this.stop = h("button", { type: "button" }, stop);
    this.complete = false; // the list of what failed
    this.closed = () => {};
    this.close = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => {
      this.forget();
      this.element.remove();
      this.closed();
    } }, "Close");
    this.element = h("div", { class: "card run" }, h("div", { class: "row" }, h("h3", {}, title), h("span", { class: "row right" }, this.stop, this.close)), this.bar, this.words, this.told, this.failures);
    /** @type {string[]} */
    this.addresses = [];
    /** @type {() => void} */
    this.stopping = () => {};
    this.stop.addEventListener("click", () => this.stopping());
  }

  /**
   * @param {() => void} run
   * @param {string} [label]
   */
  onStop(run, label) {
    this.stopping = run;
    if (label) show(this.stop, label);
  }

  /** @param {() => void} run */
  onClose(run) {
    this.closed = run;
  }

  end() {
    this.stop.hidden = true;
    this.close.hidden = false;
  }

  /**
   * @param {string} words
   * @param {boolean} [wrong]
   */
  say(words, wrong = false) {
    this.words.classList.toggle("wrong", wrong);
    show(this.words, words);
    show(this.told, words);
  }

  /**
   * @param {UploadRun} run
   * @param {string[]} odd
   */
  drawUpload(run, odd) {
    const total = run.searched ? run.found : run.expected;
    if (total) {
      this.bar.max = total;
      this.bar.value = run.done;
    }
    const counts = [`${numberWords(run.done)} ${total ? `of ${countWords(total, "picture")}` : "pictures so far"}`];
    if (run.created) counts.push(`${numberWords(run.created)} new`);
    if (run.updated) counts.push(`${numberWords(run.updated)} replaced`);
    if (run.failed) counts.push(`${numberWords(run.failed)} failed`);
    if (run.state === "running" && run.rate > 0) counts.push(`${run.rate < 10 ? run.rate.toFixed(1) : Math.round(run.rate)} a second`);
    if (run.state === "running" && run.left !== null) counts.push(`about ${durationWords(run.left)} left`);
    const none = run.found === 0 ? "No picture was found: JPEG, PNG, WebP, BMP and GIF are read." : "Done.";
    const state = { running: "", waiting: `Waiting: ${run.why}`, done: none, cancelled: "Stopped; what was added stays.", stopped: `Ended: ${run.why}` }[run.state];
    this.words.classList.toggle("wrong", run.state === "stopped" || run.state === "waiting");
    const ends = state === "" || state.endsWith(".") ? state : `${state}.`;
    const said = run.ended && run.found === 0 ? [] : counts;
    show(this.words, `${ends} ${said.join(" · ")}`.trim());
    if (run.ended) show(this.told, `${ends} ${said.join(", ")}`.trim());
    else if (run.state === "waiting") show(this.told, state);
    if (run.failed + odd.length > 0) this.listFailures(run, odd);
  }

  /** @param {ImportJob} job */
  drawJob(job) {
    if (job.total) {
      this.bar.max = job.total;
      this.bar.value = job.done;
    } else this.bar.removeAttribute("value");
    const counts = [`${numberWords(job.done)} ${job.total ? `of ${countWords(job.total, "picture")}` : "pictures so far"}`];
    for (const [name, word] of /** @type {const} */ ([["created", "new"], ["updated", "replaced"], ["unchanged", "there already"], ["failed", "failed"]])) {
      if (job[name]) counts.push(`${numberWords(job[name])} ${word}`);
    }
    const ended = ENDED.includes(job.state);
    const rate = job.images_per_second;
    if (!ended && rate) counts.push(`${rate} a second`);
    if (!ended && rate && job.total) counts.push(`about ${durationWords((job.total - job.done) / rate)} left`);
    /** @type {Record<string, string>} */
    const states = { queued: "Waiting for its turn.", running: "Importing.", done: "Done.", failed: "The import failed.", cancelled: "Cancelled; what was added stays." };
    const words = `${states[job.state] ?? job.state} ${counts.join(" · ")}${job.problem ? ` · ${job.problem}` : ""}`;
    this.words.classList.toggle("wrong", job.state === "failed" || Boolean(job.problem));
    show(this.words, words);
    if (ended) show(this.told, words);
  }

  /**
   * @param {UploadRun} run
   * @param {string[]} odd
   */
  listFailures(run, odd) {
    this.failures.hidden = false;
    show(this.summary, `${countWords(run.failed + odd.length, "picture")} could not be added`);
    for (const failure of run.failures.slice(this.list.querySelectorAll(".failure").length, MOST_FAILURES)) {
      this.list.append(this.failureRow(failure.path, failure.detail, failure.picture));
    }
    if (run.ended && !this.complete) {
      this.complete = true;
      const lines = [...run.failures.map(({ path: where, detail }) => [where, detail]), ...odd.map((problem) => ["", problem])];
      for (const problem of odd.slice(0, MOST_FAILURES)) this.list.append(this.failureRow("", problem, null));
      this.list.append(this.saveButton(lines));
    }
  }

  /**
   * @param {string} address of a job
   * @param {File | null} archive whose pictures are shown
   */
  async listJobFailures(address, archive) {
    try {
      const [head, ...rows] = csvRows(await (await send("GET", `${address}/failures`)).text());
      const at = (/** @type {string} */ name) => head?.cells.indexOf(name) ?? -1;
      const lines = rows.map((row) => [row.cells[at("path")] ?? "", row.cells[at("import_failure")] ?? ""]);
      this.failures.hidden = false;
      show(this.summary, `${countWords(rows.length, "picture")} could not be added`);
      /** @type {Map<string, HTMLElement[]>} */
      const shown = new Map();
      for (const [where = "", detail = ""] of lines.slice(0, MOST_FAILURES)) {
        const row = this.failureRow(where, detail, null);
        shown.set(where, [...(shown.get(where) ?? []), row]); // a picture may fail once for each of its boxes
      }
      show(this.list, ...[...shown.values()].flat(), this.saveButton(lines));
      if (archive !== null) void archivedPictures(archive, new Set(shown.keys()), (name, picture) => {
        for (const row of shown.get(name) ?? []) this.picture(row, picture);
      }).catch(() => {}); // an archive that is gone or damaged: the reasons are there
    } catch (error) {
      tell(error, "What failed could not be listed");
    }
  }

  /**
   * @param {string} where
   * @param {string} detail
   * @param {Blob | null} blob
   */
  failureRow(where, detail, blob) {
    const image = h("img", { alt: "", width: 64, height: 48, class: "missing" });
    image.addEventListener("error", () => image.classList.add("missing"));
    const row = h("div", { class: "failure" }, image, h("div", {}, h("strong", {}, where), h("p", { class: "small" }, detail)));
    if (blob) this.picture(row, blob);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {Blob} blob
   */
  picture(row, blob) {
    const image = row.querySelector("img");
    if (image === null) return;
    const address = URL.createObjectURL(blob);
    this.addresses.push(address);
    image.classList.remove("missing");
    image.src = address;
  }

  /** @param {string[][]} lines */
  saveButton(lines) {
    const quoted = (/** @type {string} */ cell) => `"${cell.replaceAll('"', '""')}"`;
    const text = [["path", "import_failure"], ...lines].map((line) => line.map(quoted).join(",")).join("\r\n");
    return h("button", { type: "button", onclick: () => save(new Response(text, { headers: { "Content-Type": "text/csv" } }), "failures.csv") }, "Save this list");
  }

  forget() {
    for (const address of this.addresses) URL.revokeObjectURL(address);
  }
}

/**
 * @param {string} gallery
 * @param {Ready[]} batch
 * @param {AbortSignal} signal
 * @returns {Promise<Reply>}
 */
async function sendBatch(gallery, batch, signal) {
  const body = new FormData();
  for (const one of batch) body.append("image", one.bytes, "image");
  const metadata = batch.map((one) => ({ image_id: one.imageId, ...one.metadata }));
  body.append("metadata", new Blob([JSON.stringify(metadata)], { type: "application/json" }), "metadata.json");
  try {
    const { results } = await change("POST", path("galleries", gallery, "images"), { body, signal, patience: 0 });
    return { status: 200, detail: "", retryAfter: null, results };
  } catch (error) {
    const wait = error instanceof Problem && error.wait !== null ? error.wait / 1000 : null;
    const status = error instanceof Problem ? error.status : 0;
    return { status, detail: errorWords(error), retryAfter: wait, results: [] };
  }
}

/**
 * Send a file as the part ``archive``; ``fetch`` does not tell how much of it is on its way.
 * @param {string} address
 * @param {File} file
 * @param {RunCard} card
 * @returns {Promise<ImportJob>}
 */
function sendFile(address, file, card) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("archive", file, file.name);
    card.onStop(() => request.abort());
    card.say(`Sending ${byteWords(file.size)}.`);
    request.upload.addEventListener("progress", (event) => {
      card.bar.max = event.total;
      card.bar.value = event.loaded;
      show(card.words, event.loaded < event.total ? `Sending: ${byteWords(event.loaded)} of ${byteWords(event.total)}` : "Sent; the service looks at it.");
    });
    request.addEventListener("load", () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // not the service's own words: a proxy's
      }
      if (request.status === 202) resolve(/** @type {ImportJob} */ (answer));
      else reject(new Problem(request.status, answer));
    });
    request.addEventListener("error", () => reject(new Error("The archive did not arrive: the connection was lost. Add it again when the service answers.")));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    request.open("POST", address);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.send(body);
  });
}
