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
const AGAIN_MS = 1000;

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
  /** @type {Record<string, string>} */
  const sent = { "castsheet-page": "1" };
  for (const [name, value] of Object.entries(headers)) if (value !== null) sent[name] = value;
  if (body !== undefined && !(body instanceof Blob)) sent["content-type"] = "application/json";
  if (method === "GET") await Promise.allSettled(underWay(path));
  const answered = told(method, path, sent, body);
  return method !== "GET" && UNDOES.test(path) ? until(path, answered) : answered;
}

/**
 * @template {string} P
 * @param {string} method @param {P} path @param {Record<string, string>} headers @param {object | Blob} [body]
 * @returns {Promise<Found<P>>}
 */
async function told(method, path, headers, body) {
  let answer;
  try {
    answer = await fetch(API + path, { method, headers, body: body instanceof Blob ? body : body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The studio does not answer.", "See whether it still runs in the terminal.");
  }
  if (answer.ok && method !== "GET" && UNDOES.test(path)) recall();
  if (answer.status === 204) return /** @type {Found<P>} */ (null);
  const found = await answer.json().catch(() => { if (answer.ok) throw new Problem(0, "The studio's answer was cut off.", "Try again."); return {}; });
  if (!answer.ok) throw new Problem(answer.status, found.detail || answer.statusText, found.remedy || "Try again.");
  const etag = answer.headers.get("etag");
  return etag ? { ...found, etag } : found;
}

const UNDOES = /^\/(elements|scenes|shots|runs|undo)/;
export const undo = signal(/** @type {Change} */ (null));
/** How often something was taken back here: then all is read again. */
export const taken = signal(0);

/** What was asked for and is not done yet, and the path that it changes, if it is known. @type {Map<Promise<unknown>, string>} */
const changes = new Map();
/** @param {string} path */
const underWay = (path) => [...changes].filter(([, changed]) => changed === path).map(([work]) => work);

/**
 * Tell of a change that is under way: who reads the same path, or takes the latest change back, waits for it.
 * @template T
 * @param {string} path @param {Promise<T>} work
 * @returns {Promise<T>}
 */
export function until(path, work) {
  changes.set(work, path);
  const ended = () => { changes.delete(work); };
  work.then(ended, ended);
  return work;
}

const remembered = latest();
/** Learn which change can be taken back now. */
export function recall() {
  return remembered(() => ask("GET", "/undo").catch(() => undefined), (found) => { undo.value = found.undo; });
}

/** Take back the latest change. What somebody asked for just before is such a change too, answered or not. */
export function takeBack() {
  const before = [...changes.keys()];
  return attempt(async () => {
    await Promise.allSettled(before);
    await recall();
    const change = undo.peek();
    if (!change) return;
    await ask("POST", "/undo", { id: change.id });
    taken.value += 1;
    said.value = `Taken back: ${change.what}`;
  });
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
  return until("", shown(async () => {
    const value = await work();
    if (told) said.value = told;
    return value;
  }));
}

/**
 * Do what nobody asked for, such as reading a list again: what refused somebody before stays in sight. A studio that
 * does not answer is asked again for as long as the answer is wanted.
 * @template T
 * @param {() => T | Promise<T>} work
 * @param {() => boolean} [wanted]
 * @returns {Promise<T | undefined>}
 */
export async function shown(work, wanted = () => false) {
  /** @type {Problem | null} */
  let met = null;
  do {
    try {
      const value = await work();
      if (met && trouble.peek() === met) trouble.value = null;
      return value;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      trouble.value = met = error;
      if (error.status !== 0 || !wanted()) return undefined;
    }
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  } while (wanted());
  return undefined;
}

/**
 * Of all that it is asked to do only the latest counts: a slow answer to an earlier request must not take the
 * place of what was asked since. `then` gets the value; undefined means that there is none. `work` can ask whether
 * it still counts. Without work, nothing that was asked for counts any more.
 * @returns {<T>(work?: (counts: () => boolean) => T | Promise<T>, then?: (value: Exclude<Awaited<T>, undefined>) => void) => Promise<void>}
 */
export function latest() {
  let asked = 0;
  return async (work, then) => {
    asked += 1;
    const mine = asked;
    const value = await work?.(() => mine === asked);
    if (mine === asked && value !== undefined) then?.(/** @type {any} */ (value));
  };
}

/** `latest`, for as long as a component is there. */
export function useLatest() {
  const last = useMemo(latest, []);
  useEffect(() => () => { last(); }, []);
  return last;
}

/**
 * What `work` finds: when `key` changes, when something was taken back, and when the second of what it returns is
 * called. It always reads what the newest drawing of the component asks for.
 * @template T
 * @param {() => T | Promise<T>} work
 * @param {unknown} key
 * @returns {[Exclude<Awaited<T>, undefined> | null, () => Promise<void>, (value: Exclude<Awaited<T>, undefined> | null) => void]}
 */
export function useRead(work, key) {
  const [value, set] = useState(/** @type {Exclude<Awaited<T>, undefined> | null} */ (null));
  const last = useLatest();
  const newest = useRef(work);
  newest.current = work;
  const again = useCallback(() => last((counts) => shown(() => newest.current(), counts), set), []);
  const times = useValue(taken);
  const begun = useRef(times);
  useEffect(() => { set(null); again(); }, [key]);
  useEffect(() => { if (times !== begun.current) { begun.current = times; again(); } }, [times]);
  return [value, again, set];
}

/**
 * A value from the API.
 * @template {string} P
 * @param {P | null} path
 * @returns {[Found<P> | null, () => Promise<void>, (value: Found<P> | null) => void]}
 */
export const useAnswer = (path) => useRead(() => /** @type {any} */ (path === null ? undefined : ask("GET", path)), path);

export const jobs = signal(/** @type {Map<string, Job>} */ (new Map()));
export const system = signal(/** @type {System | null} */ (null));
/** @type {EventSource | null} */
let stream = null;
const begun = latest();

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
    else { begun(); stream?.close(); stream = null; }
  });
  await begin();
}

