// The queue: what runs with its picture, what waits and in which order, what ended and why.
/** @import { Job } from "./api.js" */
import { html, useEffect, useRef, useState, useValue, ask, attempt, address, jobs, system, Do } from "./lib.js";

/** @type {Record<string, string>} */
const WORD = { queued: "waits", running: "runs", cancelling: "is being stopped", done: "done", failed: "failed", cancelled: "cancelled", quarantined: "set aside" };
/** @param {Job} job */
const from = (job) => (job.asked_by && job.asked_by !== "owner" ? html` <small class="dim">asked for by ${job.asked_by}</small>` : "");
/** @type {Record<string, string>} */
const TONE = { done: "good", failed: "bad", quarantined: "bad", cancelled: "dim" };
/** @param {string} path @param {string} told */
const act = (path, told) => () => attempt(() => ask("POST", path), told);

export function QueuePage() {
  const all = [...useValue(jobs).values()];
  const told = useValue(system);
  const paused = Boolean(told?.paused);
  const running = all.filter((job) => job.state === "running" || job.state === "cancelling");
  const waiting = all.filter((job) => job.state === "queued").sort((a, b) => a.position - b.position);
  const ended = all.filter((job) => job.ended !== null && !["queued", "running", "cancelling"].includes(job.state)).sort((a, b) => (b.ended || 0) - (a.ended || 0));
  if (!told) return html`<h1>Queue</h1>`;
  return html`<h1>Queue</h1>
    <div class="row card">
      <${Do} act=${act(paused ? "/queue/resume" : "/queue/pause", paused ? "The queue goes on" : "The queue is held")}>${paused ? "Let it go on" : "Hold the queue"}<//>
      <${Do} disabled=${!waiting.length} act=${act("/queue/cancel-pending", "All that waited is cancelled")}>Cancel all that waits<//>
      <p>${running.length} running, ${waiting.length} waiting${paused ? "; the queue is held" : ""}.</p></div>
    ${all.length === 0 && html`<p>The queue is empty. <a href="#/shot">Ask for takes.</a></p>`}
    ${running.length > 0 && html`<h2>Running</h2><ol class="queue">${running.map((job) => html`<${Running} key=${job.id} job=${job} />`)}</ol>`}
    ${waiting.length > 0 && html`<h2>Waiting</h2><ol class="queue">${waiting.map((job, place) => html`<${Waiting} key=${job.id} job=${job} place=${place} count=${waiting.length} paused=${paused} />`)}</ol>`}
    ${ended.length > 0 && html`<h2>Ended</h2><ol class="queue">${ended.slice(0, 200).map((job) => html`<${Ended} key=${job.id} job=${job} />`)}</ol>`}`;
}

/** @param {{ job: Job }} given */
function Running({ job }) {
  const [now, tick] = useState(Date.now() / 1000);
  useEffect(() => { const timer = setInterval(() => tick(Date.now() / 1000), 1000); return () => clearInterval(timer); }, []);
  const left = job.step > 0 && job.steps ? ((now - (job.started || now)) / job.step) * (job.steps - job.step) : null;
  return html`<li>${job.previews > 0 && html`<img src=${address(`/jobs/${job.id}/preview?n=${job.previews}`)} alt="The clip so far" />`}
    <div class="words"><strong>${job.label}</strong>${from(job)}<p>${job.message || WORD[job.state]}${job.steps ? `, step ${job.step} of ${job.steps}` : ""}${left !== null ? `, about ${Math.max(1, Math.round(left))} s left` : ""}</p>
      <progress max=${job.steps || 1} value=${job.steps ? job.step : undefined} aria-label=${`Progress of ${job.label}`}></progress></div>
    <${Do} disabled=${job.state === "cancelling"} act=${act(`/jobs/${job.id}/cancel`, "It stops at the next step")} aria-label=${`Cancel ${job.label}`}>Cancel<//></li>`;
}

/** @param {{ job: Job, place: number, count: number, paused: boolean }} given */
function Waiting({ job, place, count, paused }) {
  /** @param {number} to */
  const move = (to) => () => attempt(() => ask("PATCH", `/jobs/${job.id}`, { place: to }), `${job.label} is number ${to + 1}`);
  // A job that changes its place in the list takes its focus with it.
  const used = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => { if (document.activeElement === document.body) used.current?.focus(); }, [place]);
  return html`<li onFocusIn=${(/** @type {FocusEvent} */ event) => { used.current = /** @type {HTMLElement} */ (event.target); }}><div class="words"><strong>${job.label}</strong>${from(job)}
      <p class="dim">${job.message || (paused ? "Waits because the queue is held" : place === 0 ? "Is next" : `Waits for ${place} ${place === 1 ? "job" : "jobs"} before it`)}</p></div>
    <${Do} disabled=${place === 0} act=${move(place - 1)} aria-label=${`Earlier: ${job.label}`}>Earlier<//>
    <${Do} disabled=${place === count - 1} act=${move(place + 1)} aria-label=${`Later: ${job.label}`}>Later<//>
    <${Changes} job=${job} />
    <${Do} act=${act(`/jobs/${job.id}/cancel`, "Cancelled")} aria-label=${`Cancel ${job.label}`}>Cancel<//></li>`;
}

/** @param {{ job: Job }} given */
function Ended({ job }) {
  return html`<li><div class="words"><strong>${job.label}</strong> <span class=${`chip ${TONE[job.state]}`}>${WORD[job.state]}</span>${from(job)}
      ${job.error && html`<p class="bad">${job.error.what}</p><p class="dim">${job.error.remedy}</p>`}</div>
    ${job.result?.take && html`<a href=${`#/compare/${job.result.take}`}>Look at it</a>`}
    ${job.result?.element && html`<a href="#/cast">Look at the cast</a>`}
    ${job.result?.run && html`<a href=${`#/training/${job.result.run}`}>Look at the run</a>`}
    ${job.result?.set && html`<a href="#/training">Look at the sets</a>`}
    ${job.result?.shots && html`<a href=${`#/shots/${job.result.shots}`}>Look at the shots</a>`}
    <${Changes} job=${job} />
    ${job.state !== "done" && html`<${Do} act=${act(`/jobs/${job.id}/retry`, "It is in the queue again")} aria-label=${`Retry ${job.label}`}>Retry<//>`}</li>`;
}

/** The form of the shot, filled with what a job asked for. @param {{ job: Job }} given */
function Changes({ job }) {
  return job.kind === "take" ? html`<a href=${`#/shot?job=${job.id}`} aria-label=${`Duplicate with changes: ${job.label}`}>Duplicate with changes</a>` : "";
}
