/** The page /gallery: what is in a gallery, its corrections, and pictures that are added. */

import { AddingPictures } from "./adding_pictures.js";
import { gallery, onWalk, read, write } from "../shared/address.js";
import { Problem, change, connection, get, path } from "../shared/api.js";
import { ChosenImages } from "./chosen_images.js";
import { ask } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { eraseImages } from "./erasing.js";
import { FilterForm, filtersOf } from "../shared/filter_form.js";
import { facets, listed } from "./gallery_api.js";
import { ImageDetails } from "./image_details.js";
import { ListedImages } from "./listed_images.js";
import { followCaller, may } from "../shared/rights.js";
import { galleryChoice, errorWords, notice, startPage, tell } from "../shared/shell.js";
import { dropThumbnail, showThumbnail } from "./thumbnails.js";
import { correctVehicle } from "./vehicle_correction.js";
import { VirtualGrid } from "./virtual_grid.js";
import { countWords, imageWords, numberWords, timeWords, viewpointWords } from "../shared/words.js";

/** @typedef {import("./listed_images.js").StoredImage} StoredImage */
/** @typedef {import("./gallery_api.js").Chosen} Chosen */

const ORDERS = { newest: "added last first", image_id: "by image id" };
const MOST_ONE_BY_ONE = 5000; // images that are selected by their ids; more are selected by their filters
const RETRY = 5000; // milliseconds after which a listing that failed is asked for again
const BESIDE = 1; // images that are asked for to step on from an image

class GalleryPage {
  constructor() {
    const place = startPage();
    followCaller();
    this.filters = filtersOf(read());
    this.order = order(read());
    this.known = -1; // how many images pass, -1 before the service has said it
    this.grid = new VirtualGrid({
      label: "Images of the gallery",
      draw: (cell, number) => this.draw(cell, number),
      clear: (cell) => { for (const image of cell.getElementsByTagName("img")) dropThumbnail(image); },
      shown: (first, last) => this.images.want(first, last),
      opened: (number) => this.openAt(number),
      picked: (number, how) => void this.pick(number, how),
      wanted: (what) => (what === "all" ? void this.chooseAll() : this.chosen.nothing()),
      picking: () => this.chosen.some,
    });
    this.images = new ListedImages(
      (offset, limit, signal) => listed(gallery(), this.filters, { order: this.order, offset, limit, signal }),
      { arrived: (first, last) => this.arrived(first, last), failed: (problem) => this.failed(problem) },
    );
    this.chosen = new ChosenImages(() => this.sayChosen());
    this.form = new FilterForm((filters) => this.go({ filters }));
    this.adding = new AddingPictures(gallery, () => this.added(), () => this.offerFilters());
    this.details = new ImageDetails(gallery(), {
      beside: (step) => this.beside(step),
      saved: (image) => this.saved(image),
      erase: (image) => this.erase({ ids: [image.image_id] }),
      correct: (image) => this.correctOne(image),
      shown: (id) => this.address({ image: id }),
      closed: () => this.address({ image: null }),
    });
    this.openPlace = -1;
    this.orderChoice = h("select", { onchange: () => this.go({ order: this.orderChoice.value }) }, ...Object.entries(ORDERS).map(([value, words]) => h("option", { value }, words)));
    this.count = h("p", { class: "count", role: "status" });
    this.fresh = h("button", { type: "button", hidden: true, onclick: () => this.showFresh() }, "Show what was added");
    this.correctButton = h("button", { type: "button", disabled: true, "data-needs": "write", onclick: () => this.correct() }, "Correct the vehicle…");
    this.eraseButton = h("button", { type: "button", disabled: true, "data-needs": "write", onclick: () => this.eraseChosen() }, "Erase…");
    this.allButton = h("button", { type: "button", "data-needs": "write", onclick: () => this.chooseAll() }, "Select all");
    this.noneButton = h("button", { type: "button", hidden: true, onclick: () => this.chosen.nothing() }, "Select none");
    this.empty = h("div", { class: "empty", hidden: true });
    this.actions = h("span", { class: "row right" }, this.allButton, this.noneButton, this.correctButton, this.eraseButton,
      h("label", { class: "field inline" }, h("span", {}, "Order"), this.orderChoice));
    place.append(
      h("div", { class: "row bar" },
        galleryChoice((name) => this.go({ gallery: name })),
        h("button", { type: "button", "data-needs": "administer", onclick: () => this.create() }, "New gallery…"),
        h("span", { class: "row right", "data-needs": "write" }, ...this.adding.buttons())),
      this.adding.element,
      h("div", { class: "browse" }, this.form.element,
        h("div", { class: "listing" },
          h("div", { class: "row bar" }, this.count, this.fresh, this.actions),
          this.grid.element, this.empty)));
    connection.addEventListener("back", () => this.reload());
    connection.addEventListener("key", () => this.reload());
    onWalk(() => this.walk());
    this.start();
  }

