// What every page uses: templates, signals in components, the API, and live news of the queue.
import { h, render } from "./vendor/preact.js";
import { useState, useEffect, useRef, useMemo, useCallback } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { signal, effect } from "./vendor/signals.js";

export const html = htm.bind(h);
export { render, signal, useState, useEffect, useRef, useMemo, useCallback };

/** @import { Change, Found, Job, System, Wrong } from "./api.js" */

/**
 * A signal's value; the component is drawn anew when it changes.
 * @template T
 * @param {import("./vendor/signals.js").Signal<T>} held
 * @returns {T}
 */
export function useValue(held) {
  const [value, set] = useState(held.peek());
  useEffect(() => effect(() => { const now = held.value; set(() => now); }), [held]);
  return value;
}

/** An answer that refuses: what was wrong, and what to do. */
export class Problem extends Error {
  /** @param {number} status @param {string} detail @param {string} remedy */
  constructor(status, detail, remedy) {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.remedy = remedy;
  }
}

const API = "/api/v1";

/**
 * Ask the API. Returns the answer's JSON with its ETag as `etag`, or null where there is nothing to tell.
 * @template {string} P
 * @param {"GET" | "POST" | "PUT" | "PATCH" | "DELETE"} method
 * @param {P} path
 * @param {object | Blob} [body]
 * @param {Record<string, string | null>} [headers]
 * @returns {Promise<Found<P>>}
 */
export async function ask(method, path, body, headers = {}) {
  const raw = body instanceof Blob;
  /** @type {Record<string, string>} */
  const sent = { "castsheet-page": "1" };
  for (const [name, value] of Object.entries(headers)) if (value !== null) sent[name] = value;
  if (body !== undefined && !raw) sent["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(API + path, { method, headers: sent, body: raw ? /** @type {Blob} */ (body) : body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The studio does not answer.", "See whether it still runs in the terminal.");
  }
  if (answer.ok && method !== "GET" && UNDOES.test(path)) recall();
  if (answer.status === 204) return /** @type {Found<P>} */ (null);
  const told = await answer.json().catch(() => { if (answer.ok) throw new Problem(0, "The studio's answer was cut off.", "Try again."); return {}; });
  if (!answer.ok) throw new Problem(answer.status, told.detail || answer.statusText, told.remedy || "Try again.");
  const etag = answer.headers.get("etag");
  return etag ? { ...told, etag } : told;
}

const UNDOES = /^\/(elements|scenes|shots|runs|undo)/;
export const undo = signal(/** @type {Change} */ (null));

const remembered = latest();
/** Learn which change can be taken back now. */
export function recall() {
  return remembered(() => ask("GET", "/undo").catch(() => undefined), (told) => { undo.value = told.undo; });
}

/** @param {string} path */
export const address = (path) => API + path;
export const said = signal("");
/** @type {import("./vendor/signals.js").Signal<{ detail: string, remedy: string } | null>} */
export const trouble = signal(/** @type {{ detail: string, remedy: string } | null} */ (null));

/**
 * Do what somebody asked for, and show what refuses it. Returns its value, or undefined.
 * @template T
 * @param {() => T | Promise<T>} work
 * @param {string} [told]
 * @returns {Promise<T | undefined>}
 */
export async function attempt(work, told) {
  trouble.value = null;
  return shown(async () => {
    const value = await work();
    if (told) said.value = told;
    return value;
  });
}

/**
 * Do what nobody asked for, such as reading a list again: what refused somebody before stays in sight.
 * @template T
 * @param {() => T | Promise<T>} work
 * @returns {Promise<T | undefined>}
 */
async function shown(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    trouble.value = error;
    return undefined;
  }
}

/**
 * Of all that it is asked to do only the latest counts: a slow answer to an earlier request must not take the
 * place of what was asked since. `then` gets the value; undefined means that there is none.
 * @returns {<T>(work: () => T | Promise<T>, then: (value: Exclude<Awaited<T>, undefined>) => void) => Promise<void>}
 */
