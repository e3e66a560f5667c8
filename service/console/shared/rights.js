/**
 * Who looks at a page, and what they may do here: a page offers only that. An element that says `data-needs` is there
 * for who may do it, one that says `data-lacks` for who may not; before that is known everything is offered.
 */

import { connection, get } from "./api.js";

/** @typedef {"read" | "write" | "cameras" | "administer"} Ability cameras: to change those of all galleries */
/** @typedef {{key_id: string | null, name: string | null, scopes: string[], galleries: string[] | null, read_only: boolean}} Told */

export class Caller {
  /** @param {Told} told */
  constructor(told) {
    this.keyId = told.key_id;
    this.name = told.name;
    this.scopes = told.scopes;
    this.galleries = told.galleries;
    this.readOnly = told.read_only; // the service, whoever asks
  }

  /** @param {string} scope */
  may(scope) {
    return this.scopes.includes(scope);
  }

  /**
   * Whether it may do what is about all galleries.
   * @param {string} scope
   */
  everywhere(scope) {
    return this.may(scope) && this.galleries === null;
  }

  /**
   * @param {string} scope
   * @param {boolean} [everywhere]
   */
  wants(scope, everywhere = false) {
    return `needs a key with the scope ${scope}${everywhere ? " for all galleries" : ""}`;
  }

  /** @returns {Ability[]} */
  get abilities() {
    const writes = this.may("write") && !this.readOnly;
    /** @type {[Ability, boolean][]} */
    const all = [["read", this.may("read")], ["write", writes], ["cameras", writes && this.galleries === null], ["administer", writes && this.may("admin")]];
    return all.filter(([, may]) => may).map(([ability]) => ability);
  }
}

/** @type {Promise<Caller | null>} */
let asked = Promise.resolve(null);
let following = false;

/**
 * Ask who looks, and mark the page with it. Rejects as {@link get} does.
 * @param {{quiet?: boolean}} [options]
 * @returns {Promise<Caller>}
 */
export function askCaller(options) {
  const asking = get("/v1/caller", {}, options).then((told) => new Caller(told));
  const own = asking.catch(() => null);
  asked = own;
  void own.then((caller) => {
    if (asked !== own) return; // there is another key by now
    if (caller === null) delete document.documentElement.dataset["may"];
    else document.documentElement.dataset["may"] = caller.abilities.join(" ");
  });
  return asking;
}

/** Have the page offer what the caller may, whoever that becomes. */
export function followCaller() {
  if (following) return;
  following = true;
  const look = () => { askCaller({ quiet: true }).catch(() => {}); }; // what else the page asks for says what is wrong
  connection.addEventListener("key", look);
  connection.addEventListener("back", look);
  look();
}

/** Who looks, where that is known. */
export function caller() {
  return asked;
}

/**
 * Whether the caller may do something, as far as that is known.
 * @param {Ability} ability
 */
export async function may(ability) {
  const known = await asked;
  return known === null || known.abilities.includes(ability);
}
