/** Which vehicle images are of: some are another one, or two are the same. */

import { ask } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { byVehicle, counted, patchAll } from "./gallery_api.js";
import { errorWords } from "../shared/shell.js";
import { countWords } from "../shared/words.js";

/** @typedef {import("./gallery_api.js").Chosen} Chosen */
/** @typedef {{words: string, undo: (() => Promise<string>) | null}} Correction what was done, and how it is undone */

const MOST_NAMED = 6; // vehicles whose images are counted
const MOST_UNDONE = 5000; // images of which is remembered which vehicle they were of

/**
 * Ask what is right, and set it right; resolves to null where nothing was done.
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {number} count of images that are chosen
 * @param {Map<string | null, number>} vehicles how many of them each has, where that is known
 * @returns {Promise<Correction | null>}
 */
export async function correctVehicle(gallery, chosen, count, vehicles) {
  const known = [...vehicles.keys()].filter((each) => each !== null);
  const first = known[0];
  const problem = h("p", { class: "chip bad", role: "alert", hidden: true });
  const fresh = h("input", { type: "text", maxlength: 256, value: await freeId(gallery, first ?? "vehicle"), "aria-label": "Id of the new vehicle" });
  const same = h("input", { type: "text", maxlength: 256, "aria-label": "Vehicle id for these images" });
  const others = known.length > 1 ? h("select", { "aria-label": "Vehicle that stays" }, ...known.map((each) => h("option", { value: each }, each))) : null;
  const other = h("input", { type: "text", maxlength: 256, "aria-label": "Vehicle that it is the same as" });
  const sizes = known.length > MOST_NAMED ? [] : await Promise.all(known.map((each) => counted(gallery, { vehicle_id: each })));
  const named = known.map((each, number) => (sizes[number] === undefined ? each : `${each} (${countWords(sizes[number], "image")})`)).join(", ");
  const merge = known.length > 1 ? ["All images of ", named, " show one vehicle, which stays ", others] : ["All images of ", named, " show vehicle ", other];
  const these = countWords(count, "image");
  const choices = [
    choice("split", `Split: ${count === 1 ? "this image shows" : `these ${these} show`} another vehicle, which is new: `, fresh),
    first === undefined ? null : choice("merge", "Merge: ", ...merge),
    choice("set", `Only ${count === 1 ? "this image is" : `these ${these} are`} of vehicle `, same, " (empty: nobody knows)"),
  ];
  const radios = choices.flatMap((each) => (each ? [/** @type {HTMLInputElement} */ (each.querySelector("input[type=radio]"))] : []));
  const start = known.length > 1 ? radios.find((each) => each.value === "merge") : radios[0];
  if (start) start.checked = true;
  /** @type {Correction | null} */
  let done = null;
  /** @type {Promise<void> | null} */
  let applying = null;
  /** @type {unknown} */
  let failure = null;

  /** @param {HTMLDialogElement} dialog */
  const apply = async (dialog) => {
    problem.hidden = true;
    failure = null;
    try {
      const how = radios.find((each) => each.checked)?.value;
      if (how === "merge") done = await merged(gallery, known, (others ?? other).value.trim());
      else done = how === "split" ? await split(gallery, chosen, fresh.value.trim()) : await set(gallery, chosen, same.value.trim());
      dialog.close("done");
    } catch (error) {
      failure = error;
      show(problem, errorWords(error));
      problem.hidden = false;
    } finally {
      applying = null;
    }
  };
  const body = [h("p", {}, said(these, gallery, vehicles)), h("div", { class: "stack" }, ...choices), problem];
  await ask("Correct the vehicle", body, [{ value: "", label: "Cancel" }, { value: "go", label: "Correct", kind: "primary" }], {
    check: (dialog) => {
      applying ??= apply(dialog);
      return false;
    },
  });
  if (applying !== null) { // the dialog was closed meanwhile
    await applying;
    if (failure !== null) throw failure;
  }
  return done;
}

/**
 * A way to set it right; what is written in its field chooses it.
 * @param {string} value
 * @param {...(import("../shared/element.js").Child)} words
 */
