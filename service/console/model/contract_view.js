/** What the model says of itself: its contract in people's words, how well it finds vehicles and names viewpoints. */

import { change, get } from "../shared/api.js";
import { shareChart } from "./chart.js";
import { confirmDanger } from "../shared/dialogs.js";
import { h, show } from "../shared/element.js";
import { copyButton, facts, refusal, table } from "./parts.js";
import { notice, tell } from "../shared/shell.js";
import { countWords, numberWords, timeWords } from "../shared/words.js";

/** @typedef {import("../shared/rights.js").Caller} Caller */
/** @typedef {{viewpoints: string[], confusion: number[][], mean: number, recall: Record<string, number>, pictures: number, unknown: number}} Naming */
/** @typedef {{rank_1: number, rank_5: number, rank_10: number, map: number, minp?: number, probes: number, gallery: number, interval?: number[], map_interval?: number[], cmc?: number[], part?: string, protocol?: string, viewpoint?: Naming}} Figures */

/** @typedef {{form: string, parameters: any, ranks: number, prior: number, data_set: string}} Meaning */

const RANKS = [1, 2, 3, 5, 10, 20, 50];
const ASPECTS = /** @type {Record<string, string>} */ ({ stretch: "stretched to that size", pad: "fitted into it, the rest grey" });

/**
 * The parts "Model" and "How well it finds vehicles"; ``show`` fills them anew.
 * @param {HTMLElement} about
 * @param {HTMLElement} measured
 */
export function contractView(about, measured) {
  const refresh = async (/** @type {Caller} */ caller) => {
    try {
      const model = await get("/v1/model", {}, { quiet: true });
      show(about, ...contractParts(model, caller, () => refresh(caller)));
      show(measured, ...figureParts(model.contract));
    } catch (error) {
      show(about, refusal(error, "The model could not be asked for"));
      show(measured, h("p", { class: "faint" }, "Shown when the model above can be asked for."));
    }
  };
  return refresh;
}

/**
 * @param {any} model
 * @param {Caller} caller
 * @param {() => void} changed
 */
function contractParts(model, caller, changed) {
  const { contract } = model;
  const [height, width] = contract.input_size;
  const known = contract.viewpoints.length > 1;
  return [
    facts([
      ["Name", contract.name],
      ["What it makes of a picture", `${numberWords(contract.embedding_dim)} numbers${contract.normalized ? ", together of length 1" : ""}; the smaller the distance between those of two pictures, the more alike the vehicles`],
      ["What it looks at", `the vehicle at ${width} × ${height} pixels, ${ASPECTS[contract.resize.aspect] ?? contract.resize.aspect}`],
      ["Viewpoints it tells apart", known ? contract.viewpoints.join(", ") : "none: one network for all"],
      ["Network", `${contract.backbone}, computes in ${contract.precision}`],
      ["Runs on", model.provider],
      ["Learnt from", contract.trained_on.join(", ") || "not said"],
      ["Viewpoints learnt from", known ? contract.viewpoint_labels_from || "not said" : null],
      ["Made", timeWords(contract.created_at)],
      ["Fingerprint", [h("code", { class: "hash" }, model.fingerprint), copyButton(model.fingerprint, "the fingerprint")]],
      ["Embedding space", [h("code", { class: "hash" }, contract.embedding_space), " – vectors of one space can be compared"]],
      ["Previous model", model.previous ? `${model.previous.contract.name}: it answers for galleries that have not moved yet` : null],
    ]),
    h("details", {}, h("summary", {}, "The whole contract, as programs read it"), h("pre", { class: "scroll", tabindex: "0", role: "group", "aria-label": "The contract as JSON" }, JSON.stringify(contract, null, 2))),
    caller.everywhere("admin")
      ? h("div", { class: "row" }, h("button", { type: "button", onclick: () => reload(changed) }, "Load the model file again…"), h("span", { class: "faint small" }, "where it was replaced on the disk; searches go on meanwhile"))
      : h("p", { class: "faint small" }, `Loading the file again ${caller.wants("admin", true)}.`),
  ];
}

/** @param {() => void} changed */
async function reload(changed) {
  if (!(await confirmDanger("Load the model file again?", "The file on the disk is opened and checked; if it can be used, it answers from then on. Galleries whose vectors it cannot compare keep it from being used.", "Load it"))) return;
  try {
    const told = await change("POST", "/v1/model/reload");
    notice(told.changed ? `${told.new.name} answers now; loading it took ${told.seconds} s.` : "The file on the disk is the one that was loaded already.");
    changed();
  } catch (error) {
    tell(error, "The model was not loaded");
  }
}

