/** A manifest.csv as the service reads it: a column path, known columns, and every further one an attribute. */

/** @typedef {{line: number, path: string, imageId: string | null, metadata: Record<string, unknown>}} Row */

const PLAIN = ["vehicle_id", "camera_id", "captured_at"];
const PASSED_OVER = new Set(["path", "image_id", "viewpoint", "box", "import_failure", ...PLAIN]);
const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/** The rows that name a picture; throws an Error that says what makes all of it unreadable. @param {string} text @returns {Row[]} */
export function manifestRows(text) {
  const [head, ...rows] = cells(text.replace(/^\ufeff/, ""));
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

/** RFC 4180. @param {string} text @returns {{line: number, cells: string[]}[]} */
export function cells(text) {
  const rows = [];
  let line = 1;
  let row = { line, cells: /** @type {string[]} */ ([]) };
  let at = 0;
  while (at < text.length) {
    let cell = "";
    if (text[at] === '"') {
      for (at += 1; at < text.length; at++) {
        if (text[at] === '"' && text[at + 1] !== '"') break;
        if (text[at] === '"') at += 1;
        if (text[at] === "\n") line += 1;
        cell += text[at];
      }
      at += 1;
    }
    const end = text.slice(at).search(/[,\r\n]/);
    cell += end < 0 ? text.slice(at) : text.slice(at, at + end);
    at = end < 0 ? text.length : at + end;
    row.cells.push(cell);
    if (text[at] === ",") {
      at += 1;
      if (at < text.length && text[at] !== "\r" && text[at] !== "\n") continue;
      row.cells.push("");
    }
    if (text[at] === "\r") at += 1;
    if (text[at] === "\n") at += 1;
    line += 1;
    if (row.cells.length > 1 || row.cells[0]) rows.push(row);
    row = { line, cells: [] };
  }
  return rows;
}
