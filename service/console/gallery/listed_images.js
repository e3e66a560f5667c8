/**
 * The images of a gallery by their place in its listing, fetched a page at a time as they come into view. What lies far
 * from the view is forgotten, so that memory stays the same however many there are.
 */

/**
 * @typedef {object} StoredImage
 * @property {string} image_id
 * @property {string | null} vehicle_id
 * @property {string | null} camera_id
 * @property {string | null} captured_at
 * @property {Record<string, number>} viewpoint
 * @property {Record<string, string | number>} attributes
 * @property {string | null} crop
 * @property {string} ingested_at
 */

/** @typedef {{images: StoredImage[], total?: number}} Page */

const SIZE = 100; // images on a page
const KEPT = 40; // pages
const TOGETHER = 2; // requests on their way

export class ListedImages {
  /**
   * @param {(offset: number, limit: number, signal: AbortSignal) => Promise<Page>} fetchPage
   * @param {{arrived: (first: number, last: number) => void, failed: (problem: unknown) => void}} hear
   */
  constructor(fetchPage, hear) {
    this.fetchPage = fetchPage;
    this.hear = hear;
    this.total = 0;
    /** @type {Map<number, StoredImage[]>} */
    this.pages = new Map(); // the last used at the end
    /** @type {Map<number, AbortController>} */
    this.coming = new Map();
    /** @type {Set<number>} */
    this.old = new Set(); // pages that are shown until their new ones come
    /** @type {number[]} */
    this.wanted = [];
    this.broken = false;
  }

  /** @param {number} number @returns {StoredImage | undefined} */
  at(number) {
    return this.pages.get(Math.floor(number / SIZE))?.[number % SIZE];
  }

  /** Say which places are in view; those that are not are no longer waited for. @param {number} first @param {number} last */
  want(first, last) {
    const pages = [];
    for (let page = Math.floor(first / SIZE); page * SIZE < Math.max(last, first + 1); page++) pages.push(page);
    this.wanted = pages;
    for (const page of pages) this.#used(page);
    for (const [page, abort] of this.coming) {
      if (!pages.includes(page)) {
        abort.abort();
        this.coming.delete(page);
      }
    }
    this.#next();
  }

  /** Ask again for what was in vain. */
  retry() {
    this.broken = false;
    this.#next();
  }

  /** Forget everything that was listed: it is another listing now. */
  forget() {
    this.pages.clear();
    this.renew();
  }

  /** Somebody changed the images: list again what is in view, which is shown as it was meanwhile. */
  renew() {
    for (const abort of this.coming.values()) abort.abort();
    this.coming.clear();
    for (const page of this.pages.keys()) if (!this.wanted.includes(page)) this.pages.delete(page);
    this.old = new Set(this.pages.keys());
    this.broken = false;
    this.#next();
  }

  /** Put an image that was changed in its place. @param {StoredImage} image @returns {number} its place, -1 where it is not known */
  replace(image) {
    for (const [place, each] of this.known()) {
      if (each.image_id !== image.image_id) continue;
      const page = this.pages.get(Math.floor(place / SIZE));
      if (page) page[place % SIZE] = image;
      return place;
    }
    return -1;
  }

  /** The places of images that are known now. @returns {Generator<[number, StoredImage]>} */
  *known() {
    for (const [page, images] of this.pages) {
      for (const [place, image] of images.entries()) yield [page * SIZE + place, image];
    }
  }

  #next() {
    for (const page of this.wanted) {
      if (this.broken || this.coming.size >= TOGETHER) return;
      if ((!this.pages.has(page) || this.old.has(page)) && !this.coming.has(page)) void this.#fetch(page);
    }
  }

  /** @param {number} page */
  async #fetch(page) {
    const abort = new AbortController();
    this.coming.set(page, abort);
    try {
      const { images, total } = await this.fetchPage(page * SIZE, SIZE, abort.signal);
      if (this.coming.get(page) !== abort) return;
      this.coming.delete(page);
      this.pages.set(page, images);
      this.old.delete(page);
      if (total !== undefined) this.total = total;
      this.#trim();
      this.hear.arrived(page * SIZE, page * SIZE + images.length);
    } catch (problem) {
      if (this.coming.get(page) !== abort) return; // nobody waits for it any more
      this.coming.delete(page);
      this.broken = true;
      this.hear.failed(problem);
      return;
    }
    this.#next();
  }

  /** @param {number} page */
  #used(page) {
    const images = this.pages.get(page);
    if (!images) return;
    this.pages.delete(page);
    this.pages.set(page, images);
  }

  #trim() {
    for (const page of this.pages.keys()) {
      if (this.pages.size <= KEPT) return;
      if (this.wanted.includes(page)) continue;
      this.pages.delete(page);
      this.old.delete(page);
    }
  }
}
