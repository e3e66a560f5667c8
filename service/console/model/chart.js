/** Drawings of figures as SVG. Who cannot see them reads the same figures in the tables beside them. */

import { show, svg } from "../shared/element.js";

const WIDTH = 640;
const HEIGHT = 300;
const MARGIN = { left: 68, right: 16, top: 12, bottom: 56 };
const SPARK = { width: 110, height: 26 };

/** @typedef {{name: string, points: [number, number][], curve: boolean}} Series ``curve``: points are joined */
/** @typedef {{least: number, most: number, ticks: number[], words: string, octaves?: boolean}} Axis ``octaves``: 1 to 2 is as far as 2 to 4 */

/**
 * A small line of what something was lately; null where there was nothing. It tells nothing that does not stand beside it.
 * @param {number} most values that it holds
 */
export function sparkline(most) {
  /** @type {(number | null)[]} */
  const values = [];
  const line = svg("path", { class: "spark-line" });
  const element = svg("svg", { class: "spark", viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, width: SPARK.width, height: SPARK.height, "aria-hidden": "true", focusable: "false" }, line);
  return {
    element,
    /** @param {number | null} value */
    add: (value) => {
      values.push(value);
      if (values.length > most) values.shift();
      line.setAttribute("d", sparkPath(values, most));
    },
  };
}

/**
 * @param {(number | null)[]} values
 * @param {number} most
 */
function sparkPath(values, most) {
  const top = Math.max(0, ...values.map((value) => value ?? 0)) || 1;
  const start = most - values.length;
  let pen = "M";
  let path = "";
  values.forEach((value, at) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const x = ((start + at) / (most - 1)) * SPARK.width;
    const y = SPARK.height - 2 - (value / top) * (SPARK.height - 4);
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return path;
}

/**
 * Shares along an axis.
 * @param {Series[]} series
 * @param {Axis} axis
 * @param {string} words what it shows, for who cannot see it
 * @returns {SVGSVGElement}
 */
export function shareChart(series, axis, words) {
  const lowest = Math.min(...series.flatMap((each) => each.points.map(([, share]) => share)));
  const floor = Math.max(0, Math.floor((lowest - 0.02) * 10) / 10);
  const along = axis.octaves ? Math.log : (/** @type {number} */ value) => value;
  /** @param {number} value */
  const x = (value) => MARGIN.left + ((along(value) - along(axis.least)) / (along(axis.most) - along(axis.least))) * (WIDTH - MARGIN.left - MARGIN.right);
  /** @param {number} share */
  const y = (share) => MARGIN.top + ((1 - share) / (1 - floor)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const element = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  show(element,
    ...shareTicks(floor).map((share) => [
      svg("line", { class: "grid-line", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: y(share), y2: y(share) }),
      svg("text", { x: MARGIN.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${Math.round(share * 100)} %`),
    ]).flat(),
    ...axis.ticks.filter((value) => value <= axis.most).map((value) => svg("text", { x: x(value), y: HEIGHT - MARGIN.bottom + 22, "text-anchor": "middle" }, value)),
    svg("text", { x: (MARGIN.left + WIDTH - MARGIN.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, axis.words),
    ...series.map((each, number) => svg("g", { class: `series-${number % 4}` },
      each.curve ? svg("path", { class: "curve", d: each.points.map(([value, share], at) => `${at ? "L" : "M"}${x(value).toFixed(1)} ${y(share).toFixed(1)}`).join("") }) : null,
      ...(each.curve ? [] : each.points.map(([value, share]) => svg("circle", { cx: x(value), cy: y(share), r: 5 }))),
    )),
  );
  return element;
}

/** @param {number} floor */
function shareTicks(floor) {
  const step = 1 - floor > 0.5 ? 0.2 : 0.1;
  const made = [];
  for (let share = 1; share >= floor - 1e-9; share -= step) made.push(share);
  return made;
}