/** @param {any} contract */
function figureParts(contract) {
  const { metrics } = contract;
  /** @type {[string, Figures][]} */
  const sets = Object.entries(metrics).filter(([, each]) => typeof each?.rank_1 === "number");
  /** @type {[string, Naming][]} */
  const named = sets.flatMap(([name, each]) => (each.viewpoint ? [/** @type {[string, Naming]} */ ([name, each.viewpoint])] : []));
  return [
    ...(sets.length ? findingParts(sets) : [h("p", { class: "empty" }, "This file does not say how well it finds vehicles. ", h("code", {}, "vehicle-model evaluate FILE --data SPEC --into FILE"), " measures it and writes it into the file.")]),
    ...(contract.probability ? probabilityParts(contract.probability) : []),
    h("h3", {}, "Naming the viewpoint"),
    ...(contract.viewpoints.length < 2 ? [h("p", { class: "faint" }, "This model knows one viewpoint, so there is nothing to name.")] : namingParts(named, metrics.viewpoint)),
    ...(metrics.parity ? parityParts(metrics.parity, contract.precision) : []),
  ];
}

/** @param {[string, Figures][]} sets */
function findingParts(sets) {
  const series = sets.map(([name, each]) => ({
    name,
    curve: Boolean(each.cmc?.length),
    points: /** @type {[number, number][]} */ (each.cmc?.length ? each.cmc.map((share, at) => [at + 1, share]) : [[1, each.rank_1], [5, each.rank_5], [10, each.rank_10]]),
  }));
  const bare = series.filter((each) => !each.curve).map((each) => each.name);
  const words = `How often a picture of the same vehicle is among the first matches. ${series.map((each) => `${each.name}: ${each.points.filter(([rank]) => [1, 5, 10, 50].includes(rank)).map(([rank, share]) => `${percent(share)} among the first ${rank}`).join(", ")}`).join(". ")}.`;
  return [
    h("p", {}, "Each picture is searched for among those of the other cameras. Where the model learnt from the same data set, only vehicles that were kept out are searched for."),
    h("figure", {}, shareChart(series, { least: 1, most: Math.max(...series.flatMap((each) => each.points.map(([rank]) => rank))), ticks: [1, 2, 5, 10, 20, 50], words: "among the first … matches", octaves: true }, words), h("figcaption", { class: "legend" }, ...series.map((each, number) => h("span", { class: `key series-${number % 4}` }, each.name)))),
    asTable("Among the first … matches", RANKS, series.map((each) => [each.name, new Map(each.points)])),
    bare.length ? h("p", { class: "faint small" }, `Of ${bare.join(" and ")} the file holds ranks 1, 5 and 10 only, drawn as dots; `, h("code", {}, "vehicle-model evaluate … --into FILE"), " adds the whole curve.") : null,
    table("How well the model finds vehicles, by data set", ["Data set", "First match right", "Among the first 5", "Among the first 10", "Mean average precision", "Measured with"],
      h("tbody", {}, ...sets.map(([name, each]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, withInterval(each.rank_1, each.interval)), h("td", {}, percent(each.rank_5)), h("td", {}, percent(each.rank_10)), h("td", {}, withInterval(each.map, each.map_interval)), h("td", {}, `${countWords(each.probes, "search", "searches")} among ${countWords(each.gallery, "picture")}${each.part ? `, ${each.part}` : ""}`))))),
    h("p", { class: "faint small" }, "In brackets: between these the true share lies with 95 % certainty."),
  ];
}

/** @param {Meaning} meaning */
function probabilityParts(meaning) {
  const most = meaning.form === "isotonic" ? Math.max(...meaning.parameters.distances) * 1.05 : Math.max(0.1, (2 * meaning.parameters.intercept) / meaning.parameters.slope);
  const step = most > 4 ? 1 : most > 1.5 ? 0.5 : 0.2;
  const ticks = Array.from({ length: Math.floor(most / step) + 1 }, (_, at) => Number((at * step).toFixed(1)));
  const points = Array.from({ length: 101 }, (_, at) => /** @type {[number, number]} */ ([(at / 100) * most, likelihood(meaning, (at / 100) * most)]));
  const words = `How likely a match shows the same vehicle, by its distance: ${ticks.map((distance) => `${percent(likelihood(meaning, distance), 0)} at ${distance}`).join(", ")}.`;
  return [
    h("h3", {}, "What a distance means"),
    h("p", {}, `How likely a match shows the same vehicle, learnt of the ${numberWords(meaning.ranks)} nearest matches of each search of ${meaning.data_set}, of which ${percent(meaning.prior)} were right. It is true where as many are.`),
    h("figure", {}, shareChart([{ name: "likely", curve: true, points }], { least: 0, most, ticks, words: "distance" }, words)),
    asTable("Distance", ticks, [["likely", new Map(ticks.map((distance) => [distance, likelihood(meaning, distance)]))]]),
  ];
}

