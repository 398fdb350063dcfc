// Sends requests to /token and /leaky of the server that served this page, and shows the responses.

import { Chart, Level, PAST_MS } from "./chart.js";

const RECENT_MS = 5000; // the period of the request rates shown
const STREAM_MS = 60_000;
const MAX_PENDING = 12; // requests of a stream without a response, for each bucket
const MAX_REQUESTS = 2000; // kept for the chart

const { burst, trustCaller, policies, shape } = document.documentElement.dataset;
const find = id => document.getElementById(id);
const rounded = value => value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");

const TEXTS = {
  token: {
    title: "Token bucket", unit: "remaining",
    note: "A request takes tokens; the bucket refills at the rate. A burst passes at once.",
  },
  leaky: {
    title: "Leaky bucket", unit: "in the bucket",
    note: "A request adds tokens; the bucket leaks at the rate. Delays spread a burst evenly.",
  },
};

/** One bucket: its requests, and its part of the page. */
class Bucket {
  level = new Level();
  pending = 0;

  constructor(name) {
    this.name = name;
    this.card = find("card").content.firstElementChild.cloneNode(true);
    this.card.classList.add(name);
    this.card.id = name;
    this.card.setAttribute("aria-labelledby", `${name}-title`);
    this.part("h2").id = `${name}-title`;
    this.part("h2").textContent = TEXTS[name].title;
    this.part(".note").textContent = TEXTS[name].note;
    document.querySelector("main").append(this.card);
    this.clear();
    this.showCurl();
  }

  part(selector) { return this.card.querySelector(selector); }

  clear() {
    this.requests = []; // { sent, outcome, proceeds }
    this.counts = { allowed: 0, denied: 0, failed: 0 };
    this.level.steps = this.level.steps.slice(-1);
    this.showCounts();
  }

  get url() {
    const policy = find("policy").value.trim();
    const url = new URL(policy ? `${this.name}/${encodeURIComponent(policy)}` : this.name, location.href);
    for (const { name, value } of find("parameters").elements) {
      if (trustCaller === "true" && name && value.trim()) url.searchParams.append(name, value.trim());
    }
    return url;
  }

  showCurl() { this.part(".curl").textContent = `curl -i '${this.url}'`; }

  async send() {
    const sent = performance.now();
    this.pending += 1;
    let result;
    try {
      const response = await fetch(this.url, { cache: "no-store" });
      result = { response, text: await response.text() };
    } catch {
      result = { text: "no response" };
    }
    this.pending -= 1;
    this.receive(sent, performance.now(), result);
  }

  receive(sent, at, { response, text }) {
    let body = {};
    try { body = JSON.parse(text); } catch { /* from a proxy: shown as it is */ }
    const outcome = { true: "allowed", false: "denied" }[body.allowed] ?? "failed";
    this.counts[outcome] += 1;
    // With -shape, the server holds the response back for the delay.
    const delay_ms = body.delay_ms ?? 0, decided = shape === "true" ? at - delay_ms : at;
    this.requests.push({ sent, outcome, proceeds: decided + delay_ms });
    if (this.requests.length > MAX_REQUESTS) this.requests.shift();
    if (body.limit) this.level.update(sent, decided, body);
    else if (response?.status !== 400) this.level.setUnknown(at); // a 400 has charged nothing
    this.showResponse(response, text, body);
    this.showError(response, body);
    this.showCounts();
    scheduleDraw();
    scheduleSummary();
  }

  showResponse(response, text, { ip, message, error, allowed, ...numbers }) {
    const rows = Object.entries(numbers).map(([name, value]) => {
      const row = document.createElement("div"), isNever = name === "retry_after_ms" && value < 0;
      row.append(document.createElement("dt"), document.createElement("dd"));
      row.firstChild.textContent = name;
      const limits = name === "limits" && value.map(limit => `${limit.name} ${limit.remaining.toLocaleString("en")} of ${limit.limit.toLocaleString("en")}`).join(", ");
      row.lastChild.textContent = limits || (isNever ? "-1 (never)" : value.toLocaleString("en"));
      return row;
    });
    this.part(".numbers").replaceChildren(...rows);
    const headers = [...response?.headers ?? []].map(([name, value]) => `${name}: ${value}`);
    const status = response ? [`${response.status} ${response.statusText}`] : [];
    this.part(".response").textContent = [...status, ...headers, "", text].join("\n").trim();
  }

  showError(response, body) {
    const text = !response ? "rl-server does not respond."
      : body.degraded ? "Degraded: Redis is not available, so rl-server responds without it."
      : body.allowed === undefined ? `Not decided (${response.status}): ${body.error ?? response.statusText}.` : "";
    const error = this.part(".error");
    // Screen readers read an alert aloud whenever its text is set.
    if (error.textContent !== text) error.textContent = text;
    error.hidden = !text;
  }

  showCounts() {
    for (const [outcome, count] of Object.entries(this.counts)) {
      this.part(`[data-count=${outcome}]`).textContent = count.toLocaleString("en");
    }
  }

  showRates(at) {
    const recent = this.requests.filter(({ sent }) => sent > at - RECENT_MS);
    const allowed = recent.filter(({ outcome }) => outcome === "allowed");
    const perSecond = requests => `${rounded(requests.length * 1000 / RECENT_MS)}/s`;
    this.part("[data-rate=sent]").textContent = perSecond(recent);
    this.part("[data-rate=allowed]").textContent = perSecond(allowed);
  }

