// The level of a bucket over time, and the chart that shows it with the requests.

export const PAST_MS = 9000; // what a chart shows before now
const FUTURE_MS = 3000; // and after it
const MAX_STEPS = 2000;
export const PROCEEDING = ["allowed", "would_deny"]; // the outcomes after which a request may proceed

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * The used part of a bucket's capacity, as the responses report it. Between two responses it falls evenly, and is zero
 * after the reset_after of the first one.
 */
export class Level {
  steps = []; // { at, limit, used, reset_after_ms }; without a limit the level is unknown
  rate = 0; // tokens per millisecond

  used(step, at) {
    return step.reset_after_ms > 0 ? step.used * clamp(1 - (at - step.at) / step.reset_after_ms, 0, 1) : 0;
  }

  get last() { return this.steps.at(-1) ?? {}; }

  /** Applies the response to a request that was sent and decided at these times. */
  update(sent, decided, { limit, remaining, reset_after_ms }) {
    // `remaining` is rounded down and `reset_after_ms` up, so each response gives bounds of the rate.
    const maxUsed = limit - remaining, minUsed = Math.max(maxUsed - 1, 0);
    const minRate = reset_after_ms > 0 ? minUsed / reset_after_ms : 0;
    const maxRate = reset_after_ms > 1 ? maxUsed / (reset_after_ms - 1) : Infinity;
    // Far outside the bounds, the rate is that of another policy. Before the first response it is 0.
    const isSamePolicy = this.rate > 0 && this.rate >= minRate * 0.5 && this.rate <= maxRate * 2;
    if (reset_after_ms > 0) {
      this.rate = clamp(isSamePolicy ? this.rate : maxUsed / reset_after_ms, minRate, maxRate);
    }
    const used = clamp(this.rate * reset_after_ms, minUsed, maxUsed);
    const reported = { at: decided, limit, used, reset_after_ms };
    // Responses to simultaneous requests arrive in any order. The one that reports more use was decided later.
    const { last } = this, at = Math.max(decided, last.at ?? 0);
    const isOlder = last.limit === limit && sent < last.at && this.used(last, at) > this.used(reported, at);
    const step = isOlder ? last : reported;
    this.#add({ at, limit, used: this.used(step, at), reset_after_ms: step.at + step.reset_after_ms - at });
  }

  /** The level is unknown from this time on. */
  setUnknown(at) { if (this.last.limit) this.#add({ at }); }

  #add(step) {
    this.steps.push(step);
    if (this.steps.length > MAX_STEPS) this.steps.shift();
  }
}

/**
 * Three rows over time: the level, the requests when they are sent, and the allowed requests when they proceed. A line
 * between the last two rows shows the delay of a request.
 */
export class Chart {
  constructor(bucket, at, defaultLimit) {
    const canvas = bucket.part("canvas"), scale = window.devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(bucket.card);
    this.color = name => style.getPropertyValue(`--${name}`);
    this.context = canvas.getContext("2d");
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.clearRect(0, 0, width, height);
    this.context.lineJoin = "round";
    this.context.font = `12px ${style.fontFamily}`;
    Object.assign(this, { bucket, at, left: 54, right: width, bottom: height - 20 });
    const rowsHeight = this.bottom - 34;
    this.rows = { // the baseline and the height of each
      level: [10 + rowsHeight * 0.5, rowsHeight * 0.5],
      sent: [22 + rowsHeight * 0.75, rowsHeight * 0.25],
      proceed: [this.bottom, rowsHeight * 0.25],
    };
    const { last, steps } = bucket.level;
    this.limit = last.limit ?? steps.findLast(({ limit }) => limit)?.limit ?? defaultLimit;
  }

  x(time) { return this.left + (this.right - this.left) * (time - this.at + PAST_MS) / (PAST_MS + FUTURE_MS); }

  draw() {
    this.context.save();
    this.drawAxes();
    this.drawCaptions();
    this.context.beginPath();
    this.context.rect(this.left, 0, this.right - this.left, this.bottom + 2);
    this.context.clip();
    this.drawLevel();
    this.drawDelays();
    this.drawRequests();
    this.context.restore();
  }

  line(color, points, dash = []) {
    this.context.strokeStyle = this.color(color);
    this.context.setLineDash(dash);
    this.context.beginPath();
    points.forEach(([x, y]) => this.context.lineTo(x, y));
    this.context.stroke();
  }

  drawAxes() {
    const { left, right, bottom } = this, now = this.x(this.at);
    this.context.lineWidth = 1;
    for (const [base] of Object.values(this.rows)) this.line("line", [[left, base + 0.5], [right, base + 0.5]]);
    this.line("line", [[left, 10.5], [right, 10.5]], [2, 4]);
    this.line("soft", [[now, 0], [now, bottom]], [2, 3]);
  }

