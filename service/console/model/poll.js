/** Looking again and again, as long as somebody can see the page. */

import { connection } from "../shared/api.js";

/**
 * Look now, and again so many milliseconds after each look; not while the page is hidden, and at once when it is not any
 * more. ``look`` deals with its own errors.
 * @param {() => Promise<void>} look
 * @param {() => number} milliseconds
 */
export function poll(look, milliseconds) {
  let timer = 0;
  let looking = false;
  let again = false;
  let stopped = false;

  const now = async () => {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      do {
        again = false;
        await look();
      } while (again && !stopped);
    } finally {
      looking = false;
      if (!stopped) timer = setTimeout(now, milliseconds());
    }
  };
  document.addEventListener("visibilitychange", now);
  connection.addEventListener("back", now);
  now();
  return {
    now,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", now);
      connection.removeEventListener("back", now);
    },
  };
}
