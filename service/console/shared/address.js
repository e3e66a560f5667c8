/** What a page shows stands in its address: it can be shared, and Back works. */

const changes = new EventTarget();

/** The parameters of the address. */
export function read() {
  return new URLSearchParams(location.search);
}

/**
 * Put parameters into the address; ``replace``: without a step for Back. Nothing happens where they stand there already.
 * @param {URLSearchParams} parameters
 * @param {{replace?: boolean}} [how]
 */
export function write(parameters, { replace = false } = {}) {
  const text = parameters.toString();
  const next = `${location.pathname}${text ? `?${text}` : ""}`;
  if (next === `${location.pathname}${location.search}`) return;
  if (replace) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
  changes.dispatchEvent(new Event("change"));
}

/**
 * Call when the address is another, by whatever way.
 * @param {() => void} listener
 */
export function onChange(listener) {
  changes.addEventListener("change", listener);
  addEventListener("popstate", listener);
}

/**
 * Call when the person goes back or forward.
 * @param {(parameters: URLSearchParams) => void} listener
 */
export function onWalk(listener) {
  addEventListener("popstate", () => listener(read()));
}

/** The gallery that the address names; "default" where it names none. */
export function gallery() {
  return read().get("gallery") || "default";
}
