// What every page uses: templates, signals in components, the API, and live news of the queue.
import { h, render } from "./vendor/preact.js";
import { useState, useEffect, useRef, useMemo, useCallback } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { signal, effect } from "./vendor/signals.js";

export const html = htm.bind(h);
export { render, signal, useState, useEffect, useRef, useMemo, useCallback };

/** A signal's value; the component is drawn anew when it changes. */
export function useValue(held) {
  const [value, set] = useState(held.peek());
  useEffect(() => effect(() => { const now = held.value; set(() => now); }), [held]);
  return value;
}

/** An answer that refuses: what was wrong, and what to do. */
export class Problem extends Error {
  constructor(status, detail, remedy) {
    super(detail);
    Object.assign(this, { status, detail, remedy });
  }
}

const API = "/api/v1";

/** Ask the API. Returns the answer's JSON with its ETag as `etag`, or null. */
export async function ask(method, path, body, headers = {}) {
  const raw = body instanceof Blob;
  const sent = { "castsheet-page": "1", ...headers };
  if (body !== undefined && !raw) sent["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(API + path, { method, headers: sent, body: raw ? body : body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The studio does not answer.", "See whether it still runs in the terminal.");
  }
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, told.detail || answer.statusText, told.remedy || "Try again.");
  const etag = answer.headers.get("etag");
  return etag ? { ...told, etag } : told;
}

export const address = (path) => API + path;
export const said = signal("");
export const trouble = signal(null);

/** Run work, and show what refuses it. Returns its value, or undefined. */
export async function attempt(work, told) {
  trouble.value = null;
  try {
    const value = await work();
    if (told) said.value = told;
    return value;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    trouble.value = error;
    return undefined;
  }
}

/** A value from the API, read when `path` changes and when `again` is called. */
export function useAnswer(path, quiet = false) {
  const [value, set] = useState(null);
  const again = useCallback(async () => {
    if (path === null) return;
    const found = quiet ? await ask("GET", path).catch(() => null) : await attempt(() => ask("GET", path));
    if (found !== undefined) set(found);
  }, [path]);
  useEffect(() => { set(null); again(); }, [again]);
  return [value, again, set];
}

export const jobs = signal(new Map());
export const system = signal(null);
let stream = null;
let last = 0;

async function readAll() {
  const [all, told] = await Promise.all([ask("GET", "/jobs"), ask("GET", "/system")]);
  jobs.value = new Map(all.jobs.map((job) => [job.id, job]));
  system.value = told;
  last = all.last_event;
}

function listen() {
  stream = new EventSource(`${API}/events?since=${last}`);
  const on = (topic, change) => stream.addEventListener(topic, (event) => {
    last = Number(event.lastEventId);
    change(JSON.parse(event.data));
  });
  on("job", (job) => { jobs.value = new Map(jobs.value).set(job.id, job); });
  on("order", ({ waiting }) => {
    const ordered = waiting.map((id) => [id, jobs.value.get(id)]).filter(([, job]) => job);
    jobs.value = new Map([...ordered, ...[...jobs.value].filter(([id]) => !waiting.includes(id))]);
  });
  on("note", () => { ask("GET", "/system").then((told) => { system.value = told; }).catch(() => {}); });
  on("reset", () => { readAll().catch(() => {}); });
}

/** Follow the queue while the page is looked at; a hidden page gives its connection back. */
export async function follow() {
  const begin = async () => {
    try { await readAll(); listen(); } catch { setTimeout(begin, 1000); }
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stream?.close(); stream = null; } else if (!stream) begin();
  });
  await begin();
}

export function go(hash) { location.hash = hash; }
export const percent = (share) => `${Math.round(100 * share)} %`;

/** A button that asks once more before it removes something. */
export function Sure({ label, sure, act, name }) {
  const [armed, arm] = useState(false);
  return html`<button type="button" aria-label=${`${armed ? sure : label} ${name}`} onBlur=${() => arm(false)}
    onClick=${() => (armed ? (arm(false), act()) : arm(true))}>${armed ? sure : label}</button>`;
}

/** What a page found wrong with a file. */
export const Trouble = ({ of }) => html`<p class="bad">${of.what}</p><p class="dim">${of.remedy}</p>`;
