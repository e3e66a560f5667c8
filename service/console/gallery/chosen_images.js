/** Which images of a listing a person has selected: some of them, or all that pass the filters however many they are. */

/** @typedef {import("./listed_images.js").StoredImage} StoredImage */

export class ChosenImages {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<string, StoredImage>} */
    this.images = new Map();
    this.all = false;
    this.anchor = -1; // place from which a range goes
  }

  /** @param {string} id */
  has(id) {
    return this.all || this.images.has(id);
  }

  get some() {
    return this.all || this.images.size > 0;
  }

  /**
   * @param {StoredImage} image
   * @param {number} place
   */
  toggle(image, place) {
    this.all = false;
    if (!this.images.delete(image.image_id)) this.images.set(image.image_id, image);
    this.anchor = place;
    this.changed();
  }

  /** @param {Iterable<StoredImage>} images */
  add(images) {
    this.all = false;
    for (const image of images) this.images.set(image.image_id, image);
    this.changed();
  }

  everything() {
    this.images.clear();
    this.all = true;
    this.changed();
  }

  nothing() {
    this.images.clear();
    this.all = false;
    this.anchor = -1;
    this.changed();
  }

  /** How many images each vehicle has among them; null: those without one. */
  vehicles() {
    /** @type {Map<string | null, number>} */
    const counts = new Map();
    for (const { vehicle_id } of this.images.values()) counts.set(vehicle_id, (counts.get(vehicle_id) ?? 0) + 1);
    return counts;
  }
}
