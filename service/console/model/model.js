/** The page "Model and health": what the model can do, how the service is, who may call, what works in the background. */

import { Problem, connection, get } from "../shared/api.js";
import { auditView } from "./audit_view.js";
import { contractView } from "./contract_view.js";
import { h, show } from "../shared/element.js";
import { feedbackView } from "./feedback_view.js";
import { healthView } from "./health_view.js";
import { importView } from "./import_view.js";
import { keyView } from "./key_view.js";
import { migrationView } from "./migration_view.js";
import { closed, focusPart, refusal } from "./parts.js";
import { poll } from "./poll.js";
import { askCaller } from "../shared/rights.js";
import { startPage, tell } from "../shared/shell.js";

const EVERY = 2000; // milliseconds between two looks at the service
const SELDOM = 10_000; // between two looks at imports of which none is at work

const place = startPage();
const banner = h("p", { class: "banner", role: "alert", hidden: true });

/**
 * A part of the page; what fills it comes into the element that it is returned with.
 * @param {string} id
 * @param {string} title
 * @param {string} [live] "off": what changes in it by itself is not told
 */
function part(id, title, live) {
  const inner = h("div", { class: "stack", "aria-live": live });
  return { inner, title, id, element: h("section", { class: "part", "aria-labelledby": id }, h("h2", { id, tabindex: "-1" }, title), inner) };
}

const parts = {
  health: part("health", "How it is now", "off"), galleries: part("galleries", "Galleries", "off"), model: part("model", "Model"),
  found: part("found", "How well it finds vehicles"), imports: part("imports", "Imports", "off"), moves: part("moves", "Moves to another model", "off"),
  feedback: part("feedback", "Feedback"), keys: part("keys", "API keys"), audit: part("audit", "Audit log"),
};
place.append(banner,
  h("nav", { class: "within", "aria-label": "On this page" }, ...Object.values(parts).map((each) => h("a", { href: `#${each.id}` }, each.title))),
  ...Object.values(parts).map((each) => each.element));

const health = healthView(banner, parts.health.inner, parts.galleries.inner);
const contract = contractView(parts.model.inner, parts.found.inner);
const feedback = feedbackView(parts.feedback.inner);
const keys = keyView(parts.keys.inner);
const audit = auditView(parts.audit.inner);
const imports = importView(parts.imports.inner, () => importsLook.now().then(() => focusPart(parts.imports.inner)));
const moves = migrationView(parts.moves.inner, () => look.now().then(() => focusPart(parts.moves.inner)));

/** @typedef {import("../shared/rights.js").Caller} Caller */

/** @type {Caller | null} */
let caller = null;
/** @type {boolean | null} */
let audited = null;
let model = "";
let importing = false;
let meetings = 0;

/** Who looks; asks for a key where one is wanted. What does not change by itself is then shown anew. */
async function meet() {
  meetings += 1;
  const own = meetings;
  try {
    const met = await askCaller();
    if (own !== meetings) return; // there is another key by now
    caller = met;
  } catch (error) {
    if (own !== meetings) return;
    caller = null;
    if (!(error instanceof Problem)) {
      tell(error);
      return;
    }
    for (const each of Object.values(parts)) show(each.inner, refusal(error, "This could not be asked for"));
    return;
  }
  model = "";
  audited = null;
  keys(caller);
  feedback(caller);
  if (!caller.may("read")) audit(caller, null);
  look.now();
  importsLook.now();
}

/**
 * Show anew what changes seldom, where it has changed.
 * @param {Caller} who
 * @param {any} status
 */
function settle(who, status) {
  if (audited !== status.audit) audit(who, status.audit);
  if (model !== status.model.fingerprint) contract(who);
  audited = status.audit;
  model = status.model.fingerprint;
}

const look = poll(async () => {
  if (caller === null) return health.ready(null);
  if (!caller.may("read")) {
    for (const each of [parts.health, parts.galleries, parts.model, parts.found, parts.moves]) {
      if (each.inner.querySelector(".closed") === null) show(each.inner, closed("This part", caller, "read"));
    }
    return health.ready(null);
  }
  let status = null;
  try {
    status = await get("/v1/status", {}, { quiet: true, patience: 0 });
    health.update(status);
    moves(caller, status.galleries, status.model.embedding_space);
    settle(caller, status);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return meet();
    if (error instanceof Problem) health.fail(error);
  }
  return health.ready(status);
}, () => EVERY);

const importsLook = poll(async () => {
  if (caller !== null) importing = await imports(caller);
}, () => (importing ? EVERY : SELDOM));

connection.addEventListener("key", meet);
connection.addEventListener("back", () => { if (caller === null) meet(); });
meet();
