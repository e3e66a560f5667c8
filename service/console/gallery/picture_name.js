/**
 * What a picture is called that nobody named: the ids that imports and the Python client give, so that sending a folder
 * again replaces its pictures instead of doubling them.
 */

const UNFIT = /[^A-Za-z0-9._-]/gu;
const LONGEST = 128;
const KEPT = 100; // characters of a path that is made fit by a hash
const PICTURES = /\.(jpe?g|mpo|png|webp|bmp|gif)$/i;
const ARCHIVES = /\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$/i;

/** Whether a file is a picture by its name; what macOS writes beside every file is none. @param {string} name */
export function isPicture(name) {
  return PICTURES.test(name) && !name.startsWith("._");
}

/** @param {string} name */
export function isArchive(name) {
  return ARCHIVES.test(name);
}

/** The image_id of a path, and of a box where it has one. @param {string} path @param {string} [box] */
export function derivedId(path, box = "") {
  const text = box ? `${path}/${box.replaceAll(",", "-")}` : path;
  const readable = text.split("/").map((part) => part.replace(UNFIT, "-")).join(":");
  if (readable === text.replaceAll("/", ":") && text.length <= LONGEST && /^[A-Za-z0-9]/.test(text)) return readable;
  const digest = sha256(new TextEncoder().encode(text)).slice(0, 16);
  return `${readable.replace(/^[._:-]+/, "").slice(0, KEPT)}-${digest}`.replace(/^-+/, "");
}

/** The id of a file that came alone, whose name may be that of many. @param {File} file */
export function looseId(file) {
  const digest = sha256(new TextEncoder().encode(`${file.name}/${file.size}/${file.lastModified}`)).slice(0, 12);
  const stem = file.name.replace(/\.[^.]*$/, "").replace(UNFIT, "-").replace(/^[._-]+/, "").slice(0, 60);
  return stem ? `${stem}-${digest}` : digest;
}

const ROOTS = roots(64, 3);
const STARTS = roots(8, 2);

/** The first 32 bits of the fractions of roots of the first primes. @param {number} count @param {number} degree */
function roots(count, degree) {
  const found = [];
  for (let number = 2; found.length < count; number++) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= number; divisor++) prime &&= number % divisor !== 0;
    if (prime) found.push(fraction(number, degree));
  }
  return found;
}

/** @param {number} number @param {number} degree */
function fraction(number, degree) {
  const scaled = BigInt(number) << BigInt(32 * degree); // the root of it is the root of the number, 32 bits up
  let low = 0n;
  let high = 1n << 40n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(degree) <= scaled) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn);
}

/**
 * FIPS 180-4, of a short text. Browsers have their own where a page came by HTTPS or from this machine, and nowhere else.
 *
 * @param {Uint8Array} data
 * @returns {string} 64 hexadecimal digits
 */
export function sha256(data) {
  const length = (((data.length + 8) >> 6) + 1) << 6;
  const padded = new DataView(new ArrayBuffer(length));
  for (const [place, byte] of data.entries()) padded.setUint8(place, byte);
  padded.setUint8(data.length, 0x80);
  padded.setUint32(length - 8, Math.floor(data.length / 2 ** 29));
  padded.setUint32(length - 4, data.length << 3);
  const state = Uint32Array.from(STARTS);
  const words = new Uint32Array(64);
  for (let block = 0; block < length; block += 64) {
    for (let at = 0; at < 16; at++) words[at] = padded.getUint32(block + 4 * at);
    for (let at = 16; at < 64; at++) {
      const early = of(words, at - 15);
      const late = of(words, at - 2);
      words[at] = of(words, at - 16) + (turned(early, 7) ^ turned(early, 18) ^ (early >>> 3)) + of(words, at - 7)
        + (turned(late, 17) ^ turned(late, 19) ^ (late >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = /** @type {number[]} */ ([...state]);
    for (let at = 0; at < 64; at++) {
      const [a1, b1, c1, e1, f1, g1] = /** @type {[number, number, number, number, number, number]} */ ([a, b, c, e, f, g]);
      const first = (/** @type {number} */ (h) + (turned(e1, 6) ^ turned(e1, 11) ^ turned(e1, 25)) + ((e1 & f1) ^ (~e1 & g1))
        + /** @type {number} */ (ROOTS[at]) + of(words, at)) | 0;
      const second = ((turned(a1, 2) ^ turned(a1, 13) ^ turned(a1, 22)) + ((a1 & b1) ^ (a1 & c1) ^ (b1 & c1))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (/** @type {number} */ (d) + first) | 0, c, b, a, (first + second) | 0];
    }
    for (const [at, value] of [a, b, c, d, e, f, g, h].entries()) state[at] = of(state, at) + /** @type {number} */ (value);
  }
  return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
}

/** @param {Uint32Array} words @param {number} at @returns {number} */
function of(words, at) {
  return /** @type {number} */ (words[at]);
}

/** @param {number} word @param {number} bits */
function turned(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}
