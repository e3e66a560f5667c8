/**
 * Where pictures come from: files that were chosen, a folder, or what was dropped on the page. A folder is gone through
 * while it is sent, and may hold any number of files; one with a manifest.csv says itself what is known of each.
 */

import { derivedId, isArchive, isPicture, looseId } from "./picture_name.js";
import { manifestRows } from "./manifest_rows.js";

/** @typedef {import("./upload_run.js").Sent} Sent */
/** @typedef {{path: string, open: () => Promise<File>}} Found a file, by its path from the folder that was given */
/**
 * @typedef {object} Given
 * @property {string} told what it is, for people
 * @property {File[]} archives
 * @property {AsyncIterable<Found>} files
 * @property {number | null} count pictures, where that is known before they are sent
 * @property {number} others files that are neither pictures nor archives, as far as that is known
 * @property {boolean} folder whether paths name pictures
 */

const MANIFEST = "manifest.csv";
const OWN_MANIFEST = /^[^/]+\/manifest\.csv$/; // of a folder that was given, not of one inside

/** What somebody chose. @param {FileList | File[]} chosen @returns {Given} */
export function givenFiles(chosen) {
  const files = [...chosen];
  const archives = files.filter((file) => isArchive(file.name) && !file.webkitRelativePath);
  const others = files.filter((file) => !archives.includes(file));
  const folder = others.some((file) => file.webkitRelativePath);
  const name = others[0]?.webkitRelativePath.split("/")[0];
  const count = others.filter((file) => isPicture(file.name)).length;
  return {
    told: folder ? `the folder ${name}` : count === 1 ? "1 picture" : `${count} pictures`,
    archives, count, others: folder ? 0 : others.length - count, folder,
    files: listed(others.map((file) => ({ path: file.webkitRelativePath || file.name, open: async () => file }))),
  };
}

/** What somebody dropped; to be called at once, while the event is told. @param {DataTransfer} transfer @returns {Given} */
export function givenByDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry());
  const folders = entries.filter((entry) => entry?.isDirectory);
  if (folders.length === 0) return givenFiles(transfer.files);
  const archives = [...transfer.files].filter((file) => isArchive(file.name));
  const named = folders.map((entry) => entry?.name).join(", ");
  return {
    told: folders.length === 1 ? `the folder ${named}` : `the folders ${named}`,
    archives, count: null, others: 0, folder: true,
    files: walked(entries.filter((entry) => entry !== null)),
  };
}

/**
 * Pictures as they are sent, named, with what is known of each.
 *
 * @param {Given} given
 * @param {(file: File) => Record<string, unknown>} known what is the same for all, or follows from the file
 * @param {(problem: string) => void} odd hears what of a manifest is passed over
 * @returns {AsyncGenerator<Sent>}
 */
export async function* pictures(given, known, odd) {
  /** @type {Found | null} */
  let manifest = null;
  /** @type {Map<string, Found>} */
  let beside = new Map(); // files below the manifest's folder, by path
  for await (const found of given.files) {
    if (given.folder && OWN_MANIFEST.test(found.path)) {
      if (manifest) yield* ofManifest(manifest, beside, known, odd);
      [manifest, beside] = [found, new Map()];
    } else if (manifest && found.path.startsWith(folderOf(manifest))) beside.set(found.path, found);
    else if (isPicture(name(found.path))) {
      yield sent(found, (file) => ({ imageId: given.folder ? derivedId(found.path) : looseId(file), metadata: known(file) }));
    } else if (given.folder && isArchive(name(found.path))) odd(`${found.path} is an archive in the folder: add it by itself`);
  }
  if (manifest) yield* ofManifest(manifest, beside, known, odd);
}

/**
 * @param {Found} manifest @param {Map<string, Found>} beside @param {(file: File) => Record<string, unknown>} known
 * @param {(problem: string) => void} odd
 * @returns {AsyncGenerator<Sent>}
 */
async function* ofManifest(manifest, beside, known, odd) {
  const folder = folderOf(manifest);
  for (const row of manifestRows(await (await manifest.open()).text())) {
    const found = beside.get(folder + row.path);
    if (!found) {
      odd(`${row.path} of line ${row.line} of the manifest is not in the folder`);
      continue;
    }
    const box = row.metadata.box ? String(row.metadata.box) : "";
    yield sent(found, (file) => ({ imageId: row.imageId ?? derivedId(row.path, box), metadata: { ...known(file), ...row.metadata } }));
  }
}

/**
 * A picture that is to be sent; one whose file is gone by then fails alone, when it is read.
 * @param {Found} found
 * @param {(file: File) => {imageId: string, metadata: Record<string, unknown>}} describe
 * @returns {Promise<Sent>}
 */
async function sent(found, describe) {
  try {
    return { path: found.path, ...describe(await found.open()), read: found.open };
  } catch (error) {
    return { path: found.path, imageId: "", metadata: {}, read: () => Promise.reject(error) };
  }
}

/** @param {Found[]} files @returns {AsyncGenerator<Found>} */
async function* listed(files) {
  const manifest = files.find((file) => OWN_MANIFEST.test(file.path));
  if (manifest) yield manifest; // first, because it says what the others are
  for (const file of files) if (file !== manifest) yield file;
}

/** @param {FileSystemEntry[]} entries @returns {AsyncGenerator<Found>} */
async function* walked(entries) {
  for (const entry of entries) {
    if (entry.isFile) {
      const own = /** @type {FileSystemFileEntry} */ (entry);
      yield {
        path: entry.fullPath.replace(/^\//, ""), open: () => new Promise((found, lost) => own.file(found, lost)),
      };
      continue;
    }
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    const inside = [];
    for (;;) { // a hundred at a time
      const some = await new Promise((found, lost) => reader.readEntries(found, lost));
      if (some.length === 0) break;
      inside.push(...some);
    }
    inside.sort((one, other) => Number(other.name === MANIFEST) - Number(one.name === MANIFEST) || (one.name < other.name ? -1 : 1));
    yield* walked(inside);
  }
}

/** @param {string} path */
function name(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** @param {Found} manifest */
function folderOf(manifest) {
  return manifest.path.slice(0, -MANIFEST.length);
}
