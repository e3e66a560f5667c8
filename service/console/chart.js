/** Drawings of figures as SVG. Who cannot see them reads the same figures in the tables beside them. */

import { show, svg } from "./element.js";

const WIDTH = 640;
const HEIGHT = 300;
const MARGIN = { left: 68, right: 16, top: 12, bottom: 56 };
const SPARK = { width: 110, height: 26 };

/** @typedef {{name: string, points: [number, number][], curve: boolean}} Series ``curve``: points are joined */

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
 * Shares by rank, ranks as octaves: what happens among the first few is what counts.
 * @param {Series[]} series
 * @param {string} words what it shows, for who cannot see it
 * @returns {SVGSVGElement}
 */
export function rankChart(series, words) {
  const last = Math.max(2, ...series.flatMap((each) => each.points.map(([rank]) => rank)));
  const least = Math.min(...series.flatMap((each) => each.points.map(([, share]) => share)));
  const floor = Math.max(0, Math.floor((least - 0.02) * 10) / 10);
  /** @param {number} rank */
  const x = (rank) => MARGIN.left + (Math.log(rank) / Math.log(last)) * (WIDTH - MARGIN.left - MARGIN.right);
  /** @param {number} share */
  const y = (share) => MARGIN.top + ((1 - share) / (1 - floor)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const element = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  show(element,
    ...ticks(floor).map((share) => [
      svg("line", { class: "grid-line", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: y(share), y2: y(share) }),
      svg("text", { x: MARGIN.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${Math.round(share * 100)} %`),
    ]).flat(),
    ...[1, 2, 5, 10, 20, 50].filter((rank) => rank <= last).map((rank) => svg("text", { x: x(rank), y: HEIGHT - MARGIN.bottom + 22, "text-anchor": "middle" }, rank)),
    svg("text", { x: (MARGIN.left + WIDTH - MARGIN.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "among the first … matches"),
    ...series.map((each, number) => svg("g", { class: `series-${number % 4}` },
      each.curve ? svg("path", { class: "curve", d: each.points.map(([rank, share], at) => `${at ? "L" : "M"}${x(rank).toFixed(1)} ${y(share).toFixed(1)}`).join("") }) : null,
      ...(each.curve ? [] : each.points.map(([rank, share]) => svg("circle", { cx: x(rank), cy: y(share), r: 5 }))),
    )),
  );
  return element;
}

/** @param {number} floor */
function ticks(floor) {
  const step = 1 - floor > 0.5 ? 0.2 : 0.1;
  const made = [];
  for (let share = 1; share >= floor - 1e-9; share -= step) made.push(share);
  return made;
}
