/**
 * Pictures of an archive by their names, read on this side: those that the service could not add are shown as they are.
 * ZIP (stored and deflated entries, ZIP64), TAR and TAR in gzip; of other archives nothing is shown.
 *
 * Formats: APPNOTE.TXT 6.3.10 (PKWARE); pax of POSIX.1-2008, and the long names of GNU tar.
 */

const MOST_BYTES = 64 << 20; // of one picture
const LONGEST_NAME = 1 << 20; // bytes of what a TAR says of an entry
const BLOCK = 512; // bytes of a TAR
const CP437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"; // from 128 on

/**
 * @param {Blob} archive
 * @param {Set<string>} names as the service tells them
 * @param {(name: string, picture: Blob) => void} found
 */
export async function archivedPictures(archive, names, found) {
  const start = new Uint8Array(await archive.slice(0, 4).arrayBuffer());
  if (start[0] === 0x50 && start[1] === 0x4b) await ofZip(archive, names, found);
  else if (start[0] === 0x1f && start[1] === 0x8b) await ofTar(archive.stream().pipeThrough(new DecompressionStream("gzip")), names, found);
  else await ofTar(archive.stream(), names, found);
}

/** A name with "/" between its parts, as the service writes it. @param {string} name */
function plain(name) {
  return name.normalize("NFC").replaceAll("\\", "/").split("/").filter((part) => part !== "" && part !== ".").join("/");
}

/** @param {Blob} archive @param {number} start @param {number} size @returns {Promise<DataView<ArrayBuffer>>} */
async function view(archive, start, size) {
  return new DataView(await archive.slice(start, start + size).arrayBuffer());
}

/** @param {Blob} archive @param {Set<string>} names @param {(name: string, picture: Blob) => void} found */
async function ofZip(archive, names, found) {
  const { at, size } = await directory(archive);
  const entries = await view(archive, at, size);
  for (let place = 0; place + 46 <= entries.byteLength && entries.getUint32(place, true) === 0x02014b50; ) {
    const [nameLength, extraLength, comment] = [28, 30, 32].map((where) => entries.getUint16(place + where, true));
    const after = place + 46 + (nameLength ?? 0);
    const name = plain(nameOf(new Uint8Array(entries.buffer, place + 46, nameLength)));
    if (names.has(name)) {
      const packed = await entryOf(archive, entries, place, after, extraLength ?? 0);
      if (packed !== null) found(name, packed);
    }
    place = after + (extraLength ?? 0) + (comment ?? 0);
  }
}

/** A name of a ZIP: in UTF-8, or as IBM PCs wrote it. @param {Uint8Array} bytes */
function nameOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return [...bytes].map((byte) => (byte < 128 ? String.fromCharCode(byte) : CP437[byte - 128])).join("");
  }
}

/** Where the list of a ZIP's entries lies, and how many bytes it has. @param {Blob} archive */
async function directory(archive) {
  const from = Math.max(0, archive.size - 65_557 - 20);
  const tail = await view(archive, from, archive.size - from);
  for (let place = tail.byteLength - 22; place >= 0; place--) {
    if (tail.getUint32(place, true) !== 0x06054b50) continue;
    const [size, at] = [tail.getUint32(place + 12, true), tail.getUint32(place + 16, true)];
    const large = place >= 20 && tail.getUint32(place - 20, true) === 0x07064b50;
    if (!large || (at !== 0xffffffff && size !== 0xffffffff)) return { at, size };
    const end = await view(archive, Number(tail.getBigUint64(place - 12, true)), 56);
    return { at: Number(end.getBigUint64(48, true)), size: Number(end.getBigUint64(40, true)) };
  }
  return { at: 0, size: 0 };
}

/**
 * The bytes of an entry; null where it cannot be shown.
 * @param {Blob} archive
 * @param {DataView} entries
 * @param {number} place of the entry
 * @param {number} extra where more is said of it
 * @param {number} extraLength
 */
async function entryOf(archive, entries, place, extra, extraLength) {
  const [flags, method] = [entries.getUint16(place + 8, true), entries.getUint16(place + 10, true)];
  let [packed, size, at] = /** @type {[number, number, number]} */ ([20, 24, 42].map((where) => entries.getUint32(place + where, true)));
  for (let field = extra; field + 4 <= extra + extraLength; field += 4 + entries.getUint16(field + 2, true)) {
    if (entries.getUint16(field, true) !== 1) continue;
    let next = field + 4; // ZIP64: those that have no room above, in this order
    const large = () => Number(entries.getBigUint64((next += 8) - 8, true));
    if (size === 0xffffffff) size = large();
    if (packed === 0xffffffff) packed = large();
    if (at === 0xffffffff) at = large();
  }
  if ((flags & 1) !== 0 || size > MOST_BYTES || packed > MOST_BYTES || (method !== 0 && method !== 8)) return null;
  const own = await view(archive, at, 30);
  const start = at + 30 + own.getUint16(26, true) + own.getUint16(28, true);
  const bytes = archive.slice(start, start + packed);
  if (method === 0) return bytes;
  return inflated(bytes);
}

