/** Every request of the pages: the key, waiting when the service is busy, and errors in the service's own words. */

const KEY = "vehicle-search-key";
const PATIENCE = 15_000; // milliseconds that a request may wait and try again where the service asks for it
const PROBES = [500, 1000, 2000, 4000, 5000]; // milliseconds between looks whether a service is back

/** What the service said is wrong; ``message`` is its ``detail``. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{title?: string, detail?: string, type?: string, errors?: {pointer: string, detail: string}[]}} document
   * @param {number | null} wait milliseconds after which it may be tried again, where the service says so
   */
  constructor(status, document, wait = null) {
    super(document.detail || document.title || `the service answered ${status}`);
    this.name = "Problem";
    this.status = status;
    this.document = document;
    this.wait = wait;
  }
}

/**
 * Whether an error is the service's word that a picture to search with is not kept (any more).
 * @param {unknown} error
 */
export function isKeptNoMore(error) {
  return error instanceof Problem && error.status === 404 && String(error.document.type).endsWith("query-not-found");
}

/** The service could not be reached at all. */
export class Unreachable extends Error {
  constructor() {
    super("The service cannot be reached. This page goes on as soon as it answers again.");
    this.name = "Unreachable";
  }
}

/** "lost" when the service cannot be reached, "back" when it can again, "key" when a request needs one or another. */
export const connection = new EventTarget();

let lost = false;
/** @type {((why: Problem) => Promise<boolean>) | null} */
let askForKey = null;

/** @typedef {string | number | boolean} Value */
/** @typedef {Record<string, Value | Value[] | null | undefined>} Query */
/**
 * @typedef {object} Options
 * @property {Query | URLSearchParams} [query]
 * @property {unknown} [json] a body to send as JSON
 * @property {BodyInit} [body]
 * @property {string} [type] of ``body``
 * @property {AbortSignal} [signal]
 * @property {number} [patience] milliseconds for waiting and trying again; 0: none
 * @property {boolean} [quiet] do not ask for a key where one is wanted
 */

/** The key that requests are sent with; null where there is none. */
export function key() {
  return sessionStorage.getItem(KEY);
}

/** @param {string | null} token */
export function setKey(token) {
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
  connection.dispatchEvent(new Event("key"));
}

/**
 * Say who asks a person for a key: it resolves to whether there is one now.
 * @param {(why: Problem) => Promise<boolean>} ask
 */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/**
 * A path below /v1 of these parts, each escaped.
 * @param {...string} parts
 */
export function path(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

/**
 * A path with a query string; empty values are left out.
 * @param {string} address
 * @param {Query | URLSearchParams} [query]
 */
export function withQuery(address, query = {}) {
  const text = (query instanceof URLSearchParams ? query : parameters(query)).toString();
  return text ? `${address}?${text}` : address;
}

/**
 * @param {Query} query
 * @returns {URLSearchParams}
 */
export function parameters(query) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") made.append(name, String(each));
    }
  }
  return made;
}

/**
 * Send a request; resolves to an answer that is no error. Rejects with Problem, Unreachable, or an AbortError.
 * @param {string} method
 * @param {string} address
 * @param {Options} [options]
 * @returns {Promise<Response>}
 */
export async function send(method, address, options = {}) {
  const until = performance.now() + (options.patience ?? PATIENCE);
  for (;;) {
    const used = key();
    const answer = await once(method, address, options);
    if (answer.ok || answer.status === 304) return answer;
    const problem = await problemOf(answer);
    if (answer.status === 401 && askForKey !== null && !options.quiet) {
      if (key() !== used || await askForKey(problem)) continue; // another request may have asked meanwhile
      throw problem;
    }
    if (problem.wait === null || performance.now() + problem.wait > until) throw problem;
    await pause(problem.wait, options.signal);
  }
}

/**
 * The JSON that a GET gives.
 * @param {string} address
 * @param {Query | URLSearchParams} [query]
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function get(address, query = {}, options = {}) {
  return (await send("GET", address, { ...options, query })).json();
}

/**
 * Send JSON, or any body; the JSON of the answer, null where it has none.
 * @param {"POST" | "PUT" | "PATCH" | "DELETE"} method
 * @param {string} address
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function change(method, address, options = {}) {
  const answer = await send(method, address, options);
  const type = answer.headers.get("Content-Type") ?? "";
  return type.includes("json") ? answer.json() : null;
}

/**
 * Have the browser save what a request gives.
 * @param {Response} answer
 * @param {string} name of the file
 */
export async function save(answer, name) {
  const address = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * Wait; rejects with the signal's reason.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

/** The header that names the caller, where there is a key. */
export function authorization() {
  const token = key();
  /** @type {Record<string, string>} */
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  return headers;
}

/**
 * @param {string} method
 * @param {string} address
 * @param {Options} options
 */
async function once(method, address, options) {
  const headers = authorization();
  let body = options.body;
  if (options.json !== undefined) {
    body = JSON.stringify(options.json);
    headers["Content-Type"] = "application/json";
  } else if (options.type !== undefined) {
    headers["Content-Type"] = options.type;
  }
  try {
    const answer = await fetch(withQuery(address, options.query), { method, headers, body, signal: options.signal ?? null });
    found();
    return answer;
  } catch (error) {
    if (options.signal?.aborted) throw options.signal.reason;
    if (!(error instanceof TypeError)) throw error;
    miss();
    throw new Unreachable();
  }
}

/**
 * @param {Response} answer
 * @returns {Promise<Problem>}
 */
async function problemOf(answer) {
  const after = answer.status === 429 || answer.status === 503 ? answer.headers.get("Retry-After") : null;
  const wait = after === null || Number.isNaN(Number(after)) ? null : Number(after) * 1000;
  try {
    return new Problem(answer.status, await answer.json(), wait);
  } catch {
    return new Problem(answer.status, { title: `${answer.status} ${answer.statusText}` }, wait);
  }
}

function found() {
  if (!lost) return;
  lost = false;
  connection.dispatchEvent(new Event("back"));
}

/** Tell that the service is lost, and look for it until it is back. */
async function miss() {
  if (lost) return;
  lost = true;
  connection.dispatchEvent(new Event("lost"));
  for (let look = 0; lost; look += 1) {
    await pause(PROBES[Math.min(look, PROBES.length - 1)] ?? 5000);
    try {
      if ((await fetch("/livez", { cache: "no-store" })).ok) found();
    } catch {
      // not yet
    }
  }
}
