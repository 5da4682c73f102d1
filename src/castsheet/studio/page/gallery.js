// Takes that were made: filters, stars, what made each, and making it again.
/** @import { Take } from "./api.js" */
import { html, useState, useAnswer, useGo, ask, attempt, address, Do } from "./lib.js";

/** @type {Record<string, [string, string]>} */
export const STATE = { carried: ["good", "The cast is kept"], "not carried": ["bad", "The cast is not kept"], "cannot tell": ["look", "Cannot tell"] };

export function Gallery() {
  const [filter, set] = useState({ element: "", state: "", preset: "", starred: false });
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value).map(([name, value]) => [name, String(value)]));
  const [found, again] = useAnswer(`/takes?${query}`);
  const [all] = useAnswer("/takes");
  const go = useGo();
  const [chosen, choose] = useState(/** @type {string[]} */ ([]));
  const names = [...new Set((all?.takes || []).flatMap((one) => one.elements))].sort();
  const presets = [...new Set((all?.takes || []).map((one) => one.preset))].sort();
  /** @param {string} id */
  const pick = (id) => choose(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-4));
  return html`<h1>Gallery</h1>
    <div class="card row">
      <label>Who or what <select value=${filter.element} onChange=${(e) => set({ ...filter, element: e.target.value })}><option value="">all</option>${names.map((one) => html`<option>${one}</option>`)}</select></label>
      <label>Verdict <select value=${filter.state} onChange=${(e) => set({ ...filter, state: e.target.value })}><option value="">all</option>${Object.entries(STATE).map(([state, [, words]]) => html`<option value=${state}>${words}</option>`)}</select></label>
      <label>Preset <select value=${filter.preset} onChange=${(e) => set({ ...filter, preset: e.target.value })}><option value="">all</option>${presets.map((one) => html`<option>${one}</option>`)}</select></label>
      <label class="line"><input type="checkbox" checked=${filter.starred} onChange=${() => set({ ...filter, starred: !filter.starred })} /> Starred</label>
      <button class="main" disabled=${chosen.length < 2} onClick=${() => go(`#/compare/${chosen.join("/")}`)}>Compare ${chosen.length || ""}</button></div>
    ${found && found.takes.length === 0 && html`<p>No takes here. <a href="#/shot">Ask for some.</a></p>`}
    <div class="cards">${found?.takes.map((one) => html`<${Card} key=${one.id} one=${one} again=${again} chosen=${chosen.includes(one.id)} pick=${() => pick(one.id)} />`)}</div>`;
}

/** @param {{ one: Take, again: () => Promise<void>, chosen: boolean, pick: () => void }} given */
function Card({ one, again, chosen, pick }) {
  const [sidecar, setSidecar] = useState(/** @type {object | null} */ (null));
  const [tone, words] = STATE[one.state];
  const go = useGo();
  const star = () => attempt(async () => { await ask("PUT", `/takes/${one.id}/star`, { star: !one.star }); await again(); }, one.star ? "The star is taken back" : "Starred");
  const rerun = () => attempt(async () => { await ask("POST", `/takes/${one.id}/again`); go("#/queue"); });
  return html`<section class="card" aria-label=${one.label}>
    <video src=${address(`/takes/${one.id}/video`)} controls loop muted playsinline preload="metadata" aria-label=${one.label}></video>
    <h2>${one.label}</h2>
    <p><span class=${`chip ${tone}`}>${words}</span> <span class="dim">score ${one.score.toFixed(3)}</span></p><p>${one.verdict}</p>
    ${one.stale.length > 0 && html`<p class="look">Made from pictures of ${one.stale.join(", ")} that have changed since.</p>`}
    <div class="row">
      <label class="line"><input type="checkbox" checked=${chosen} onChange=${pick} aria-label=${`Compare ${one.label}`} /> Compare</label>
      <${Do} aria-pressed=${one.star} act=${star} aria-label=${`Star ${one.label}`}>${one.star ? "★ Starred" : "☆ Star"}<//>
      <a href=${`#/compare/${one.id}`}>Look closely</a>
      <${Do} act=${rerun} aria-label=${`Run again ${one.label}`}>Run again<//>
      <a href=${`#/shot?take=${one.id}`}>With changes</a>
      <a href=${address(`/takes/${one.id}/video`)} download=${`${one.id}.mp4`}>Download</a></div>
    <details onToggle=${(e) => { if (e.target.open && !sidecar) attempt(() => ask("GET", `/takes/${one.id}/sidecar`)).then((told) => told && setSidecar(told)); }}>
      <summary>What made it</summary>
      <p class="dim">Seed ${one.seed}, preset ${one.preset}${one.request.adapter ? `, the adapter of run ${one.request.adapter}` : ""}, sheet ${one.sheet}, ${one.video.frames} frames. Video ${one.video.sha256.slice(0, 16)}.</p>
      ${sidecar && html`<pre tabindex="0">${JSON.stringify(sidecar, null, 1)}</pre>`}</details></section>`;
}
