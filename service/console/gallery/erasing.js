/** Erasing images: a question that says how many, of which gallery, and then the work. */

import { ask, confirmDanger } from "../shared/dialogs.js";
import { h } from "../shared/element.js";
import { counted, erase } from "./gallery_api.js";
import { countWords } from "../shared/words.js";

/** @typedef {import("./gallery_api.js").Chosen} Chosen */

/**
 * Ask, and erase; resolves to what was done in words, null where nothing was.
 * @param {string} gallery
 * @param {Chosen} chosen
 * @param {(done: number) => void} progress
 * @returns {Promise<string | null>}
 */
export async function eraseImages(gallery, chosen, progress) {
  const count = "ids" in chosen ? chosen.ids.length : await counted(gallery, chosen.filters);
  const images = countWords(count, "image");
  const whole = "filters" in chosen && chosen.filters.size === 0;
  const told = `${which(chosen, images)} of gallery “${gallery}” ${count === 1 ? "is" : "are"} erased with ${count === 1 ? "its picture" : "their pictures"}, and in no answer from then on. This cannot be undone.`;
  const sure = whole ? await confirmWhole(gallery, images, told) : await confirmDanger(`Erase ${images}?`, told, `Erase ${images}`);
  if (!sure) return null;
  const done = await erase(gallery, chosen, progress);
  return `${countWords(done, "image")} erased from gallery ${gallery}.`;
}

/**
 * @param {Chosen} chosen
 * @param {string} images
 */
function which(chosen, images) {
  if ("ids" in chosen) return chosen.ids.length === 1 ? `The image ${chosen.ids[0]}` : `The ${images} that you selected`;
  if (chosen.filters.size === 0) return `Every image, all ${images},`;
  const said = [...chosen.filters].map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ");
  return `Every image that passes the filters (${said}), ${images},`;
}

/**
 * To erase all of a gallery its name has to be written.
 * @param {string} gallery
 * @param {string} images
 * @param {string} told
 */
async function confirmWhole(gallery, images, told) {
  const name = h("input", { type: "text", autocomplete: "off", required: true });
  const body = [h("p", {}, told), h("label", { class: "field" }, h("span", {}, `To erase all of it write its name, ${gallery}`), name)];
  const answer = await ask(`Erase the whole gallery ${gallery}?`, body, [{ value: "", label: "Cancel" }, { value: "yes", label: `Erase ${images}`, kind: "danger" }], {
    check: () => {
      name.setCustomValidity(name.value.trim() === gallery ? "" : `This is not the gallery's name, ${gallery}.`);
      return name.reportValidity();
    },
  });
  return answer === "yes";
}