  start() {
    this.orderChoice.value = this.order;
    this.form.take(this.filters);
    void this.offerFilters();
    void this.adding.findJobs();
    this.images.want(0, 1);
    const image = read().get("image");
    if (image) void this.details.show(image);
  }

  /** Show another part: it gets its own step for Back. @param {{filters?: URLSearchParams, order?: string, gallery?: string}} next */
  go(next) {
    const parameters = new URLSearchParams();
    const name = next.gallery ?? gallery();
    if (name !== "default") parameters.set("gallery", name);
    const filters = next.gallery ? new URLSearchParams() : next.filters ?? this.filters;
    for (const [key, value] of filters) parameters.append(key, value);
    const sorted = next.order ?? this.order;
    if (sorted !== "newest") parameters.set("order", sorted);
    if (next.gallery && next.gallery !== gallery()) {
      location.assign(`/gallery?${parameters}`); // everything is another
      return;
    }
    write(parameters);
    this.walk();
  }

  /** Follow the address. */
  walk() {
    const [filters, sorted] = [filtersOf(read()), order(read())];
    if (filters.toString() !== this.filters.toString() || sorted !== this.order) {
      [this.filters, this.order] = [filters, sorted];
      this.form.take(filters);
      this.orderChoice.value = sorted;
      this.chosen.nothing();
      this.known = -1;
      this.images.forget();
      this.grid.rewind();
      this.images.want(0, 1);
    }
    const image = read().get("image");
    if (image === null) this.details.close();
    else if (image !== this.details.image?.image_id || !this.details.open) void this.details.show(image);
  }

  /** @param {{image: string | null}} shown */
  address({ image }) {
    const parameters = read();
    if (parameters.get("image") === image) return;
    const open = parameters.has("image");
    if (image === null) parameters.delete("image");
    else parameters.set("image", image);
    write(parameters, { replace: open }); // Back closes what is open
  }

  async offerFilters() {
    try {
      this.form.offer(await facets(gallery()));
    } catch (error) {
      if (await may("read")) tell(error, "What the gallery can be filtered by is not known");
    }
  }

  /**
   * @param {number} first
   * @param {number} last
   */
  arrived(first, last) {
    this.known = this.images.total;
    this.grid.setCount(this.known);
    for (let number = first; number < last; number++) this.grid.redraw(number);
    this.sayCount();
  }

  /** @param {unknown} problem */
  async failed(problem) {
    show(this.count, errorWords(problem));
    if (!await may("read")) {
      this.nothingToSee();
      return;
    }
    if (problem instanceof Problem && problem.status === 404) {
      this.grid.element.hidden = true;
      this.empty.hidden = false;
      show(this.empty, h("h2", {}, `There is no gallery ${gallery()}`), h("p", {}, "Choose another one above, or create it."),
        h("button", { type: "button", class: "primary", "data-needs": "administer", onclick: () => this.create(gallery()) }, "New gallery…"));
      return;
    }
    tell(problem, "The images could not be listed");
    if (problem instanceof Problem && (problem.status === 429 || problem.status >= 500)) setTimeout(() => this.images.retry(), RETRY);
  }

  /** Who may add, and not look. */
  nothingToSee() {
    show(this.count);
    this.grid.element.hidden = this.form.element.hidden = this.actions.hidden = true;
    this.empty.hidden = false;
    show(this.empty, h("h2", {}, "This key adds pictures and shows none"),
      h("p", {}, `Drop pictures, a folder or an archive here to add them to gallery ${gallery()}. To look at what is in it takes a key with the scope read.`),
      h("div", { class: "row", "data-needs": "write" }, ...this.adding.buttons()));
  }

  reload() {
    this.images.renew();
    void this.offerFilters();
  }

  /** The images were changed or erased by this page. */
  changed() {
    this.chosen.nothing();
    this.reload();
  }

  /** There are new images; who looks at others is not disturbed. */
  added() {
    if (this.grid.top < this.grid.rowHeight) this.images.renew();
    else this.fresh.hidden = false;
  }

  showFresh() {
    this.fresh.hidden = true;
    this.grid.rewind();
    this.images.renew();
  }

  sayCount() {
    const filtered = this.filters.size > 0;
    show(this.count, this.known < 0 ? "Looking…" : `${countWords(this.known, "image")}${filtered ? (this.known === 1 ? " passes the filters" : " pass the filters") : ""}`);
    this.allButton.disabled = this.known < 1;
    this.empty.hidden = this.known !== 0;
    this.grid.element.hidden = this.known === 0;
    const nothing = this.known === 0 && !filtered;
    this.form.element.hidden = this.actions.hidden = nothing;
    if (this.known === 0) show(this.empty, ...(filtered ? this.nothingPasses() : this.nothingThere()));
    this.sayChosen();
  }

