/** A manifest.csv as the service reads it: a column path, known columns, and every further one an attribute. */

import { csvRows } from "../shared/csv.js";

/** @typedef {{line: number, path: string, imageId: string | null, metadata: Record<string, unknown>}} Row */

const PLAIN = ["vehicle_id", "camera_id", "captured_at"];
const PASSED_OVER = new Set(["path", "image_id", "viewpoint", "box", "import_failure", ...PLAIN]);
const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/** The rows that name a picture; throws an Error that says what makes all of it unreadable. @param {string} text @returns {Row[]} */
export function manifestRows(text) {
  const [head, ...rows] = csvRows(text.replace(/^\ufeff/, ""));
  const columns = head?.cells ?? [];
  if (!columns.includes("path")) throw new Error("manifest.csv has no column path; columns are separated by commas");
  return rows.flatMap((row) => {
    /** @type {Map<string, string>} */
    const said = new Map(columns.map((column, place) => [column, (row.cells[place] ?? "").trim()]));
    const path = said.get("path")?.replaceAll("\\", "/").replace(/^\.\//, "");
    if (!path) return [];
    /** @type {Record<string, unknown>} */
    const metadata = {};
    for (const name of PLAIN) if (said.get(name)) metadata[name] = said.get(name);
    const box = said.get("box");
    if (box) metadata.box = box.split(",").map(Number);
    const attributes = [...said].filter(([name, value]) => value && !PASSED_OVER.has(name));
    if (attributes.length) metadata.attributes = Object.fromEntries(attributes.map(([name, value]) => [name, NUMBER.test(value) ? Number(value) : value]));
    return [{ line: row.line, path, imageId: said.get("image_id") || null, metadata }];
  });
}
