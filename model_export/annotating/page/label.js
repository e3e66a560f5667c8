// The page of `vehicle-model annotate`. A key shows the next picture at once and is saved behind it, in order; while
// something cannot be saved no further key is taken, and it is tried again until it is.
"use strict";

const AHEAD = 10; // pictures held, all of them loaded
const REFILL_BELOW = 7;
const REMEMBERED = 50; // decisions whose pictures are kept for undo
const RENEW_MS = 45_000; // the server lends pictures for 120 s
const LOADS = 3; // tries before a picture counts as one that this browser cannot show

const element = (id) => document.getElementById(id);
const windowName = crypto.randomUUID();
const queue = []; // {picture, image, ready, loads}: the first is shown
const outbox = []; // {address, body, told, picture}: not saved yet
const history = []; // {entry, viewpoint}: what this window decided
const hidden = new Set(); // ids that this browser cannot show
let viewpoints = [];
let keys = new Map();
let guessHidden = localStorage.getItem("guess") === "hidden";
let refilling = false;
let sending = false;
let finished = false;
let failed = ""; // why the outbox is stuck

async function post(address, body) {
  const response = await fetch(address, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.detail), { status: response.status });
  return answer;
}

async function start() {
  for (;;) {
    try {
      const work = await (await fetch("work")).json();
      viewpoints = work.viewpoints;
      keys = new Map(viewpoints.flatMap((each) => each.keys.map((key) => [key, each.name])));
      const by = { uncertain: "most uncertain first", random: "in random order", manifest: "in the manifest's order" };
      element("work").textContent = `${work.model ? work.model + " · " : ""}${by[work.order]} → ${work.labels}`;
      element("hide").hidden = work.model === "";
      break;
    } catch {
      alarm("The server does not answer; is vehicle-model annotate still running?");
      await new Promise((wake) => setTimeout(wake, 1000));
    }
  }
  alarm("");
  element("viewpoints").replaceChildren(...viewpoints.map(viewpointButton));
  show();
  refill();
}

function viewpointButton(viewpoint) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.viewpoint = viewpoint.name;
  for (const [tag, kind, text] of [
    ["span", "fill", ""], ["kbd", "", viewpoint.keys[0]], ["span", "name", viewpoint.name],
    ["span", "told", ""], ["span", "guess", ""],
  ]) {
    const part = document.createElement(tag);
    part.className = kind;
    part.textContent = text;
    button.append(part);
  }
  button.addEventListener("click", () => { button.blur(); decide(viewpoint.name); });
  return button;
}

// ---- pictures ahead

async function refill() {
  if (refilling) return;
  refilling = true;
  try {
    const holding = [...queue.map((entry) => entry.picture.id), ...outbox.map((sent) => sent.picture?.id), ...hidden];
    const count = Math.max(0, AHEAD - queue.length);
    const answer = await post("next", { window: windowName, holding: holding.filter(Boolean), count });
    const gone = new Set(holding);
    for (const picture of answer.pictures) {
      if (!gone.has(picture.id) && !queue.some((entry) => entry.picture.id === picture.id)) queue.push(load(picture));
    }
    finished = count > 0 && answer.pictures.length === 0;
    state(answer);
    if (!failed) alarm("");
  } catch (error) {
    if (!failed) alarm(unanswered(error));
    setTimeout(refill, 2000);
  } finally {
    refilling = false;
  }
  show();
}

function load(picture, loads = 1) {
  const entry = { picture, image: new Image(), ready: false, loads };
  entry.image.alt = "the vehicle to label";
  entry.image.src = `pictures/${picture.id}`;
  entry.image.decode().then(() => { entry.ready = true; show(); }, () => unreadable(entry));
  return entry;
}

async function unreadable(entry) {
  try {
    const response = await fetch(`pictures/${entry.picture.id}`);
    if (response.status === 422 || response.status === 404) { // the server names it among the broken ones
      drop(entry);
      return;
    }
  } catch { /* the server is away: try again */ entry.loads -= 1; }
  await new Promise((wake) => setTimeout(wake, 1000));
  if (entry.loads >= LOADS) {
    hidden.add(entry.picture.id);
    element("last").textContent = `${entry.picture.path}: this browser cannot show it; left out`;
    drop(entry);
    return;
  }
  const place = queue.indexOf(entry);
  if (place >= 0) queue[place] = load(entry.picture, entry.loads + 1);
}

function drop(entry) {
  const place = queue.indexOf(entry);
  if (place >= 0) queue.splice(place, 1);
  show();
  refill();
}

// ---- decisions

function decide(viewpoint) {
  const entry = queue[0];
  if (!entry?.ready || failed) return; // nothing is decided about a picture that nobody has seen
  queue.shift();
  history.push({ entry, viewpoint });
  if (history.length > REMEMBERED) history.shift();
  send("decide", { picture: entry.picture.id, viewpoint }, entry.picture, viewpoint ?? "skipped");
  show();
  if (queue.length < REFILL_BELOW) refill();
}

async function undo() {
  if (failed) return;
  const past = history.pop();
  if (past) {
    queue.unshift(past.entry);
    send("undo", { window: windowName, picture: past.entry.picture.id }, past.entry.picture,
      `${past.viewpoint ?? "skip"} taken back`);
    show();
    return;
  }
  if (sending) return;
  try { // decided before this window was opened
    const answer = await post("undo", { window: windowName, picture: null });
    const there = queue.findIndex((entry) => entry.picture.id === answer.picture.id);
    queue.unshift(there >= 0 ? queue.splice(there, 1)[0] : load(answer.picture));
    told(`${answer.viewpoint ?? "skip"} taken back`, answer.picture, "saved");
    state(answer);
  } catch (error) {
    element("last").textContent = error.status ? error.message : unanswered(error);
  }
  show();
}