/** How to go to another page when something is done, unless somebody has left this one meanwhile. */
export function useGo() {
  const here = useRef(true);
  useEffect(() => () => { here.current = false; }, []);
  return (/** @type {string} */ hash) => { if (here.current) location.hash = hash; };
}
/** @param {number} share */
export const percent = (share) => `${Math.round(100 * share)} %`;

/**
 * How to begin work that is not begun again while it is under way, and whether it is: two quick clicks are one. The
 * control stays enabled meanwhile, because one that is disabled loses the focus.
 * @param {(event: MouseEvent) => unknown} work
 * @returns {[(event: MouseEvent) => Promise<void>, boolean]}
 */
function useOnce(work) {
  const [busy, set] = useState(false);
  const held = useRef(false);
  /** @param {MouseEvent} event */
  const begin = async (event) => {
    if (held.current) return;
    held.current = true;
    set(true);
    try { await work(event); } finally { held.current = false; set(false); }
  };
  return [begin, busy];
}

/**
 * A button that asks the studio for something: once, however often it is clicked before the answer.
 * @param {{ act: (event: MouseEvent) => unknown, children?: any, [attribute: string]: unknown }} given
 */
export function Do({ act, children, ...more }) {
  const [begin, busy] = useOnce(act);
  return html`<button type="button" ...${more} aria-busy=${busy} onClick=${begin}>${children}</button>`;
}

/**
 * A button that asks once more before it removes something. The second half of a double click is no answer.
 * @param {{ label: string, sure: string, act: () => unknown, name: string }} given
 */
export function Sure({ label, sure, act, name }) {
  const [armed, arm] = useState(false);
  const [begin, busy] = useOnce(act);
  /** @param {MouseEvent} event */
  const click = (event) => {
    if (armed && event.detail > 1) return;
    arm(!armed);
    if (armed) begin(event);
  };
  return html`<button type="button" aria-label=${`${armed ? sure : label} ${name}`} aria-busy=${busy} onBlur=${() => arm(false)}
    onClick=${click}>${armed ? sure : label}</button>`;
}

/** What a page found wrong with a file. @param {{ of: Wrong }} given */
export const Trouble = ({ of }) => html`<p class="bad">${of.what}</p><p class="dim">${of.remedy}</p>`;
