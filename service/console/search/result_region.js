/** What a search found: how many, how near, as a grid; or why there is nothing. */

import { ChosenMatches } from "./chosen_matches.js";
import { DistanceThreshold } from "./distance_threshold.js";
import { h, show } from "../shared/element.js";
import { compare } from "./match_comparison.js";
import { ResultGrid } from "./result_grid.js";
import { MOST_RESULTS } from "./search_state.js";
import { errorWords } from "../shared/shell.js";
import { countWords, distanceWords, numberWords } from "../shared/words.js";

/** @typedef {import("./search_state.js").Search} Search */
/** @typedef {import("./search_request.js").Answer} Answer */
/** @typedef {import("./search_request.js").Match} Match */
/** @typedef {import("./attention_map.js").AttentionMaps} AttentionMaps */
/** @typedef {{like: (image_id: string) => void, add: (image_ids: string[]) => void, threshold: (threshold: number | null) => void, topK: (count: number) => void, withoutFilters: () => void, again: () => void}} Actions */

export class ResultRegion {
  /**
   * @param {Actions} actions
   * @param {AttentionMaps} maps
   */
  constructor(actions, maps) {
    this.actions = actions;
    /** What was searched for. @type {Search | null} */
    this.search = null;
    /** @type {Match[]} */
    this.matches = [];
    this.chosen = new ChosenMatches({ changed: () => this.drawChosen(), add: actions.add });
    this.grid = new ResultGrid({
      like: (match) => actions.like(match.image_id), add: (match) => actions.add([match.image_id]),
      compare: (match) => { if (this.search) compare(this.search, this.matches, match, maps); }, pick: (match, picked) => this.chosen.set([match.image_id], picked),
    }, maps);
    this.threshold = new DistanceThreshold(actions.threshold);
    this.threshold.moving = (threshold) => this.grid.fade(threshold);
    this.status = h("p", { class: "status", role: "status", "aria-live": "polite" });
    this.progress = h("progress", { "aria-label": "Searching" });
    this.failure = h("div", { class: "failure", role: "alert" });
    this.tools = h("div", { class: "result-tools card" }, this.threshold.element, h("div", { class: "row" },
      h("button", { type: "button", onclick: () => this.chooseWithin() }, "Choose all within"), maps.toggle()));
    this.more = h("button", { type: "button", onclick: () => { if (this.search) actions.topK(Math.min(MOST_RESULTS, this.search.topK * 2)); } }, "More results");
    this.nothing = h("div", { class: "empty" });
    this.element = h("section", { class: "results", id: "results", tabindex: -1, "aria-label": "Results", "aria-busy": "false" },
      h("div", { class: "row apart" }, h("h2", {}, "Results"), this.status), h("div", { class: "progress-place" }, this.progress), this.failure, this.tools, this.grid.element, this.nothing,
      h("div", { class: "row centre" }, this.more), this.chosen.element);
    this.clear();
  }

  /**
   * @param {Search} search
   * @param {Answer} answer
   */
  found(search, answer) {
    const inside = this.grid.element.contains(document.activeElement);
    this.clear();
    this.search = search;
    this.matches = answer.matches;
    this.grid.take(search, this.matches, (image) => this.chosen.images.has(image));
    this.threshold.take(this.matches.map((match) => match.distance), search.threshold, search.byVehicle ? ["vehicle", "vehicles"] : ["match", "matches"]);
    this.drawChosen();
    const some = this.matches.length > 0;
    const full = this.matches.length >= search.topK;
    this.tools.hidden = this.grid.element.hidden = !some;
    this.more.hidden = !full || search.topK >= MOST_RESULTS;
    this.nothing.hidden = some;
    const what = search.byVehicle ? countWords(this.matches.length, "vehicle") : countWords(this.matches.length, "match", "matches");
    const milliseconds = numberWords(Math.round(answer.timing_ms.total));
    const [first] = this.matches;
    show(this.status, first ? `${full ? `The ${what.replace(" ", " nearest ")}` : what}, from a distance of ${distanceWords(first.distance)} on. Found in ${milliseconds} ms.` : "No matches.");
    if (!some) this.sayNothing(search);
    if (inside) this.element.focus({ preventScroll: true }); // what had the focus is gone
  }

  /** @param {Search} search */
  sayNothing(search) {
    if (search.filters.size > 0) {
      show(this.nothing, h("p", {}, "No picture of this gallery passes the filters."), h("button", { type: "button", onclick: this.actions.withoutFilters }, "Search without filters"));
    } else {
      show(this.nothing, h("p", {}, "This gallery has no other pictures."), h("a", { href: `/gallery?gallery=${encodeURIComponent(search.gallery)}` }, "Add pictures on the page Gallery"));
    }
  }

  /** @param {unknown} error */
  fail(error) {
    this.clear();
    show(this.failure, h("p", {}, errorWords(error)), h("button", { type: "button", onclick: this.actions.again }, "Try again"));
  }

  /** Show nothing of an earlier search. */
  clear() {
    this.search = null;
    this.matches = [];
    this.tools.hidden = this.grid.element.hidden = this.more.hidden = this.nothing.hidden = true;
    show(this.failure);
    show(this.status);
    this.busy(false);
  }

  /** @param {boolean} is */
  busy(is) {
    this.element.setAttribute("aria-busy", String(is));
    this.element.classList.toggle("busy", is);
    this.progress.hidden = !is;
    if (is) show(this.failure);
  }

  /** Show which matches are chosen. */
  drawChosen() {
    this.grid.pick((image) => this.chosen.images.has(image));
    this.chosen.draw(this.search);
  }

  chooseWithin() {
    const { value } = this.threshold;
    this.chosen.set(this.matches.filter((match) => value === null || match.distance <= value).map((match) => match.image_id), true);
  }
}