  nothingPasses() {
    return [h("h2", {}, "No image passes these filters"), h("p", {}, "Take one of them away, or look at everything."),
      h("button", { type: "button", class: "primary", onclick: () => this.go({ filters: new URLSearchParams() }) }, "Clear all filters")];
  }

  nothingThere() {
    return [h("h2", {}, `Gallery ${gallery()} is empty`),
      h("p", { "data-lacks": "write" }, "Whoever may add pictures has added none yet."),
      h("p", { "data-needs": "write" }, h("span", { class: "with-mouse" }, "Drop pictures of vehicles on this page, a folder of them, or an archive (.zip, .tar); or choose them here. "), "A picture shows one vehicle, cut out of its frame. A manifest.csv in a folder or archive says vehicle, camera and time of each."),
      h("div", { class: "row", "data-needs": "write" }, ...this.adding.buttons()),
      h("p", { class: "small faint", "data-needs": "write" }, "Programs add pictures, too: ", h("a", { href: "/docs" }, "the API"), ".")];
  }

  sayChosen() {
    const { some, all, images } = this.chosen;
    const count = all ? this.known : images.size;
    show(this.correctButton, some ? `Correct the vehicle of ${numberWords(count)}…` : "Correct the vehicle…");
    show(this.eraseButton, some ? `Erase ${numberWords(count)}…` : "Erase…");
    this.correctButton.disabled = this.eraseButton.disabled = !some || count < 1;
    this.noneButton.hidden = !some;
    this.grid.element.classList.toggle("picking", some);
    this.grid.refresh();
  }

  /**
   * @param {HTMLElement} cell
   * @param {number} number
   */
  draw(cell, number) {
    if (!cell.firstChild) {
      const image = h("img", { alt: "", decoding: "async", draggable: "false" });
      image.addEventListener("error", () => { if (image.hasAttribute("src") || image.dataset["address"]) image.classList.add("missing"); });
      image.addEventListener("load", () => image.classList.remove("missing"));
      cell.append(h("div", { class: "thumb" }, image), h("span", { class: "tick", "aria-hidden": "true" }), h("span", { class: "line strong" }), h("span", { class: "line faint" }));
    }
    const image = this.images.at(number);
    if (image === undefined && cell.classList.contains("coming") && !this.chosen.all) return; // as it was, for another one
    const [thumb, , first, second] = /** @type {[HTMLElement, HTMLElement, HTMLElement, HTMLElement]} */ (/** @type {unknown} */ ([...cell.children]));
    const picture = /** @type {HTMLImageElement} */ (thumb.firstChild);
    cell.classList.toggle("coming", image === undefined);
    const selected = image !== undefined ? this.chosen.has(image.image_id) : this.chosen.all;
    cell.setAttribute("aria-selected", String(selected));
    if (image === undefined) {
      dropThumbnail(picture);
      picture.classList.remove("missing");
      cell.setAttribute("aria-label", "not loaded yet");
      cell.removeAttribute("title");
      first.textContent = second.textContent = "";
      return;
    }
    if (image.crop !== null) showThumbnail(picture, image.crop);
    else {
      dropThumbnail(picture);
      picture.classList.add("missing");
    }
    cell.setAttribute("aria-label", `${imageWords(image)}, ${image.image_id}`);
    cell.title = imageWords(image); // lines that are too long for the cell end in …
    first.textContent = image.vehicle_id ?? image.image_id;
    const seen = image.captured_at ? timeWords(image.captured_at) : viewpointWords(image.viewpoint);
    show(second, image.camera_id ? h("bdi", {}, image.camera_id) : null, image.camera_id && seen ? " · " : null, seen);
  }

  /** @param {number} number */
  openAt(number) {
    const image = this.images.at(number);
    if (!image) return;
    this.openPlace = number;
    void this.details.show(image.image_id);
  }

  /** @param {-1 | 1} step */
  async beside(step) {
    if (this.openPlace < 0) this.openPlace = this.placeOf(this.details.image?.image_id ?? "");
    const next = this.openPlace + step;
    if (next < 0 || next >= this.known) return null;
    const image = this.images.at(next) ?? (await listed(gallery(), this.filters, { order: this.order, offset: next, limit: BESIDE })).images[0];
    if (!image) return null;
    this.openPlace = next;
    this.grid.activate(next);
    return image.image_id;
  }

  /** @param {string} id */
  placeOf(id) {
    for (const [place, image] of this.images.known()) if (image.image_id === id) return place;
    return -1;
  }

  /** @param {StoredImage} image */
  saved(image) {
    const place = this.images.replace(image);
    if (place >= 0) this.grid.redraw(place);
    void this.offerFilters();
  }

