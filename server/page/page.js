// Asks /token and /leaky of the server that served this page, and draws what they answer.

const PAST_MS = 9000, FUTURE_MS = 3000; // what a picture shows
const RECENT_MS = 5000; // what the rates are taken over
const STREAM_MS = 60_000;
const MOST_WAITING = 12; // requests of a stream without an answer yet, for each bucket
const MOST_KEPT = 2000; // marks and steps

const { burst, trustCaller, shape } = document.documentElement.dataset;
const find = id => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const rounded = value => value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");

const WORDS = {
  token: {
    title: "Token bucket", unit: "tokens left",
    note: "Tokens drip in; a request takes some. A burst passes at once, then the rate.",
  },
  leaky: {
    title: "Leaky bucket", unit: "in the bucket",
    note: "Requests pour in; it leaks. The same pass, each told its delay: a burst comes out evenly.",
  },
};

/** What is used of a bucket, as answers told it: between two of them it sinks as the first one said. */
class Level {
  steps = []; // { at, limit, used, lasts_ms }; without a limit nobody knows
  rate = 0; // tokens per millisecond

  used(step, at) {
    return step.lasts_ms > 0 ? step.used * clamp(1 - (at - step.at) / step.lasts_ms, 0, 1) : 0;
  }

  get last() { return this.steps.at(-1) ?? {}; }

  /** By the answer to a request that was asked and decided at these times. */
  correct(asked, decided, { limit, remaining, reset_after_ms: lasts_ms }) {
    // `remaining` is rounded down and `reset_after_ms` up, so that each answer gives bounds of the rate.
    const most = limit - remaining, least = Math.max(most - 1, 0);
    const slowest = lasts_ms > 0 ? least / lasts_ms : 0;
    const fastest = lasts_ms > 1 ? most / (lasts_ms - 1) : Infinity;
    const fits = this.rate >= slowest * 0.5 && this.rate <= fastest * 2;
    if (lasts_ms > 0) this.rate = clamp(fits ? this.rate : most / lasts_ms, slowest, fastest);
    const told = { at: decided, limit, used: clamp(this.rate * lasts_ms, least, most), lasts_ms };
    // Answers to requests at the same time may come in any order: the one that says more was decided later.
    const { last } = this, at = Math.max(decided, last.at ?? 0);
    const isOlder = last.limit === limit && asked < last.at && this.used(last, at) > this.used(told, at);
    const step = isOlder ? last : told;
    this.#add({ at, limit, used: this.used(step, at), lasts_ms: step.at + step.lasts_ms - at });
  }

  /** Nobody knows from now on. */
  lose(at) { if (this.last.limit) this.#add({ at }); }

  #add(step) {
    this.steps.push(step);
    if (this.steps.length > MOST_KEPT) this.steps.shift();
  }
}

/** One bucket: its requests, and its part of the page. */
class Bucket {
  level = new Level();
  waiting = 0;

  constructor(name) {
    this.name = name;
    this.card = find("card").content.firstElementChild.cloneNode(true);
    this.card.classList.add(name);
    this.card.id = name;
    this.card.setAttribute("aria-labelledby", `${name}-title`);
    this.part("h2").id = `${name}-title`;
    this.part("h2").textContent = WORDS[name].title;
    this.part(".note").textContent = WORDS[name].note;
    document.querySelector("main").append(this.card);
    this.clear();
    this.showQuestion();
  }

  part(selector) { return this.card.querySelector(selector); }

  clear() {
    this.marks = []; // { asked, kind, acts }
    this.counts = { allowed: 0, denied: 0, failed: 0 };
    this.level.steps = this.level.steps.slice(-1);
    this.showCounts();
  }

  get url() {
    const url = new URL(this.name, location.href);
    for (const { name, value } of find("question").elements) {
      if (trustCaller === "true" && name && value.trim()) url.searchParams.append(name, value.trim());
    }
    return url;
  }

  showQuestion() { this.part(".curl").textContent = `curl -i '${this.url}'`; }

  async ask() {
    const asked = performance.now();
    this.waiting += 1;
    let answer;
    try {
      const response = await fetch(this.url, { cache: "no-store" });
      answer = { response, text: await response.text() };
    } catch {
      answer = { text: "no answer" };
    }
    this.waiting -= 1;
    this.take(asked, performance.now(), answer);
  }

