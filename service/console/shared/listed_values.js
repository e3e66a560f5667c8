/** Several values in one field, with commas between them; one with a comma of its own stands in quotes. */

/** @param {string[]} values */
export function joined(values) {
  return values.map((each) => (/^[\s"]|,|\s$/.test(each) ? `"${each.replaceAll('"', '""')}"` : each)).join(", ");
}

/**
 * @param {string} text
 * @returns {string[]}
 */
export function separated(text) {
  const values = [];
  for (const [, quoted, plain] of text.matchAll(/\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))(?:,|$)/g)) {
    const value = quoted?.replaceAll('""', '"') ?? plain?.trim();
    if (value) values.push(value);
  }
  return values;
}
