// Sends requests to /token and /leaky of the server that served this page, and shows the responses.

import { Chart, Level, PAST_MS, PROCEEDING } from "./chart.js";
import { Demonstration } from "./demonstration.js";

const RECENT_MS = 5000; // the period of the request rates shown
const STREAM_MS = 60_000;
const MAX_PENDING = 12; // requests of a stream without a response, for each bucket
const MAX_REQUESTS = 2000; // kept for the chart

const ERROR_MS = 1000; // how long an error stays after the last response that has it
const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const { rate, burst, trustCaller, shape } = document.documentElement.dataset;
const find = id => document.getElementById(id);
const rounded = value => value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");

const TEXTS = {
  token: {
    title: "Token bucket", unit: "remaining",
    note: "A request takes tokens; the bucket refills at the rate. A burst passes at once.",
    level: "tokens that remain",
    delay: "none: an allowed request proceeds when its response arrives",
  },
  leaky: {
    title: "Leaky bucket", unit: "in the bucket",
    note: "A request adds tokens; the bucket leaks at the rate. Delays spread a burst evenly.",
    level: "tokens in the bucket",
    delay: "a line from each allowed request to the time when it proceeds",
  },
};

const DRY_RUN = "Dry run: the server allows every request of this policy, and counts those that it would deny.";

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
    this.part("h2").textContent = this.title;
    this.part(".note").textContent = TEXTS[name].note;
    this.part(".level-text").textContent = TEXTS[name].level;
    this.part(".delay-text").textContent = TEXTS[name].delay;
    this.part(".dry-run").textContent = DRY_RUN;
    find("buckets").append(this.card);
    this.clear();
    this.showCurl();
  }

  get title() { return TEXTS[this.name].title; }

  part(selector) { return this.card.querySelector(selector); }

  clear() {
    this.requests = []; // { sent, outcome, delay_ms, proceeds }
    this.counts = { allowed: 0, denied: 0, would_deny: 0, degraded: 0, failed: 0 };
    this.level.steps = this.level.steps.slice(-1);
    this.showError("");
    this.part(".dry-run").hidden = true;
    this.showCounts();
    this.showSummary();
  }

  /** Starts anew: the next request is for a bucket of another policy. */
  forget() {
    this.level = new Level();
    this.clear();
    this.showCurl();
  }

  get isEmpty() { return Object.values(this.counts).every(count => count === 0); }

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
    const outcome = outcomeOf(body);
    this.counts[outcome] += 1;
    if (body.degraded) this.counts.degraded += 1;
    // With -shape, the server holds the response back for the delay. A dry run delays nothing.
    const delay_ms = body.dry_run ? 0 : body.delay_ms ?? 0, decided = shape === "true" ? at - delay_ms : at;
    this.requests.push({ sent, outcome, delay_ms, proceeds: decided + delay_ms });
    if (this.requests.length > MAX_REQUESTS) this.requests.shift();
    if (body.limit) this.level.update(sent, decided, body);
    else if (response?.status !== 400) this.level.setUnknown(at); // a 400 has charged nothing
    this.showResponse(response, text, body);
    this.showError(errorText(response, body));
    this.part(".dry-run").hidden = !body.dry_run;
    this.showCounts();
    scheduleDraw();
    scheduleSummary();
  }

  showResponse(response, text, { ip, message, error, allowed, degraded, dry_run, ...numbers }) {
    const rows = Object.entries(numbers).map(([name, value]) => {
      const row = document.createElement("div"), isNever = name === "retry_after_ms" && value < 0;
      row.append(document.createElement("dt"), document.createElement("dd"));
      row.firstChild.textContent = name;
      const limits = name === "limits" && value.map(limitText).join(", ");
      row.lastChild.textContent = limits || (isNever ? "-1 (never)" : value.toLocaleString("en"));
      return row;
    });
    this.part(".numbers").replaceChildren(...rows);
    const headers = [...response?.headers ?? []].map(([name, value]) => `${name}: ${value}`);
    const status = response ? [`${response.status} ${response.statusText}`] : [];
    this.part(".response").textContent = [...status, ...headers, "", text].join("\n").trim();
  }

  /** Shows the error at once, and its end after ERROR_MS without one: while both come, the page does not flicker. */
  showError(text) {
    const error = this.part(".error");
    if (!text) {
      const end = () => {
        this.errorEnd = null;
        error.textContent = "";
        error.hidden = true;
      };
      this.errorEnd ??= setTimeout(end, this.isEmpty ? 0 : ERROR_MS);
      return;
    }
    clearTimeout(this.errorEnd);
    this.errorEnd = null;
    // Screen readers read an alert aloud whenever its text is set.
    if (error.textContent !== text) error.textContent = text;
    error.hidden = false;
  }

  showCounts() {
    for (const [outcome, count] of Object.entries(this.counts)) {
      const shown = this.part(`[data-count=${outcome}]`);
      shown.textContent = count.toLocaleString("en");
      if (outcome === "would_deny" || outcome === "degraded") shown.parentElement.hidden = count === 0;
    }
    this.part("[data-key=would_deny]").hidden = this.counts.would_deny === 0;
    this.part(".results").hidden = this.isEmpty;
    this.part(".level").hidden = this.isEmpty;
  }

  showRates(at) {
    const recent = this.requests.filter(({ sent }) => sent > at - RECENT_MS);
    const allowed = recent.filter(({ outcome }) => PROCEEDING.includes(outcome));
    const perSecond = requests => `${rounded(requests.length * 1000 / RECENT_MS)}/s`;
    this.part("[data-rate=sent]").textContent = perSecond(recent);
    this.part("[data-rate=allowed]").textContent = perSecond(allowed);
  }

  /** The level shown: for a token bucket the tokens remaining, for a leaky bucket the tokens in it. */
  levelAt(step, at) {
    const used = this.level.used(step, at);
    return this.name === "token" ? step.limit - used : used;
  }

  /** The level now: "12 of 20 remaining". */
  get levelText() {
    const { last } = this.level;
    if (!last.limit) return "level unknown";
    return `${Math.floor(this.levelAt(last, performance.now()))} of ${last.limit} ${TEXTS[this.name].unit}`;
  }

  get summary() {
    const { allowed, denied, would_deny, failed } = this.counts;
    if (this.isEmpty) return `${this.title}: no request yet.`;
    const dryRun = would_deny > 0 ? `${would_deny} would be denied, ` : "";
    return `${this.title}: ${allowed} allowed, ${denied} denied, ${dryRun}${failed} not decided; ${this.levelText}.`;
  }

  showSummary() { this.part("canvas").setAttribute("aria-label", this.summary); }

  draw(at) {
    const { last } = this.level, { unit } = TEXTS[this.name];
    const isKnown = Boolean(last.limit), level = isKnown && this.levelAt(last, at);
    this.part("output").textContent = isKnown ? rounded(level) : "?";
    this.part(".level span").textContent = isKnown ? `of ${last.limit.toLocaleString("en")} ${unit}` : "unknown";
    // Before the first request the picture is that of a bucket that nobody has used.
    const share = isKnown ? level / last.limit : Number(this.isEmpty && this.name === "token");
    this.part(".fill").setAttribute("y", 68 - 50 * share);
    this.card.classList.toggle("moving", this.level.used(last, at) > 0);
    if (this.isEmpty) return;
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

/** What happened to a request: one of the keys of a bucket's counts. */
function outcomeOf({ allowed, dry_run, retry_after_ms }) {
  if (allowed === undefined) return "failed";
  if (!allowed) return "denied";
  return dry_run && retry_after_ms ? "would_deny" : "allowed"; // 0 if the decision is to allow
}

function errorText(response, body) {
  if (!response) return "rl-server does not respond.";
  if (body.degraded) {
    const how = body.limit ? "decides by a bucket of its own" : "allows every request";
    return `Degraded: Redis does not decide, so rl-server ${how}.`;
  }
  if (body.allowed !== undefined) return "";
  const [, overload] = /^overloaded: (.*)/.exec(body.error) ?? [];
  if (overload) return `Overloaded (${response.status}): ${overload}.`;
  return `Not decided (${response.status}): ${body.error ?? response.statusText}.`;
}

const limitText = ({ name, remaining, limit }) =>
  `${name} ${remaining.toLocaleString("en")} of ${limit.toLocaleString("en")}`;

const buckets = ["token", "leaky"].map(name => new Bucket(name));

const selected = () => buckets.filter(({ name }) => ["both", name].includes(find("target").value));

const sendOne = () => Promise.all(selected().map(bucket => bucket.send()));

async function sendBurst() {
  const size = find("burst-size");
  if (isValid(size)) await Promise.all(Array.from({ length: size.valueAsNumber }, sendOne));
}

/** Whether the value of a field is valid. If not, the browser says so beside the field. */
function isValid(field) {
  find("own").open ||= !field.validity.valid;
  return field.reportValidity();
}

let stream = null;

/** Starts or ends the stream. Its end is the end of the demonstration too. */
function setStream(isOn) {
  clearInterval(stream?.timer);
  stream = null;
  const perSecond = find("stream-rate");
  if (isOn && isValid(perSecond)) {
    const timer = setInterval(sendDue, 10);
    stream = { start: performance.now(), sent: 0, perSecond: perSecond.valueAsNumber, timer };
  }
  if (!stream) demonstration.stop();
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

const demonstration = new Demonstration({ selected, sendBurst, setStream });

function showSizes() {
  find("burst-text").textContent = find("burst-size").value;
  find("stream-text").textContent = find("stream-rate").value;
}

/** Sets the sizes of the burst and the stream so that the policy of -rate and -burst denies some of the requests. */
function setSizes() {
  const [, count, periods, unit] = /^(\d+)\/(\d*)(\w+)$/.exec(rate);
  const perSecond = count * 1000 / ((periods || 1) * UNIT_MS[unit]);
  find("burst-size").value = Math.min(Math.ceil(burst * 1.25), 200);
  find("stream-rate").value = Math.min(Math.max(Math.ceil(perSecond * 3), 5), 100);
  showSizes();
}

const SHORTCUTS = {
  m: () => demonstration.toggle(), r: sendOne, b: sendBurst, s: () => setStream(stream === null),
};
find("show").addEventListener("click", SHORTCUTS.m);
find("one").addEventListener("click", SHORTCUTS.r);
find("burst").addEventListener("click", SHORTCUTS.b);
find("stream").addEventListener("click", SHORTCUTS.s);
find("clear").addEventListener("click", () => {
  buckets.forEach(bucket => bucket.clear());
  scheduleDraw();
});
find("policy").addEventListener("change", () => {
  buckets.forEach(bucket => bucket.forget());
  scheduleDraw();
});
find("controls").addEventListener("input", () => {
  buckets.forEach(bucket => bucket.showCurl());
  showSizes();
});
find("controls").addEventListener("submit", event => event.preventDefault());
find("stream-rate").addEventListener("change", () => stream && setStream(true));
find("parameters").hidden = trustCaller !== "true";
find("policies").hidden = find("policy").options.length === 1;
for (const details of document.querySelectorAll("details")) {
  details.open = !matchMedia("(max-width: 40rem)").matches; // a phone has no room for them
}
setSizes();
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
new ResizeObserver(scheduleDraw).observe(find("buckets"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", scheduleDraw);
draw();

// Screen readers get a summary at most each 1.5 s: one for each response would never end.
let summaryTimer = null;
function scheduleSummary() {
  summaryTimer ??= setTimeout(() => {
    summaryTimer = null;
    buckets.forEach(bucket => bucket.showSummary());
    // The demonstration reports its own results.
    if (!demonstration.isRunning) find("summary").textContent = buckets.map(({ summary }) => summary).join(" ");
  }, 1500);
}
