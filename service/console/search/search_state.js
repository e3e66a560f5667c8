/** What is searched for, and how; and how that stands in the address of the page. */

import { filtersOf } from "../shared/filter_form.js";
import { QueryPicture } from "./query_picture.js";

/** @typedef {import("./query_picture.js").Box} Box */
/** @typedef {{picture: QueryPicture, boxes: Box[], chosen: number}} BroughtPart ``chosen``: which box is searched for; -1: the whole picture */
/** @typedef {{image_id: string}} StoredPart a picture of the gallery */
/** @typedef {BroughtPart | StoredPart} Part */
/** @typedef {{gallery: string, parts: Part[], filters: URLSearchParams, byVehicle: boolean, topK: number, threshold: number | null}} Search ``parts`` are of one vehicle */

export const MOST_PARTS = 8;
export const FIRST_RESULTS = 24;
export const MOST_RESULTS = 1000;

/**
 * @param {Part} part
 * @returns {part is BroughtPart}
 */
export function isBrought(part) {
  return "picture" in part;
}

/** @param {Part[]} parts */
export function broughtOf(parts) {
  return parts.filter(isBrought);
}

/**
 * @param {Part[]} parts
 * @returns {string[]}
 */
export function storedOf(parts) {
  return parts.flatMap((part) => (isBrought(part) ? [] : [part.image_id]));
}

/** @param {BroughtPart} part */
export function boxOf(part) {
  return part.boxes[part.chosen] ?? null;
}

/** @param {Part} part */
export function partKey(part) {
  const box = isBrought(part) ? boxOf(part) : null;
  return isBrought(part) ? `${part.picture.handle} ${box === null ? "" : boxText(box)}` : part.image_id;
}

/** @param {Box} box */
export function boxText({ x, y, width, height }) {
  return `${x},${y},${width},${height}`;
}

/**
 * The boxes of kept pictures as the API wants them, one for each; none where all are searched for whole.
 * @param {BroughtPart[]} parts
 */
export function boxesOf(parts) {
  if (parts.every((part) => boxOf(part) === null)) return [];
  return parts.map((part) => boxText(boxOf(part) ?? { x: 0, y: 0, width: part.picture.width, height: part.picture.height }));
}

/**
 * @param {Search} search
 * @returns {URLSearchParams}
 */
export function parametersOf(search) {
  const parameters = new URLSearchParams();
  if (search.gallery !== "default") parameters.set("gallery", search.gallery);
  const brought = broughtOf(search.parts);
  for (const part of brought) parameters.append("query_id", part.picture.address);
  if (brought.some((part) => boxOf(part) !== null)) for (const part of brought) parameters.append("box", textOrNone(boxOf(part)));
  if (brought.some((part) => part.boxes.length > (boxOf(part) === null ? 0 : 1))) {
    for (const part of brought) parameters.append("boxes", part.boxes.map(boxText).join(";"));
  }
  for (const image of storedOf(search.parts)) parameters.append("image_id", image);
  for (const [name, value] of search.filters) parameters.append(name, value);
  if (search.byVehicle) parameters.set("group_by", "vehicle_id");
  if (search.topK !== FIRST_RESULTS) parameters.set("top_k", String(search.topK));
  if (search.threshold !== null) parameters.set("threshold", String(search.threshold));
  return parameters;
}

/**
 * The search that an address stands for; ``lost``: it names a picture that nobody has kept.
 * @param {URLSearchParams} parameters
 * @returns {{search: Search, lost: boolean}}
 */
export function searchOf(parameters) {
  const boxes = parameters.getAll("box").map(boxOfText);
  const lists = parameters.getAll("boxes").map((text) => text.split(";").map(boxOfText).filter((box) => box !== null));
  /** @type {Part[]} */
  const parts = [];
  let lost = false;
  for (const [number, handle] of parameters.getAll("query_id").entries()) {
    const picture = QueryPicture.named(handle);
    if (picture === null) lost = true;
    else parts.push(partOf(picture, boxes[number] ?? null, lists[number] ?? []));
  }
  for (const image_id of parameters.getAll("image_id")) parts.push({ image_id });
  const topK = Number(parameters.get("top_k") ?? FIRST_RESULTS);
  const threshold = Number(parameters.get("threshold") ?? NaN);
  return { lost, search: {
    gallery: parameters.get("gallery") || "default", parts: parts.slice(0, MOST_PARTS), filters: filtersOf(parameters), byVehicle: parameters.get("group_by") === "vehicle_id",
    topK: Number.isInteger(topK) && topK >= 1 && topK <= MOST_RESULTS ? topK : FIRST_RESULTS, threshold: threshold >= 0 ? threshold : null,
  } };
}

/**
 * @param {QueryPicture} picture
 * @param {Box | null} box
 * @param {Box[]} list
 */
function partOf(picture, box, list) {
  const boxes = [...list];
  let chosen = box === null ? -1 : boxes.findIndex((each) => boxText(each) === boxText(box));
  if (box !== null && chosen === -1) chosen = boxes.push(box) - 1;
  return { picture, boxes, chosen };
}

/** @param {Box | null} box */
function textOrNone(box) {
  return box === null ? "" : boxText(box);
}

/**
 * @param {string} text
 * @returns {Box | null}
 */
function boxOfText(text) {
  if (!/^\d+,\d+,[1-9]\d*,[1-9]\d*$/.test(text)) return null;
  const [x = 0, y = 0, width = 1, height = 1] = text.split(",").map(Number);
  return { x, y, width, height };
}
