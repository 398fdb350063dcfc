// The demonstration that "Show me" starts: a burst, a pause and a stream, and after each of them what the buckets did.

const PAUSE_MS = 2000;
const STREAM_MS = 5000;
const SETTLED_MS = 2000; // the end of the stream, when only the rate is allowed
const MAX_BURST_MS = 3000; // to wait for the responses; with -shape they are held back

const find = id => document.getElementById(id);
const wait = ms => new Promise(resolve => setTimeout(resolve, ms));

const UNITS = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000]];

/** A time: "1.9 s", "12 min", "19 h" or "20 d". */
function timeText(ms) {
  const [unit, unit_ms] = UNITS.find(([, unit_ms]) => ms >= 2 * unit_ms) ?? [];
  return unit ? `${Math.round(ms / unit_ms)} ${unit}` : `${(ms / 1000).toFixed(1)} s`;
}

/** The text of these counts that leaves out zeros: "20 allowed, 5 denied". */
function countsText({ allowed, denied, would_deny, failed }) {
  const counts = { allowed, denied, "would be denied": would_deny, "not decided": failed };
  const texts = Object.entries(counts).filter(([, count]) => count > 0).map(([name, count]) => `${count} ${name}`);
  return texts.join(", ") || "no response";
}

/** What a bucket has decided since a time, as performance.now() gives it. */
function decidedSince(bucket, start) {
  const requests = bucket.requests.filter(({ sent }) => sent >= start);
  const counts = { allowed: 0, denied: 0, would_deny: 0, failed: 0 };
  for (const { outcome } of requests) counts[outcome] += 1;
  return { counts, maxDelay_ms: Math.max(0, ...requests.map(({ delay_ms }) => delay_ms)) };
}

function burstText(bucket, start) {
  const { counts, maxDelay_ms } = decidedSince(bucket, start);
  const proceed = maxDelay_ms > 0 ? `the last proceeds after ${timeText(maxDelay_ms)}` : "what is allowed proceeds at once";
  return `${countsText(counts)}${counts.allowed > 0 ? `; ${proceed}` : ""}.`;
}

function streamText(bucket, start) {
  const { counts } = decidedSince(bucket, start);
  const end = performance.now() - SETTLED_MS;
  const settled = decidedSince(bucket, end);
  const perSecond = (settled.counts.allowed * 1000 / SETTLED_MS).toFixed(1);
  const delay = settled.maxDelay_ms > 0 ? `, with a delay of up to ${timeText(settled.maxDelay_ms)}` : "";
  return `${countsText(counts)}; ${perSecond} a second allowed at the end${delay}.`;
}

export class Demonstration {
  #run = null; // an object for each run, so that a run notices that it was stopped

  /** `page` has what the buttons do: selected() buckets, sendBurst(), setStream(isOn). */
  constructor(page) { this.page = page; }

  get isRunning() { return this.#run !== null; }

  toggle() {
    if (this.isRunning) this.page.setStream(false); // this calls stop() too
    else this.#start();
  }

  stop() {
    this.#run = null;
    this.#showStep(null);
    find("show").classList.remove("on");
    find("show").firstChild.data = "Show me ";
  }

  async #start() {
    const run = this.#run = {};
    const { selected, sendBurst, setStream } = this.page;
    for (const result of document.querySelectorAll("#steps .result")) result.replaceChildren();
    find("demonstration").classList.add("started");
    find("show").classList.add("on");
    find("show").firstChild.data = "Stop ";
    const steps = {
      burst: [() => Promise.race([sendBurst(), wait(MAX_BURST_MS)]), burstText],
      pause: [() => wait(PAUSE_MS), bucket => `${bucket.levelText}.`],
      stream: [() => { setStream(true); return wait(STREAM_MS); }, streamText],
    };
    for (const [name, [act, text]] of Object.entries(steps)) {
      const start = performance.now();
      this.#showStep(name);
      await act();
      if (run !== this.#run) return;
      this.#showResult(name, selected().map(bucket => [bucket.title, text(bucket, start)]));
    }
    setStream(false);
  }

  #showStep(name) {
    for (const step of find("steps").children) {
      if (step.dataset.step === name) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
    }
  }

  #showResult(name, texts) {
    const lines = texts.map(([title, text]) => {
      const line = document.createElement("span"), bold = document.createElement("b");
      bold.textContent = `${title}: `;
      line.append(bold, text);
      return line;
    });
    find("steps").querySelector(`[data-step=${name}] .result`).replaceChildren(...lines);
  }
}