function choice(value, ...words) {
  const radio = h("input", { type: "radio", name: "correction", value });
  const whole = h("label", { class: "choice" }, radio, h("span", {}, ...words));
  whole.addEventListener("input", () => { radio.checked = true; });
  whole.addEventListener("focusin", (event) => { if (event.target !== radio) radio.checked = true; });
  return whole;
}

/**
 * @param {string} these
 * @param {string} gallery
 * @param {Map<string | null, number>} vehicles
 */
function said(these, gallery, vehicles) {
  const parts = [...vehicles].slice(0, 6).map(([vehicle, count]) => (vehicle === null ? `${count} of no known vehicle` : `${count} of ${vehicle}`));
  if (vehicles.size > 6) parts.push("more");
  return `${these} of gallery ${gallery}${parts.length ? `: ${parts.join(", ")}` : ""}.`;
}

/**
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {string} vehicle
 */
async function split(gallery, chosen, vehicle) {
  if (!vehicle) throw new Error("Write an id for the new vehicle.");
  const there = await counted(gallery, { vehicle_id: vehicle });
  if (there > 0) throw new Error(`Vehicle ${vehicle} is there already, with ${countWords(there, "image")}. Write another id, or choose one of the other ways.`);
  return changed(gallery, chosen, vehicle, (count) => `${countWords(count, "image")} ${count === 1 ? "is" : "are"} now the new vehicle ${vehicle}.`);
}

/**
 * @param {string} gallery
 * @param {string[]} known
 * @param {string} stays
 */
async function merged(gallery, known, stays) {
  if (!stays) throw new Error("Write the id of the vehicle that it is the same as.");
  const wrong = known.filter((each) => each !== stays);
  if (wrong.length === 0) throw new Error(`They are of vehicle ${stays} already. Write the id of another one.`);
  if (!known.includes(stays) && (await counted(gallery, { vehicle_id: stays })) === 0) {
    throw new Error(`There is no vehicle ${stays} in this gallery. Look how its id is written.`);
  }
  const filters = new URLSearchParams(wrong.map((each) => ["vehicle_id", each]));
  return changed(gallery, { filters }, stays, (count) => `${countWords(count, "image")} of ${wrong.join(", ")} ${count === 1 ? "is" : "are"} now vehicle ${stays}.`);
}

/**
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {string} vehicle
 */
function set(gallery, chosen, vehicle) {
  return changed(gallery, chosen, vehicle || null, (count) => `${countWords(count, "image")} ${count === 1 ? "is" : "are"} now of ${vehicle ? `vehicle ${vehicle}` : "no known vehicle"}.`);
}

/**
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {string | null} vehicle
 * @param {(count: number) => string} words
 * @returns {Promise<Correction>}
 */
async function changed(gallery, chosen, vehicle, words) {
  const before = await byVehicle(gallery, chosen, MOST_UNDONE);
  const count = await patchAll(gallery, chosen, { vehicle_id: vehicle });
  return { words: words(count), undo: before && (() => restored(gallery, before, vehicle)) };
}

/**
 * Set right what is still as it was set; what others have changed or erased since is theirs.
 * @param {string} gallery
 * @param {Map<string | null, string[]>} before
 * @param {string | null} vehicle that was set
 */
async function restored(gallery, before, vehicle) {
  let [all, count] = [0, 0];
  const now = await byVehicle(gallery, { ids: [...before.values()].flat() }, MOST_UNDONE);
  const still = new Set(now?.get(vehicle));
  for (const [vehicle_id, ids] of before) {
    const own = ids.filter((id) => still.has(id));
    all += ids.length;
    if (own.length > 0) count += await patchAll(gallery, { ids: own }, { vehicle_id });
  }
  const back = `${countWords(count, "image is as it was", "images are as they were")}.`;
  return count === all ? back : `${back} ${countWords(all - count, "other was", "others were")} changed or erased since.`;
}

/**
 * An id that no vehicle has, made from that of one.
 * @param {string} gallery
 * @param {string} like
 */
async function freeId(gallery, like) {
  for (let number = 2; number < 20; number++) {
    const id = `${like.slice(0, 240)}-${number}`;
    if ((await counted(gallery, { vehicle_id: id })) === 0) return id;
  }
  return `${like.slice(0, 240)}-${Date.now().toString(36)}`;
}
