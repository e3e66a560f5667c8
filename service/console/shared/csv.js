/** Tables as text, with commas between their cells. */

/** The rows of a text as RFC 4180 has it, with the line that each begins on; empty ones are left out. @param {string} text @returns {{line: number, cells: string[]}[]} */
export function csvRows(text) {
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
