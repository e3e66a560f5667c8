/** The page that searches: a picture in, where else the vehicle was seen out. */

import { onWalk, read, write } from "../shared/address.js";
import { Problem, Unreachable, connection, get, isKeptNoMore, path } from "../shared/api.js";
import { AttentionMaps } from "./attention_map.js";
import { confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { FilterForm } from "../shared/filter_form.js";
import { PictureDrop } from "./picture_drop.js";
import { QueryPanel } from "./query_panel.js";
import { QueryPicture, isRefusal } from "./query_picture.js";
import { ResultRegion } from "./result_region.js";
import { followCaller, may } from "../shared/rights.js";
import { askFor } from "./search_request.js";
import { FIRST_RESULTS, MOST_PARTS, broughtOf, parametersOf, searchOf, storedOf } from "./search_state.js";
import { galleryChoice, notice, startPage, tell } from "../shared/shell.js";
import { StartPanel } from "./start_panel.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_state.js").BroughtPart} BroughtPart */
/** @typedef {"push" | "replace"} Step whether Back is to come back to what was before */

const FULL = `At most ${MOST_PARTS} pictures of one vehicle are searched for together`;

class SearchPage {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    /** What the person wants to see. @type {Search} */
    this.wanted = { ...searchOf(read()).search, parts: [] };
    /** What was found last, and stands in the address. */
    this.committed = this.wanted;
    this.running = new AbortController();
    this.pushes = false; // whether the next commit is a step for Back
    /** @type {unknown} */
    this.failure = null;
    const maps = new AttentionMaps();
    this.drop = new PictureDrop((pictures, add) => this.bring(pictures, add));
    this.start = new StartPanel(this.drop, (image) => this.like(image));
    this.panel = new QueryPanel({ changed: (parts, step) => this.go({ ...this.wanted, parts }, step), erase: (part) => this.erase(part) }, this.drop, maps);
    this.filters = new FilterForm((filters) => this.go({ ...this.wanted, filters }, "push"));
    this.results = new ResultRegion({
      like: (image) => this.like(image), add: (images) => this.add(images), threshold: (threshold) => this.keepThreshold(threshold),
      topK: (topK) => this.go({ ...this.wanted, topK }, "replace"), withoutFilters: () => this.go({ ...this.wanted, filters: new URLSearchParams() }, "push"),
      again: () => this.go(this.wanted, "replace"),
    }, maps);
    this.galleryPlace = h("div", {});
    this.byVehicle = h("input", { type: "checkbox", onchange: () => this.go({ ...this.wanted, byVehicle: this.byVehicle.checked }, "push") });
    const options = h("section", { class: "stack options", "aria-label": "Options" },
      h("div", { class: "card stack" }, this.galleryPlace, h("label", { class: "check" }, this.byVehicle, "One result for each vehicle")), this.filters.element);
    place.classList.add("search");
    place.append(this.start.element, h("div", { class: "side stack" }, this.panel.element, options), this.results.element);
    onWalk((parameters) => this.walk(parameters));
    connection.addEventListener("back", () => this.goOn());
    connection.addEventListener("key", () => {
      QueryPicture.mayBeKept();
      this.goOn(true);
    });
    this.openGallery(this.wanted.gallery);
    this.walk(read());
  }

  /**
   * Show what an address stands for.
   * @param {URLSearchParams} parameters
   */
  walk(parameters) {
    const { search, lost } = searchOf(parameters);
    this.pushes = false;
    if (search.gallery !== this.wanted.gallery) this.openGallery(search.gallery);
    this.go(search, "replace");
    if (lost) tell(new Error("This address names a picture that the service has not kept. Choose the picture again."));
  }

  /** @param {string} gallery */
  openGallery(gallery) {
    this.results.chosen.of(gallery);
    show(this.galleryPlace, galleryChoice((name) => this.changeGallery(name)));
    this.offer(gallery);
  }

  /** @param {string} name */
  changeGallery(name) {
    const parts = broughtOf(this.wanted.parts);
    if (parts.length < this.wanted.parts.length) notice("Pictures of the other gallery are no longer part of the query.");
    this.results.chosen.of(name);
    this.offer(name);
    this.go({ ...this.wanted, gallery: name, parts, filters: new URLSearchParams(), topK: FIRST_RESULTS }, "push");
  }

  /**
   * Show what can be filtered by.
   * @param {string} gallery
   */
  async offer(gallery) {
    try {
      const facets = await get(path("galleries", gallery, "facets"));
      if (gallery === this.wanted.gallery) this.filters.offer(facets);
    } catch (error) {
      const known = error instanceof Unreachable || (error instanceof Problem && error.status === 404); // what is shown says so already
      if (!known && await may("read")) tell(error, "What can be filtered by is not known");
    }
  }

  /**
   * @param {File[]} files
   * @param {boolean} add
   */
  async bring(files, add) {
    const pictures = await Promise.all(files.map(held));
    if (pictures.some((each) => each === null)) tell(new Error(`${files.filter((_, number) => pictures[number] === null).map((each) => `“${each.name}”`).join(", ")} cannot be read`));
    this.take(pictures.filter((each) => each !== null), add);
  }

  /**
   * @param {File[]} pictures
   * @param {boolean} add
   */
  take(pictures, add) {
    if (pictures.length === 0) return;
    const before = add ? this.wanted.parts : [];
    const room = MOST_PARTS - before.length;
    if (pictures.length > room) tell(new Error(`${FULL}; the first ${room} of ${pictures.length} were taken.`));
    const parts = pictures.slice(0, room).map((blob) => ({ picture: QueryPicture.brought(blob), boxes: [], chosen: -1 }));
    if (add) this.panel.showLast();
    this.go({ ...this.wanted, parts: [...before, ...parts], topK: FIRST_RESULTS }, "push");
  }

  /** @param {string} image_id of the gallery */
  like(image_id) {
    scrollTo({ top: 0 });
    this.go({ ...this.wanted, parts: [{ image_id }], topK: FIRST_RESULTS }, "push");
  }

  /** @param {string[]} images of the gallery, which show the vehicle that is searched for */
  add(images) {
    const known = new Set(storedOf(this.wanted.parts));
    const fresh = images.filter((image) => !known.has(image));
    const room = MOST_PARTS - this.wanted.parts.length;
    if (fresh.length > room) tell(new Error(`${FULL}; there is room for ${room} more, not for ${fresh.length}.`));
    else if (fresh.length > 0) this.go({ ...this.wanted, parts: [...this.wanted.parts, ...fresh.map((image_id) => ({ image_id }))] }, "push");
  }

  /**
   * Search; what was searched for before is given up.
   * @param {Search} next
   * @param {Step} step
   */
  async go(next, step) {
    this.wanted = next;
    if (step === "push") this.pushes = true;
    this.running.abort();
    this.running = new AbortController();
    const { signal } = this.running;
    this.failure = null;
    this.draw();
    if (next.parts.length === 0) {
      this.results.clear();
      this.commit();
      return;
    }
    this.results.busy(true);
    try {
      const answer = await askFor(next, signal);
      if (signal.aborted) return;
      this.commit();
      this.keep(next);
      this.panel.sayKept();
      this.panel.see(answer.viewpoint);
      this.results.found(this.committed, answer);
    } catch (error) {
      if (signal.aborted) return;
      const lost = isKeptNoMore(error) && broughtOf(next.parts).filter((part) => part.picture.lose()).length > 0;
      if (lost) this.go(next, "replace"); // with the pictures themselves
      else this.fail(error);
    }
  }

  /** Put what is shown into the address. */
  commit() {
    this.committed = this.wanted;
    write(parametersOf(this.committed), { replace: !this.pushes });
    this.pushes = false;
  }

  /**
   * Have the service keep the pictures of a search, so that it has an address.
   * @param {Search} search
   */
  keep(search) {
    for (const { picture } of broughtOf(search.parts)) {
      if (picture.id === null && picture.unkept === null) picture.keep().then(() => this.kept(picture), () => {}); // the search says what is wrong
    }
  }

  /** @param {QueryPicture} picture */
  kept(picture) {
    if (broughtOf(this.committed.parts).some((part) => part.picture === picture)) write(parametersOf(this.committed), { replace: true });
    this.panel.sayKept();
    this.results.drawChosen();
  }

  /** @param {BroughtPart} part */
  async erase(part) {
    if (!await confirmDanger("Erase this picture?", "The service forgets it, and addresses that were shared with it find nothing any more.", "Erase")) return;
    try {
      await part.picture.erase();
      this.go({ ...this.wanted, parts: this.wanted.parts.filter((each) => each !== part) }, "replace");
      notice("The picture was erased.");
    } catch (error) {
      tell(error, "The picture could not be erased");
    }
  }

  /** Go on when the service is back; ``anew``: as somebody else. */
  goOn(anew = false) {
    this.offer(this.wanted.gallery);
    this.start.again();
    if (anew || this.failure instanceof Unreachable) this.go(this.wanted, "replace");
    else this.keep(this.committed);
  }

  /** @param {unknown} error */
  fail(error) {
    const before = new Set(this.committed.parts);
    const fresh = broughtOf(this.wanted.parts).filter((part) => !before.has(part));
    if (fresh.length > 0 && isRefusal(error) && isOfPicture(error)) { // it never was part of a search
      const known = fresh.filter((part) => part.picture.refused);
      const refused = known.length > 0 ? known : fresh;
      tell(error, `${refused.map((part) => `“${part.picture.name}”`).join(", ")} cannot be searched with`);
      if (refused.length < fresh.length) {
        this.go({ ...this.wanted, parts: this.wanted.parts.filter((part) => !refused.some((each) => each === part)) }, "replace");
        return;
      }
      this.wanted = this.committed;
      this.pushes = false;
      this.results.busy(false);
      this.draw();
      return;
    }
    this.failure = error;
    this.results.fail(error);
  }

  /** Show what is wanted. */
  draw() {
    const { wanted } = this;
    const empty = wanted.parts.length === 0;
    const began = !empty && this.start.element.contains(document.activeElement);
    this.place.classList.toggle("without-query", empty);
    this.drop.adds = !empty && wanted.parts.length < MOST_PARTS;
    this.start.take(empty ? wanted.gallery : null);
    this.panel.take(wanted);
    this.filters.take(wanted.filters);
    this.byVehicle.checked = wanted.byVehicle;
    this.results.element.hidden = empty;
    if (began) this.panel.element.focus({ preventScroll: true }); // what had the focus is gone
  }

  /** @param {number | null} threshold */
  keepThreshold(threshold) {
    const settled = this.wanted === this.committed;
    this.wanted = { ...this.wanted, threshold };
    if (settled) this.commit();
  }
}

/**
 * A file in memory, so that it can be sent again whatever becomes of it; null where it cannot be read, as a folder.
 * @param {File} file
 */
async function held(file) {
  try {
    return new File([await file.arrayBuffer()], file.name, { type: file.type });
  } catch {
    return null;
  }
}

/** @param {unknown} error */
function isOfPicture(error) {
  return error instanceof Problem && (error.status !== 422 || (error.document.errors ?? []).some((each) => each.pointer.startsWith("/image")));
}

const place = startPage();
followCaller();
new SearchPage(place);