  /** The level shown: for a token bucket the tokens remaining, for a leaky bucket the tokens in it. */
  levelAt(step, at) {
    const used = this.level.used(step, at);
    return this.name === "token" ? step.limit - used : used;
  }

  get summary() {
    const { title, unit } = TEXTS[this.name];
    const { allowed, denied, failed } = this.counts, { last } = this.level;
    if (allowed + denied + failed === 0) return `${title}: no request yet.`;
    const level = last.limit
      ? `${Math.floor(this.levelAt(last, performance.now()))} of ${last.limit} ${unit}` : "level unknown";
    return `${title}: ${allowed} allowed, ${denied} denied, ${failed} not decided; ${level}.`;
  }

  draw(at) {
    const { last } = this.level, { unit } = TEXTS[this.name];
    const level = last.limit && this.levelAt(last, at);
    this.part("output").textContent = last.limit ? rounded(level) : "?";
    this.part(".level span").textContent = last.limit ? `of ${last.limit.toLocaleString("en")} ${unit}` : "unknown";
    this.part(".fill").setAttribute("y", 68 - 50 * (last.limit ? level / last.limit : 0));
    this.card.classList.toggle("moving", this.level.used(last, at) > 0);
    this.showRates(at);
    new Chart(this, at, Number(burst)).draw();
  }

  /** Whether the chart changes without a new response. */
  isMoving(at) {
    const { last } = this.level, request = this.requests.at(-1);
    return last.at + (last.reset_after_ms ?? 0) + PAST_MS > at ||
      (request && Math.max(request.proceeds, request.sent) + PAST_MS > at);
  }
}

const buckets = ["token", "leaky"].map(name => new Bucket(name));

const selected = () => buckets.filter(({ name }) => ["both", name].includes(find("target").value));

const sendOne = () => selected().forEach(bucket => bucket.send());

function sendBurst() {
  const size = find("burst-size");
  if (!size.reportValidity()) return;
  for (let n = 0; n < size.valueAsNumber; n += 1) sendOne();
}

let stream = null;

function setStream(isOn) {
  clearInterval(stream?.timer);
  stream = null;
  const perSecond = find("stream-rate");
  if (isOn && perSecond.reportValidity()) {
    const timer = setInterval(sendDue, 10);
    stream = { start: performance.now(), sent: 0, perSecond: perSecond.valueAsNumber, timer };
  }
  find("stream").classList.toggle("on", stream !== null);
  find("stream").firstChild.data = stream ? "Stop " : "Stream ";
}

/** Sends the requests of the stream that are due, and skips those that would exceed MAX_PENDING. */
function sendDue() {
  const elapsed_ms = performance.now() - stream.start;
  if (elapsed_ms > STREAM_MS) return setStream(false);
  const due = Math.floor(elapsed_ms * stream.perSecond / 1000);
  for (const bucket of selected()) {
    for (let n = stream.sent; n < due && bucket.pending < MAX_PENDING; n += 1) bucket.send();
  }
  stream.sent = due;
}

const SHORTCUTS = { r: sendOne, b: sendBurst, s: () => setStream(stream === null) };
find("one").addEventListener("click", SHORTCUTS.r);
find("burst").addEventListener("click", SHORTCUTS.b);
find("stream").addEventListener("click", SHORTCUTS.s);
find("clear").addEventListener("click", () => {
  buckets.forEach(bucket => bucket.clear());
  scheduleDraw();
});
find("controls").addEventListener("input", () => buckets.forEach(bucket => bucket.showCurl()));
find("controls").addEventListener("submit", event => event.preventDefault());
find("stream-rate").addEventListener("change", () => stream && setStream(true));
find("parameters").hidden = trustCaller !== "true";
find("policies").hidden = policies !== "true";
document.addEventListener("keydown", event => {
  const isTyping = event.target.closest("input:not([type=checkbox]), select");
  const isModified = event.ctrlKey || event.altKey || event.metaKey;
  if (!find("shortcuts").checked || isTyping || event.repeat || isModified) return;
  SHORTCUTS[event.key.toLowerCase()]?.();
});
document.addEventListener("visibilitychange", () => document.hidden ? setStream(false) : scheduleDraw());

// While something moves, the page is drawn at every frame, or each second for users who prefer reduced motion.
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
let frame = null;
function scheduleDraw() {
  if (frame !== null) return;
  frame = reducedMotion.matches ? setTimeout(draw, 1000) : requestAnimationFrame(draw);
}
function draw() {
  frame = null;
  const at = performance.now();
  buckets.forEach(bucket => bucket.draw(at));
  if (buckets.some(bucket => bucket.isMoving(at))) scheduleDraw();
}
new ResizeObserver(scheduleDraw).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", scheduleDraw);
draw();

// Screen readers get a summary at most each 1.5 s: one for each response would never end.
let summaryTimer = null;
function scheduleSummary() {
  summaryTimer ??= setTimeout(() => {
    summaryTimer = null;
    for (const bucket of buckets) bucket.part("canvas").setAttribute("aria-label", bucket.summary);
    find("summary").textContent = buckets.map(({ summary }) => summary).join(" ");
  }, 1500);
}