/**
 * What a drawing shows as a table, for who would rather read it, or cannot see it.
 * @param {string} name of what goes along
 * @param {number[]} values of it
 * @param {[string, Map<number, number>][]} rows shares by value
 */
function asTable(name, values, rows) {
  const shown = values.filter((value) => rows.some(([, shares]) => shares.has(value)));
  const cells = (/** @type {Map<number, number>} */ shares) => shown.map((value) => h("td", {}, shares.has(value) ? percent(shares.get(value) ?? 0) : "–"));
  return h("details", { class: "small" }, h("summary", {}, "The same as a table"), table(`${name}, as drawn above`, [name, ...shown.map(String)], h("tbody", {}, ...rows.map(([row, shares]) => h("tr", {}, h("th", { scope: "row" }, row), ...cells(shares))))));
}

/**
 * @param {Meaning} meaning
 * @param {number} distance
 */
function likelihood(meaning, distance) {
  if (meaning.form === "logistic") return 1 / (1 + Math.exp(meaning.parameters.slope * distance - meaning.parameters.intercept));
  const { distances, probabilities } = meaning.parameters;
  const right = distances.findIndex((/** @type {number} */ each) => each > distance);
  const [far = 0, low = 0] = right < 0 ? [distances.at(-1), probabilities.at(-1)] : [distances[right], probabilities[right]];
  const [near = far, high = low] = right > 0 ? [distances[right - 1], probabilities[right - 1]] : [];
  return far === near ? low : high + ((low - high) * (distance - near)) / (far - near);
}

/**
 * @param {[string, Naming][]} named
 * @param {Record<string, number> | undefined} places shares of V-Net's own training, by place
 */
function namingParts(named, places) {
  const origins = Object.entries(places ?? {}).filter(([name, share]) => !name.includes("/") && name !== "mean" && Number.isFinite(share));
  if (named.length === 0 && origins.length === 0) return [h("p", { class: "faint" }, "This file does not say how well it names viewpoints; ", h("code", {}, "vehicle-model evaluate … --into FILE"), " adds it where pictures have a viewpoint.")];
  return [
    ...named.map(([name, each]) => table(
      h("caption", {}, `On ${name}: ${percent(each.mean)} named right, the mean over viewpoints, of ${countWords(each.pictures, "picture")}`),
      ["People say", ...each.viewpoints.map((view) => `model: ${view}`)],
      h("tbody", {}, ...each.viewpoints.map((view, row) => h("tr", {}, h("th", { scope: "row" }, view), ...confusionCells(each.confusion[row] ?? [], row)))), "confusion",
    )),
    origins.length ? facts(origins.map(([name, share]) => [name, percent(share)])) : null,
  ];
}

/**
 * @param {number[]} counts
 * @param {number} own
 */
function confusionCells(counts, own) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count, column) => {
    const cell = h("td", { class: column === own ? "right" : "" }, all ? `${percent(count / all)} ` : "– ", h("span", { class: "faint small" }, `(${numberWords(count)})`));
    cell.style.setProperty("--share", all ? `${(count / all) * 100}%` : "0%");
    return cell;
  });
}

/**
 * @param {any} parity
 * @param {string} precision
 */
function parityParts(parity, precision) {
  return [
    h("h3", {}, `What computing in ${precision} costs`),
    facts([
      ["Mean average precision", `${percent(parity.own.map, 2)}, in fp32 ${percent(parity.fp32.map, 2)} (on ${parity.data_set})`],
      ["First match right", `${percent(parity.own.rank_1)}, in fp32 ${percent(parity.fp32.rank_1)}`],
      ["How far vectors move", `${percent(parity.drift_p50)} of their length for half of the pictures, at most ${percent(parity.drift_p99)} for 99 of 100`],
      ["Mixed with fp32 in one gallery", parity.keeps_space ? `loses ${percent(parity.map_lost, 2)}: vectors of both may stand together` : "loses too much: it has an embedding space of its own"],
    ]),
  ];
}

/**
 * @param {number} share
 * @param {number} [digits]
 */
function percent(share, digits = 1) {
  return `${(share * 100).toFixed(digits)} %`;
}

/**
 * @param {number} share
 * @param {number[] | undefined} interval
 */
function withInterval(share, interval) {
  const [low, high] = interval ?? [];
  return low === undefined || high === undefined ? percent(share) : `${percent(share)} (${(low * 100).toFixed(1)}–${(high * 100).toFixed(1)})`;
}