  /**
   * @param {number} number
   * @param {"toggle" | "range"} how
   */
  async pick(number, how) {
    const image = this.images.at(number);
    if (!image) return;
    if (how === "toggle" || this.chosen.anchor < 0) {
      this.chosen.toggle(image, number);
      return;
    }
    const [first, last] = [Math.min(this.chosen.anchor, number), Math.max(this.chosen.anchor, number)];
    await this.choose(first, last + 1);
  }

  /** Select images by their places. @param {number} first @param {number} last */
  async choose(first, last) {
    if (last - first > MOST_ONE_BY_ONE) {
      notice(`${numberWords(MOST_ONE_BY_ONE)} images can be selected one by one. Filters and “Select all” select more.`);
      return;
    }
    const found = [];
    try {
      for (let number = first; number < last; ) {
        const image = this.images.at(number);
        if (image) {
          found.push(image);
          number += 1;
          continue;
        }
        const { images } = await listed(gallery(), this.filters, { order: this.order, offset: number, limit: Math.min(1000, last - number) });
        if (images.length === 0) break;
        found.push(...images);
        number += images.length;
      }
      this.chosen.add(found);
    } catch (error) {
      tell(error, "The images could not be selected");
    }
  }

  async chooseAll() {
    if (this.known <= MOST_ONE_BY_ONE) await this.choose(0, this.known);
    else this.chosen.everything();
  }

  /** @returns {Chosen} */
  get selected() {
    return this.chosen.all ? { filters: this.filters } : { ids: [...this.chosen.images.keys()] };
  }

  async eraseChosen() {
    await this.erase(this.selected);
  }

  /** @param {Chosen} chosen */
  async erase(chosen) {
    try {
      const done = await eraseImages(gallery(), chosen, (count) => show(this.count, `Erasing… ${numberWords(count)} so far`));
      if (done === null) return false;
      notice(done);
    } catch (error) {
      tell(error, "The images were not all erased");
    }
    this.changed();
    return true;
  }

  async correct() {
    const count = this.chosen.all ? this.known : this.chosen.images.size;
    await this.corrected(this.selected, count, this.chosen.vehicles());
  }

  /** @param {StoredImage} image */
  async correctOne(image) {
    const vehicles = new Map([[image.vehicle_id, 1]]);
    const done = await this.corrected({ ids: [image.image_id] }, 1, vehicles);
    return done ? get(path("galleries", gallery(), "images", image.image_id)) : null;
  }

  /**
   * @param {Chosen} chosen
   * @param {number} count
   * @param {Map<string | null, number>} vehicles
   */
  async corrected(chosen, count, vehicles) {
    try {
      const done = await correctVehicle(gallery(), chosen, count, vehicles);
      if (done === null) return false;
      const { words, undo } = done;
      notice(words, undo ? { label: "Undo", run: () => void this.undo(undo) } : undefined);
      this.changed();
      return true;
    } catch (error) {
      tell(error, "The vehicle could not be corrected");
      return false;
    }
  }

  /** @param {() => Promise<string>} run */
  async undo(run) {
    try {
      notice(await run());
    } catch (error) {
      tell(error, "It was not all undone");
    }
    this.changed();
  }

  /** @param {string} [wanted] its name */
  async create(wanted = "") {
    const name = h("input", { type: "text", required: true, value: wanted, pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", maxlength: 63, autocomplete: "off", title: "lower-case letters, digits, - and _" });
    const days = h("input", { type: "number", min: "0.01", max: "36500", step: "any", placeholder: "for ever" });
    const large = h("input", { type: "checkbox", checked: true });
    const keep = h("input", { type: "checkbox", checked: true });
    const body = [h("div", { class: "stack" },
      h("label", { class: "field" }, h("span", {}, "Name (lower-case letters, digits, - and _)"), name),
      h("label", { class: "field" }, h("span", {}, "Days that an image is kept"), days),
      h("label", { class: "check" }, large, "It may become large: search is made quick when it is"),
      h("label", { class: "check" }, keep, "Keep the pictures, so that they can be looked at and moved to a better model"))];
    const answer = await ask("New gallery", body, [{ value: "", label: "Cancel" }, { value: "make", label: "Create", kind: "primary" }], { check: () => name.reportValidity() && days.reportValidity() });
    if (answer !== "make") return;
    try {
      const json = { kind: large.checked ? "auto" : "flat", keep_crops: keep.checked, retention_days: days.value ? Number(days.value) : null };
      await change("PUT", path("galleries", name.value), { json });
      if (name.value === gallery()) location.reload();
      else this.go({ gallery: name.value });
    } catch (error) {
      tell(error, "The gallery was not created");
    }
  }
}

/** @param {URLSearchParams} parameters */
function order(parameters) {
  return parameters.get("order") === "image_id" ? "image_id" : "newest";
}

new GalleryPage();