/** @param {Blob} bytes */
async function inflated(bytes) {
  const read = new Incoming(bytes.stream().pipeThrough(new DecompressionStream("deflate-raw")));
  try {
    return new Blob([await read.upTo(MOST_BYTES)]); // whatever size it says of itself
  } catch {
    return null; // it is damaged, which the service has said
  } finally {
    read.end();
  }
}

/** @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream @param {Set<string>} names @param {(name: string, picture: Blob) => void} found */
async function ofTar(stream, names, found) {
  const read = new Incoming(stream);
  const text = new TextDecoder();
  const word = (/** @type {Uint8Array} */ bytes) => text.decode(bytes).split("\0", 1)[0] ?? "";
  const wanted = new Set(names);
  let [long, longSize] = ["", -1]; // what was said of the next entry
  while (wanted.size > 0) {
    const head = await read.exactly(BLOCK);
    if (head === null || head.every((byte) => byte === 0)) break;
    const size = longSize >= 0 ? longSize : numberOf(head.subarray(124, 136));
    const kind = String.fromCharCode(head[156] ?? 0);
    const room = Math.ceil(size / BLOCK) * BLOCK;
    if ((kind === "x" || kind === "L") && size <= LONGEST_NAME) {
      const told = await read.exactly(room);
      if (told === null) break;
      if (kind === "L") long = word(told);
      else {
        const said = paxOf(told.subarray(0, size));
        long = said.get("path") ?? long;
        longSize = Number(said.get("size") ?? -1);
      }
      continue;
    }
    const prefix = word(head.subarray(257, 262)) === "ustar" ? word(head.subarray(345, 500)) : "";
    const name = plain(long || (prefix ? `${prefix}/` : "") + word(head.subarray(0, 100)));
    [long, longSize] = ["", -1];
    if ((kind === "0" || kind === "\0" || kind === "7") && wanted.delete(name) && size <= MOST_BYTES) {
      const bytes = await read.exactly(room);
      if (bytes === null) break;
      found(name, new Blob([bytes.subarray(0, size)]));
    } else if (!(await read.skip(room))) break;
  }
  read.end();
}

/** A number of a TAR: octal digits, or binary where its first bit says so. @param {Uint8Array} bytes */
function numberOf(bytes) {
  if ((bytes[0] ?? 0) & 0x80) return bytes.subarray(4).reduce((number, byte) => number * 256 + byte, 0);
  return Number.parseInt(new TextDecoder().decode(bytes), 8) || 0;
}

/** What a pax header says: lines of "LENGTH NAME=VALUE". @param {Uint8Array} bytes */
function paxOf(bytes) {
  const text = new TextDecoder();
  /** @type {Map<string, string>} */
  const said = new Map();
  for (let place = 0; place < bytes.length; ) {
    const length = Number.parseInt(text.decode(bytes.subarray(place, place + 20)), 10);
    if (!(length > 0)) break;
    const line = text.decode(bytes.subarray(place, place + length - 1));
    const [, name = "", value = ""] = /^\d+ ([^=]*)=([^]*)$/.exec(line) ?? [];
    said.set(name, value);
    place += length;
  }
  return said;
}

/** Bytes of a stream, some at a time. */
class Incoming {
  /** @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream */
  constructor(stream) {
    this.reader = stream.getReader();
    /** @type {Uint8Array<ArrayBuffer>} */
    this.held = new Uint8Array(0);
  }

  /** Whether there are more in hand. */
  async more() {
    const { done, value } = await this.reader.read();
    this.held = value ?? new Uint8Array(0);
    return !done;
  }

  /** The next ones; null where there are not so many any more. @param {number} count */
  async exactly(count) {
    const bytes = await this.upTo(count);
    return bytes.length < count ? null : bytes;
  }

  /** @param {number} most */
  async upTo(most) {
    const parts = [];
    let length = 0;
    while (length < most && (this.held.length > 0 || await this.more())) {
      const part = this.held.subarray(0, most - length);
      parts.push(part);
      length += part.length;
      this.held = this.held.subarray(part.length);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /** @param {number} count */
  async skip(count) {
    for (let left = count; left > 0; ) {
      if (this.held.length === 0 && !(await this.more())) return false;
      const gone = Math.min(left, this.held.length);
      this.held = this.held.subarray(gone);
      left -= gone;
    }
    return true;
  }

  end() {
    this.reader.cancel().catch(() => {}); // a damaged stream has ended by itself
  }
}
