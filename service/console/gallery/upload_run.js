/**
 * Many pictures on their way into a gallery: in batches, some of them at once, each sent until the service has it.
 *
 * What the service cannot take now (429, 503, 507, or nobody there) is sent again; pictures are named before they are
 * sent, so that doing it twice is as doing it once. A picture that is wrong fails alone.
 */

/**
 * @typedef {object} Sent a picture that is to be sent
 * @property {string} path what people know it by
 * @property {string} imageId
 * @property {Record<string, unknown>} metadata
 * @property {() => Promise<Blob>} read
 */
/** @typedef {{path: string, detail: string, picture: Blob | null}} Failure */
/** @typedef {{image_id: string | null, status: string, problem?: {detail: string}}} Result */
/**
 * @typedef {object} Reply what came of a batch
 * @property {number} status 0 where nobody answered
 * @property {string} detail
 * @property {number | null} retryAfter seconds
 * @property {Result[]} results
 */
/** @typedef {Sent & {bytes: Blob}} Ready */

const MOST = 32; // pictures of a batch
const MOST_BYTES = 16 << 20;
const TOGETHER = 3; // batches on their way
const SHOWN = 200; // failures that keep their picture
const LISTED = 20_000; // failures that keep their reason
const LATER = new Set([0, 408, 429, 503, 507]);
const LONGEST_PAUSE = 15; // seconds
const WINDOW = 10_000; // milliseconds over which the rate is told

export class UploadRun {
  /**
   * @param {AsyncIterable<Sent>} pictures
   * @param {(batch: Ready[], signal: AbortSignal) => Promise<Reply>} send
   * @param {() => void} changed
   */
  constructor(pictures, send, changed) {
    this.pictures = pictures[Symbol.asyncIterator]();
    this.send = send;
    this.changed = changed;
    this.abort = new AbortController();
    this.expected = 0; // pictures, where somebody knows before all are found
    this.found = 0; // pictures, so far
    this.searched = false; // all are found
    this.created = 0;
    this.updated = 0;
    this.failed = 0;
    /** @type {Failure[]} */
    this.failures = [];
    /** @type {"running" | "waiting" | "done" | "cancelled" | "stopped"} */
    this.state = "running";
    this.why = "";
    /** @type {[number, number][]} */
    this.marks = [[performance.now(), 0]]; // times and how many were done by then
    /** @type {Ready[]} */
    this.next = [];
    this.taking = Promise.resolve();
  }

  get done() {
    return this.created + this.updated + this.failed;
  }

  /** Pictures a second, lately. */
  get rate() {
    const [since, before] = /** @type {[number, number]} */ (this.marks[0]);
    const seconds = (performance.now() - since) / 1000;
    return seconds > 0.5 ? (this.done - before) / seconds : 0;
  }

  /** Seconds until all found are done; null where nobody knows. */
  get left() {
    const total = this.searched ? this.found : this.expected;
    return total > 0 && this.rate > 0 ? Math.max(0, total - this.done) / this.rate : null;
  }

  get ended() {
    return this.state === "done" || this.state === "cancelled" || this.state === "stopped";
  }

  /** Carry it out; returns when it has ended, however it did. */
  async run() {
    await Promise.all(Array.from({ length: TOGETHER }, () => this.#work()));
    if (!this.ended) this.state = "done";
    this.changed();
  }

  cancel() {
    this.#end("cancelled", "");
  }

  /** @param {"cancelled" | "stopped"} state @param {string} why */
  #end(state, why) {
    if (this.ended) return;
    this.state = state;
    this.why = why;
    this.abort.abort();
    this.changed();
  }

  async #work() {
    for (;;) {
      const batch = await this.#take();
      if (batch.length === 0) return;
      await this.#deliver(batch);
    }
  }

  /** The next pictures, read from the disk; callers take turns. @returns {Promise<Ready[]>} */
  async #take() {
    const before = this.taking;
    const own = before.then(() => this.#gather());
    this.taking = own.then(() => {});
    return own;
  }

  async #gather() {
    const batch = this.next;
    this.next = [];
    let bytes = batch.reduce((sum, one) => sum + one.bytes.size, 0);
    while (batch.length < MOST && !this.searched && !this.ended) {
      const found = await this.#find();
      if (found === null) break;
      this.found += 1;
      const ready = await this.#read(found);
      if (ready === null) continue;
      if (batch.length > 0 && bytes + ready.bytes.size > MOST_BYTES) {
        this.next = [ready];
        break;
      }
      batch.push(ready);
      bytes += ready.bytes.size;
    }
    this.changed();
    return this.ended ? [] : batch;
  }

  /** @returns {Promise<Sent | null>} */
  async #find() {
    try {
      const found = await this.pictures.next();
      this.searched = Boolean(found.done);
      return found.done ? null : found.value;
    } catch (error) { // a folder that cannot be read on, a manifest that says nothing
      this.#end("stopped", error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  /** @param {Sent} picture @returns {Promise<Ready | null>} */
  async #read(picture) {
    try {
      const blob = await picture.read();
      return { ...picture, bytes: new Blob([await blob.arrayBuffer()]) };
    } catch (error) {
      this.#fail(picture.path, `it cannot be read from the disk: ${error instanceof Error ? error.message : error}`, null);
      this.#count();
      return null;
    }
  }

  /** @param {Ready[]} batch */
  async #deliver(batch) {
    for (let turn = 0; !this.ended; turn++) {
      const reply = await this.send(batch, this.abort.signal);
      if (this.ended) return;
      if (reply.status === 200) {
        this.#note(batch, reply.results);
        return;
      }
      if (LATER.has(reply.status)) {
        const pause = reply.retryAfter ?? Math.min(LONGEST_PAUSE, 2 ** Math.min(turn, 4));
        await this.#wait(reply.status === 429 ? "" : reply.detail, pause);
      } else if (reply.status === 413 && batch.length > 1) {
        const half = Math.ceil(batch.length / 2);
        await this.#deliver(batch.slice(0, half));
        await this.#deliver(batch.slice(half));
        return;
      } else if (batch.length === 1 && (reply.status === 413 || reply.status === 422 || reply.status === 400)) {
        const [one] = /** @type {[Ready]} */ (batch);
        this.#fail(one.path, reply.detail, one.bytes);
        this.#count();
        return;
      } else this.#end("stopped", reply.detail);
    }
  }

  /** @param {string} why told where it is not only a moment @param {number} seconds */
  async #wait(why, seconds) {
    if (why) {
      this.state = "waiting";
      this.why = why;
      this.changed();
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.abort.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve(undefined);
      }, { once: true });
    });
  }

  /** @param {Ready[]} batch @param {Result[]} results */
  #note(batch, results) {
    if (this.state === "waiting") {
      this.state = "running";
      this.why = "";
    }
    for (const [place, one] of batch.entries()) {
      const result = results[place];
      if (result?.status === "created") this.created += 1;
      else if (result?.status === "updated") this.updated += 1;
      else this.#fail(one.path, result?.problem?.detail ?? "the service did not say what became of it", one.bytes);
    }
    this.#count();
  }

  /** @param {string} path @param {string} detail @param {Blob | null} picture */
  #fail(path, detail, picture) {
    this.failed += 1;
    if (this.failures.length < LISTED) {
      this.failures.push({ path, detail, picture: this.failures.length < SHOWN ? picture : null });
    }
  }

  #count() {
    const now = performance.now();
    this.marks.push([now, this.done]);
    while (this.marks.length > 2 && now - /** @type {[number, number]} */ (this.marks[0])[0] > WINDOW) this.marks.shift();
    this.changed();
  }
}