export function latest() {
  let asked = 0;
  return async (work, then) => {
    asked += 1;
    const mine = asked;
    const value = await work();
    if (mine === asked && value !== undefined) then(/** @type {any} */ (value));
  };
}

/** `latest`, for as long as a component is there. */
export const useLatest = () => useMemo(latest, []);

/**
 * A value from the API, read when `path` changes and when the second of what it returns is called.
 * @template {string} P
 * @param {P | null} path
 * @returns {[Found<P> | null, () => Promise<void>, (value: Found<P> | null) => void]}
 */
export function useAnswer(path) {
  const [value, set] = useState(/** @type {Found<P> | null} */ (null));
  const last = useLatest();
  const again = useCallback(() => last(() => (path === null ? undefined : shown(() => ask("GET", path))), set), [path]);
  useEffect(() => { set(null); again(); }, [again]);
  return [value, again, set];
}

export const jobs = signal(/** @type {Map<string, Job>} */ (new Map()));
export const system = signal(/** @type {System | null} */ (null));
/** @type {EventSource | null} */
let stream = null;
const begun = latest();
const AGAIN_MS = 1000;

/** Read everything, then follow what changes from there. An earlier stream ends, or is not begun. */
function begin() {
  stream?.close();
  stream = null;
  const all = () => Promise.all([ask("GET", "/jobs"), ask("GET", "/system")]).catch(() => null);
  return begun(all, (found) => {
    if (found === null) {
      setTimeout(() => { if (!stream && !document.hidden) begin(); }, AGAIN_MS);
      return;
    }
    const [listed, told] = found;
    jobs.value = new Map(listed.jobs.map((job) => [job.id, job]));
    system.value = told;
    listen(listed.last_event);
  });
}

/** @param {number} since */
function listen(since) {
  const opened = new EventSource(`${API}/events?since=${since}`);
  stream = opened;
  const noted = latest();
  /** @param {string} topic @param {(told: any) => void} change */
  const on = (topic, change) => opened.addEventListener(topic, (event) => { if (opened === stream) change(JSON.parse(event.data)); });
  on("job", (job) => { jobs.value = new Map(jobs.value).set(job.id, job); });
  on("order", ({ waiting, positions }) => {
    const moved = new Map(jobs.value);
    /** @type {string[]} */ (waiting).forEach((id, place) => { const job = moved.get(id); if (job) moved.set(id, { ...job, position: positions[place] }); });
    jobs.value = moved;
  });
  on("note", () => noted(() => ask("GET", "/system").catch(() => null), (told) => { if (opened !== stream) return; if (told) system.value = told; else begin(); }));
  on("reset", begin);
  // After a cut the browser goes on by itself, but not after an answer that refuses.
  opened.addEventListener("error", () => { if (opened === stream && opened.readyState === EventSource.CLOSED) setTimeout(() => { if (opened === stream) begin(); }, AGAIN_MS); });
}

/** Follow the queue while the page is looked at; a hidden page gives its connection back. */
export async function follow() {
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) begin();
    else { begun(() => undefined, () => {}); stream?.close(); stream = null; }
  });
  await begin();
}

/** @param {string} hash */
export function go(hash) { location.hash = hash; }
/** @param {number} share */
export const percent = (share) => `${Math.round(100 * share)} %`;

/**
 * A button that asks once more before it removes something.
 * @param {{ label: string, sure: string, act: () => unknown, name: string }} given
 */
export function Sure({ label, sure, act, name }) {
  const [armed, arm] = useState(false);
  return html`<button type="button" aria-label=${`${armed ? sure : label} ${name}`} onBlur=${() => arm(false)}
    onClick=${() => (armed ? (arm(false), act()) : arm(true))}>${armed ? sure : label}</button>`;
}

/** What a page found wrong with a file. @param {{ of: Wrong }} given */
export const Trouble = ({ of }) => html`<p class="bad">${of.what}</p><p class="dim">${of.remedy}</p>`;