  take(asked, at, { response, text }) {
    let body = {};
    try { body = JSON.parse(text); } catch { /* a proxy's words, shown as they are */ }
    const kind = { true: "allowed", false: "denied" }[body.allowed] ?? "failed";
    this.counts[kind] += 1;
    // With -shape the answer itself has waited.
    const delay_ms = body.delay_ms ?? 0, decided = shape === "true" ? at - delay_ms : at;
    this.marks.push({ asked, kind, acts: decided + delay_ms });
    if (this.marks.length > MOST_KEPT) this.marks.shift();
    if (body.limit) this.level.correct(asked, decided, body);
    else if (response?.status !== 400) this.level.lose(at); // a 400 has spent nothing
    this.showAnswer(response, text, body);
    this.showTrouble(response, body);
    this.showCounts();
    wake();
    tell();
  }

  showAnswer(response, text, { ip, message, error, allowed, ...numbers }) {
    const rows = Object.entries(numbers).map(([name, value]) => {
      const row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      row.firstChild.textContent = name;
      row.lastChild.textContent = name === "retry_after_ms" && value < 0 ? "-1 (never)" : value.toLocaleString("en");
      return row;
    });
    this.part(".numbers").replaceChildren(...rows);
    const headers = [...response?.headers ?? []].map(([name, value]) => `${name}: ${value}`);
    const status = response ? [`${response.status} ${response.statusText}`] : [];
    this.part(".answer").textContent = [...status, ...headers, "", text].join("\n").trim();
  }

  showTrouble(response, body) {
    const words = !response ? "rl-server does not answer."
      : body.degraded ? "Degraded: Redis cannot decide, so rl-server answers without it."
      : body.allowed === undefined ? `Not decided (${response.status}): ${body.error ?? response.statusText}.` : "";
    const trouble = this.part(".trouble");
    if (trouble.textContent !== words) trouble.textContent = words; // said once, not with each answer
    trouble.hidden = !words;
  }

  showCounts() {
    for (const [kind, count] of Object.entries(this.counts)) {
      this.part(`[data-count=${kind}]`).textContent = count.toLocaleString("en");
    }
  }

  showRates(at) {
    const recent = this.marks.filter(({ asked }) => asked > at - RECENT_MS);
    const perSecond = marks => `${rounded(marks.length * 1000 / RECENT_MS)}/s`;
    this.part("[data-rate=asked]").textContent = perSecond(recent);
    this.part("[data-rate=allowed]").textContent = perSecond(recent.filter(({ kind }) => kind === "allowed"));
  }

  /** What the picture of the bucket holds: tokens left, or what was poured in. */
  held(step, at) {
    const used = this.level.used(step, at);
    return this.name === "token" ? step.limit - used : used;
  }

  get summary() {
    const { allowed, denied, failed } = this.counts;
    if (allowed + denied + failed === 0) return `${WORDS[this.name].title}: no request yet.`;
    const { last } = this.level, unit = WORDS[this.name].unit;
    const level = last.limit ? `${Math.floor(this.held(last, performance.now()))} of ${last.limit} ${unit}` : "level not known";
    return `${WORDS[this.name].title}: ${allowed} allowed, ${denied} denied, ${failed} not decided; ${level}.`;
  }

  draw(at) {
    const { last } = this.level;
    const held = last.limit && this.held(last, at);
    this.part("output").textContent = last.limit ? rounded(held) : "?";
    this.part(".level span").textContent = last.limit ? `of ${last.limit.toLocaleString("en")} ${WORDS[this.name].unit}` : "not known";
    this.part(".fill").setAttribute("y", 68 - 50 * (last.limit ? held / last.limit : 0));
    this.card.classList.toggle("moving", this.level.used(last, at) > 0);
    this.showRates(at);
    new Picture(this, at).draw();
  }

  /** Whether the picture changes by itself. */
  isMoving(at) {
    const { last } = this.level, mark = this.marks.at(-1);
    return last.at + (last.lasts_ms ?? 0) + PAST_MS > at || (mark && Math.max(mark.acts, mark.asked) + PAST_MS > at);
  }
}

/** The level against time; under it the requests when they were asked, and when those that are allowed act. */
class Picture {
  constructor(bucket, at) {
    const canvas = bucket.part("canvas"), scale = window.devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(bucket.card);
    this.color = name => style.getPropertyValue(`--${name}`);
    this.context = canvas.getContext("2d");
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.clearRect(0, 0, width, height);
    this.context.font = `12px ${style.fontFamily}`;
    Object.assign(this, { bucket, at, left: 40, right: width, bottom: height - 20 });
    // The rows: what they rise from, and how high.
    const rows = this.bottom - 34;
    this.rows = { level: [10 + rows * 0.5, rows * 0.5], asked: [22 + rows * 0.75, rows * 0.25], act: [this.bottom, rows * 0.25] };
    this.limit = bucket.level.last.limit ?? bucket.level.steps.findLast(({ limit }) => limit)?.limit ?? Number(burst);
  }