function send(address, body, picture, what) {
  outbox.push({ address, body, picture, what });
  told(what, picture, "saving…");
  deliver();
}

async function deliver() {
  if (sending) return;
  sending = true;
  while (outbox.length > 0) {
    const sent = outbox[0];
    try {
      state(await post(sent.address, sent.body));
      if (outbox.length === 1) told(sent.what, sent.picture, "saved");
    } catch (error) {
      if (error.status === undefined || error.status >= 500) {
        failed = `Not saved, trying again (${outbox.length} waiting): ${unanswered(error)}`;
        alarm(failed);
        await new Promise((wake) => setTimeout(wake, 1000));
        continue;
      }
      const place = history.findIndex((past) => past.entry.picture.id === sent.picture.id);
      if (sent.address === "decide" && place >= 0) history.splice(place, 1);
      if (sent.address === "decide") element("last").textContent = error.message;
    }
    outbox.shift();
    if (failed) { failed = ""; alarm(""); }
  }
  sending = false;
  if (queue.length < REFILL_BELOW) refill();
}

// ---- what is seen

function show() {
  const entry = queue[0];
  const shown = element("stage").querySelector("img");
  const image = entry?.ready ? entry.image : null;
  if (shown !== image) {
    shown?.remove();
    if (image) element("stage").append(image);
  }
  element("message").hidden = image !== null;
  element("message").textContent = entry || !finished ? "loading…" : "Nothing is left to label.";
  element("path").textContent = entry?.picture.path ?? "";
  const guess = guessHidden ? null : entry?.picture.guess;
  element("unsure").textContent = guess ? `uncertainty ${entry.picture.uncertainty.toFixed(2)}` : "";
  const best = guess ? guess.indexOf(Math.max(...guess)) : -1;
  [...element("viewpoints").children].forEach((button, n) => {
    button.classList.toggle("guessed", n === best);
    button.querySelector(".fill").style.setProperty("--share", guess ? guess[n].toFixed(3) : "0");
    button.querySelector(".guess").textContent = guess ? `${(100 * guess[n]).toFixed(guess[n] > 0.995 ? 1 : 0)} %` : "";
  });
  element("hide").setAttribute("aria-pressed", String(guessHidden));
  element("hide").lastElementChild.textContent = guessHidden ? "show guess" : "hide guess";
}

function state({ progress, broken }) {
  const number = (value) => value.toLocaleString("en");
  element("bar").max = Math.max(1, progress.total);
  element("bar").value = progress.done;
  element("count").textContent = `${number(progress.done)} of ${number(progress.total)}`;
  const left = progress.total - progress.done;
  const parts = [`${number(left)} left`];
  if (progress.skipped) parts.push(`${number(progress.skipped)} skipped`);
  if (progress.per_minute !== null) parts.push(`${Math.round(progress.per_minute)} a minute`);
  if (progress.seconds_left !== null && left > 0) parts.push(`${duration(progress.seconds_left)} to go`);
  element("pace").textContent = parts.join(" · ");
  for (const button of element("viewpoints").children) {
    button.querySelector(".told").textContent = `${number(progress.by_viewpoint[button.dataset.viewpoint])} so far`;
  }
  const list = element("broken");
  list.hidden = broken.length === 0;
  const others = broken.length > 1 ? `, and ${number(broken.length - 1)} more` : "";
  list.querySelector("summary").textContent = `Left out, cannot be read: ${broken.at(-1)?.path}${others}`;
  if (list.querySelectorAll("li").length !== broken.length) {
    list.querySelector("ul").replaceChildren(...broken.map(({ path, reason }) => {
      const line = document.createElement("li");
      line.textContent = `${path}: ${reason}`;
      return line;
    }));
  }
}

function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return "under a minute";
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function told(what, picture, how) {
  element("last").textContent = `${what} · ${picture.path} · ${how}`;
}

function unanswered(error) {
  return error.status ? error.message : "the server does not answer; is vehicle-model annotate still running?";
}

function alarm(text) {
  element("alarm").hidden = text === "";
  element("alarm").textContent = text;
}

function toggleGuess() {
  guessHidden = !guessHidden;
  localStorage.setItem("guess", guessHidden ? "hidden" : "shown");
  show();
}

// ---- keys, mouse, touch

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // Ctrl+R reloads, it is no rear
  const key = event.key.toLowerCase();
  const act = key === " " ? () => decide(null)
    : key === "backspace" || key === "u" ? undo
    : key === "h" ? toggleGuess
    : keys.has(key) ? () => decide(keys.get(key)) : null;
  if (act === null) return;
  event.preventDefault();
  if (!event.repeat) act(); // a key that is held down decides once
});
for (const [id, act] of [["skip", () => decide(null)], ["undo", undo], ["hide", toggleGuess]]) {
  element(id).addEventListener("click", () => { element(id).blur(); act(); });
}
addEventListener("beforeunload", (event) => { if (outbox.length > 0) event.preventDefault(); });
addEventListener("pagehide", () => {
  navigator.sendBeacon("leave", new Blob([JSON.stringify({ window: windowName })], { type: "application/json" }));
});
setInterval(refill, RENEW_MS);
start();