  drawCaptions() {
    const { context, rows } = this, [levelBase, levelHeight] = rows.level;
    context.fillStyle = this.color("soft");
    context.textAlign = "right";
    const caption = (text, y) => context.fillText(text, this.left - 6, y);
    caption(this.limit.toLocaleString("en", { notation: "compact" }), 14);
    caption("level", levelBase - levelHeight / 2 + 4);
    caption("0", levelBase + 1);
    caption("sent", rows.sent[0] + 1);
    const delays = this.delayEnds;
    caption("delay", (delays[0] + delays[1]) / 2 + 4);
    caption("proceed", rows.proceed[0] + 1);
    context.textAlign = "center";
    for (let s = -8; s <= 2; s += 2) {
      const text = s === 0 ? "now" : `${s > 0 ? "+" : "−"}${Math.abs(s)} s`;
      context.fillText(text, this.x(this.at + s * 1000), this.bottom + 16);
    }
  }

  drawLevel() {
    const { steps } = this.bucket.level, [base, height] = this.rows.level;
    const y = (step, time) => base - height * clamp(this.bucket.levelAt(step, time) / this.limit, 0, 1);
    let points = [];
    steps.forEach((step, i) => {
      const until = steps[i + 1]?.at ?? this.at + FUTURE_MS;
      if (until < this.at - PAST_MS) return;
      if (step.limit) {
        const times = [step.at, clamp(step.at + step.reset_after_ms, step.at, until), until];
        points.push(...times.map(time => [this.x(time), y(step, time)]));
      } else {
        this.drawKnownLevel(points, base);
        points = [];
        this.drawUnknownLevel(step.at, Math.min(until, this.at));
      }
    });
    this.drawKnownLevel(points, base);
  }

  drawKnownLevel(points, base) {
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

  drawUnknownLevel(from, until) {
    const { context } = this, [base, height] = this.rows.level;
    const left = this.x(from), width = this.x(until) - left;
    context.fillStyle = this.color("failed");
    context.globalAlpha = 0.18;
    context.fillRect(left, base - height, width, height);
    context.globalAlpha = 1;
    context.textAlign = "center";
    if (width > 70) context.fillText("unknown", left + width / 2, base - height / 2);
  }

  /** Where the lines that show delays begin and end. */
  get delayEnds() { return [this.rows.sent[0] + 1, this.rows.proceed[0] - this.rows.proceed[1] * 0.55]; }

  drawDelays() {
    const [from, to] = this.delayEnds;
    this.context.lineWidth = 1;
    this.context.globalAlpha = 0.28;
    for (const { sent, proceeds, outcome } of this.bucket.requests) {
      if (PROCEEDING.includes(outcome) && proceeds > this.at - PAST_MS) {
        this.line("accent", [[this.x(sent), from], [this.x(proceeds), to]]);
      }
    }
    this.context.globalAlpha = 1;
  }

  drawRequests() {
    const { requests } = this.bucket;
    const proceeding = requests.filter(({ outcome }) => PROCEEDING.includes(outcome));
    this.drawStacks(this.rows.sent, requests.map(({ sent, outcome }) => [sent, outcome]));
    this.drawStacks(this.rows.proceed, proceeding.map(({ proceeds }) => [proceeds, "accent"]));
  }

  /** Draws a square for each pair of time and color. Squares of about the same time form a stack. */
  drawStacks([base, height], squares) {
    const column_ms = 5 / ((this.right - this.left) / (PAST_MS + FUTURE_MS));
    const columns = new Map();
    for (const [time, color] of squares) {
      if (time < this.at - PAST_MS || time > this.at + FUTURE_MS) continue;
      const column = Math.floor(time / column_ms);
      columns.set(column, [...columns.get(column) ?? [], color]);
    }
    const tallest = Math.max(1, ...[...columns.values()].map(({ length }) => length));
    const size = Math.min(5, height / tallest);
    for (const [column, colors] of columns) {
      const x = this.x(column * column_ms), isFuture = column * column_ms > this.at;
      colors.forEach((color, i) => this.drawSquare(x, base - (i + 1) * size, size, color, isFuture));
    }
  }

  drawSquare(x, y, size, color, isFuture) {
    const { context } = this, gap = Math.min(1, size / 4);
    context.globalAlpha = isFuture ? 0.5 : 1;
    context.fillStyle = context.strokeStyle = this.color(color === "would_deny" ? "denied" : color);
    context.setLineDash([]);
    const isHollow = color === "failed" || color === "would_deny";
    if (isHollow) context.strokeRect(x + 0.5, y + 0.5, 4 - gap, Math.max(size - gap - 1, 0.5));
    else context.fillRect(x, y, 5 - gap, size - gap);
    context.globalAlpha = 1;
  }
}