  x(time) { return this.left + (this.right - this.left) * (time - this.at + PAST_MS) / (PAST_MS + FUTURE_MS); }

  draw() {
    this.context.save();
    this.drawFrame();
    this.context.beginPath();
    this.context.rect(this.left, 0, this.right - this.left, this.bottom + 2);
    this.context.clip();
    this.drawLevel();
    this.drawDelays();
    this.drawMarks();
    this.context.restore();
  }

  line(color, points, dash = []) {
    this.context.strokeStyle = this.color(color);
    this.context.setLineDash(dash);
    this.context.beginPath();
    points.forEach(([x, y]) => this.context.lineTo(x, y));
    this.context.stroke();
  }

  drawFrame() {
    const { context, rows } = this;
    context.lineWidth = 1;
    for (const [base] of Object.values(rows)) this.line("line", [[this.left, base + 0.5], [this.right, base + 0.5]]);
    this.line("line", [[this.left, 10.5], [this.right, 10.5]], [2, 4]);
    this.line("soft", [[this.x(this.at), 0], [this.x(this.at), this.bottom]], [2, 3]);
    context.fillStyle = this.color("soft");
    const text = (words, x, y, align = "right") => { context.textAlign = align; context.fillText(words, x, y); };
    text(this.limit.toLocaleString("en", { notation: "compact" }), this.left - 6, 14);
    text("0", this.left - 6, rows.level[0] + 1);
    text("asked", this.left - 2, rows.asked[0] + 1);
    text("act", this.left - 2, rows.act[0] + 1);
    for (let s = -8; s <= 2; s += 2) text(s === 0 ? "now" : `${s > 0 ? "+" : "−"}${Math.abs(s)} s`, this.x(this.at + s * 1000), this.bottom + 16, "center");
  }

  drawLevel() {
    const { steps } = this.bucket.level, [base, height] = this.rows.level;
    const y = (step, time) => base - height * clamp(this.bucket.held(step, time) / this.limit, 0, 1);
    let points = [];
    steps.forEach((step, i) => {
      const until = steps[i + 1]?.at ?? this.at + FUTURE_MS;
      if (until < this.at - PAST_MS) return;
      if (step.limit) {
        const times = [step.at, clamp(step.at + step.lasts_ms, step.at, until), until];
        points.push(...times.map(time => [this.x(time), y(step, time)]));
      } else {
        this.drawKnown(points, base);
        points = [];
        this.drawUnknown(step.at, Math.min(until, this.at));
      }
    });
    this.drawKnown(points, base);
  }

  drawKnown(points, base) {
    if (points.length === 0) return;
    const { context } = this;
    context.lineWidth = 2;
    this.line("accent", points);
    context.lineTo(points.at(-1)[0], base);
    context.lineTo(points[0][0], base);
    context.fillStyle = this.color("accent");
    context.globalAlpha = 0.16;
    context.fill();
    context.globalAlpha = 1;
  }

  drawUnknown(from, until) {
    const { context } = this, [base, height] = this.rows.level;
    const left = this.x(from), width = this.x(until) - left;
    context.fillStyle = this.color("failed");
    context.globalAlpha = 0.18;
    context.fillRect(left, base - height, width, height);
    context.globalAlpha = 1;
    context.textAlign = "center";
    if (width > 70) context.fillText("not known", left + width / 2, base - height / 2);
  }

  /** From when a request was asked to when it acts. */
  drawDelays() {
    const from = this.rows.asked[0] + 1, to = this.rows.act[0] - this.rows.act[1] * 0.55;
    this.context.lineWidth = 1;
    this.context.globalAlpha = 0.28;
    for (const { asked, acts, kind } of this.bucket.marks) {
      if (kind === "allowed" && acts > this.at - PAST_MS) this.line("accent", [[this.x(asked), from], [this.x(acts), to]]);
    }
    this.context.globalAlpha = 1;
  }

  drawMarks() {
    const { marks } = this.bucket;
    const allowed = marks.filter(({ kind }) => kind === "allowed");
    this.stack(this.rows.asked, marks.map(({ asked, kind }) => [asked, kind]));
    this.stack(this.rows.act, allowed.map(({ acts }) => [acts, "accent"]));
  }

  /** Squares at their times, those of about the same time on one another. */
  stack([base, height], marks) {
    const column_ms = 5 / ((this.right - this.left) / (PAST_MS + FUTURE_MS));
    const columns = new Map();
    for (const [time, color] of marks) {
      if (time < this.at - PAST_MS || time > this.at + FUTURE_MS) continue;
      const column = Math.floor(time / column_ms);
      columns.set(column, [...columns.get(column) ?? [], color]);
    }
    const tallest = Math.max(1, ...[...columns.values()].map(({ length }) => length));
    const size = Math.min(5, height / tallest);
    for (const [column, colors] of columns) {
      const x = this.x(column * column_ms);
      colors.forEach((color, i) => this.square(x, base - (i + 1) * size, size, color, column * column_ms > this.at));
    }
  }

  square(x, y, size, color, isToCome) {
    const { context } = this, gap = Math.min(1, size / 4);
    context.globalAlpha = isToCome ? 0.5 : 1;
    context.fillStyle = context.strokeStyle = this.color(color);
    context.setLineDash([]);
    if (color === "failed") context.strokeRect(x + 0.5, y + 0.5, 4 - gap, Math.max(size - gap - 1, 0.5));
    else context.fillRect(x, y, 5 - gap, size - gap);
    context.globalAlpha = 1;
  }
}

const buckets = ["token", "leaky"].map(name => new Bucket(name));

const chosen = () => buckets.filter(({ name }) => ["both", name].includes(find("target").value));

function sendBurst() {
  const size = find("burst-size");
  if (!size.reportValidity()) return;
  for (let n = 0; n < size.valueAsNumber; n += 1) chosen().forEach(bucket => bucket.ask());
}

let stream = null;

function setStream(isOn) {
  clearInterval(stream?.timer);
  stream = null;
  const perSecond = find("stream-rate");
  if (isOn && perSecond.reportValidity()) {
    stream = { start: performance.now(), sent: 0, perSecond: perSecond.valueAsNumber, timer: setInterval(flow, 10) };
  }
  find("stream").classList.toggle("on", stream !== null);
  find("stream").firstChild.data = stream ? "Stop " : "Stream ";
}

/** Sends what is due, and leaves out what would pile up. */
function flow() {
  const elapsed_ms = performance.now() - stream.start;
  if (elapsed_ms > STREAM_MS) return setStream(false);
  const due = Math.floor(elapsed_ms * stream.perSecond / 1000);
  for (const bucket of chosen()) {
    for (let n = stream.sent; n < due && bucket.waiting < MOST_WAITING; n += 1) bucket.ask();
  }
  stream.sent = due;
}

const ACTIONS = {
  r: () => chosen().forEach(bucket => bucket.ask()),
  b: sendBurst,
  s: () => setStream(stream === null),
};
find("one").addEventListener("click", ACTIONS.r);
find("burst").addEventListener("click", ACTIONS.b);
find("stream").addEventListener("click", ACTIONS.s);
find("clear").addEventListener("click", () => { buckets.forEach(bucket => bucket.clear()); wake(); });
find("controls").addEventListener("input", () => buckets.forEach(bucket => bucket.showQuestion()));
find("controls").addEventListener("submit", event => event.preventDefault());
find("stream-rate").addEventListener("change", () => stream && setStream(true));
find("question").hidden = trustCaller !== "true";
document.addEventListener("keydown", event => {
  const isTyping = event.target.closest("input:not([type=checkbox]), select");
  if (!find("keys").checked || isTyping || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  ACTIONS[event.key.toLowerCase()]?.();
});
document.addEventListener("visibilitychange", () => document.hidden ? setStream(false) : wake());

// Drawn while something moves: at every frame, or each second for whoever wants less motion.
const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");
let frame = null;
function wake() {
  if (frame !== null) return;
  frame = lessMotion.matches ? setTimeout(draw, 1000) : requestAnimationFrame(draw);
}
function draw() {
  frame = null;
  const at = performance.now();
  buckets.forEach(bucket => bucket.draw(at));
  if (buckets.some(bucket => bucket.isMoving(at))) wake();
}
new ResizeObserver(wake).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wake);
draw();

// Told to whoever listens: at most each second and a half, so that a stream is followed and not recited.
let telling = null;
function tell() {
  telling ??= setTimeout(() => {
    telling = null;
    for (const bucket of buckets) bucket.part("canvas").setAttribute("aria-label", bucket.summary);
    find("summary").textContent = buckets.map(({ summary }) => summary).join(" ");
  }, 1500);
}
