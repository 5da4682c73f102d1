// Scenes: who is in it and what happens; its sheet, composed while one edits, with findings and pins drawn on it.
import { html, useState, useEffect, useRef, useAnswer, useGo, useValue, ask, attempt, address, percent, system, trouble, until, Do, Sure, Trouble } from "./lib.js";
/** @import { Box, Look, Scene, Sheet } from "./api.js" */
import { Board } from "./board.js";

export function Scenes() {
  const [found, again] = useAnswer("/scenes");
  const [cast] = useAnswer("/elements");
  const [name, setName] = useState("");
  const go = useGo();
  const usable = /^[a-z][a-z0-9_-]*$/.test(name);
  const all = (cast?.elements || []).filter((one) => !one.trouble && one.look === "default").slice(0, 12);
  const make = () => attempt(async () => {
    await ask("PUT", `/scenes/${name}`, { elements: all.map((one) => ({ use: one.id })), action: "" }, { "if-none-match": "*" });
    go(`#/scene/${name}`);
  });
  return html`<h1>Scenes</h1>
    <section class="card"><h2>New scene</h2><div class="row">
      <label>Name <input value=${name} maxlength="64" placeholder="barn" onInput=${(e) => setName(e.target.value.toLowerCase())} /></label>
      <${Do} class="main" disabled=${!usable || !all.length} act=${make}>Make the scene<//>
      ${cast && !all.length && html`<p class="look">The cast is empty. <a href="#/cast">Add pictures first.</a></p>`}</div></section>
    <div class="cards">${found?.scenes.map((one) => html`<section class="card" key=${one.id}><h2><a href=${`#/scene/${one.id}`}>${one.title || one.id}</a></h2>
      ${one.trouble ? html`<${Trouble} of=${one.trouble} />` : html`<p>${one.action || html`<span class="dim">No action yet.</span>`}</p><p class="dim">${one.elements.map((e) => e.id).join(", ")}</p>`}
      <${Sure} label="Remove" sure="Really remove" name=${`scene ${one.id}`} act=${() => attempt(async () => {
        const { etag } = await ask("GET", `/scenes/${one.id}`);
        await ask("DELETE", `/scenes/${one.id}`, undefined, { "if-match": etag });
        await again();
      }, "Removed")} /></section>`)}</div>`;
}

const WAIT = 350;

/** @param {{ rest: string[] }} given */
export function SceneEditor({ rest: [name] }) {
  const [scene, , setScene] = useAnswer(`/scenes/${name}`);
  const [cast] = useAnswer("/elements");
  const [sheet, setSheet] = useState(/** @type {Sheet | null} */ (null));
  const [seen, setSeen] = useState(false);
  const [done, setDone] = useState(/** @type {string[]} */ ([]));
  const [busy, setBusy] = useState(false);
  // Whether the sheet is of the scene as it is: what was not composed must not be shot as if it were.
  const [fits, setFits] = useState(true);
  const etag = useRef(/** @type {string | null} */ (null));
  const timer = useRef(0);
  const waits = useRef(/** @type {(() => void) | null} */ (null));
  const chain = useRef(/** @type {Promise<unknown>} */ (Promise.resolve()));
  const now = useRef(/** @type {Sheet | null} */ (null));

  /** One after another, as they were asked for: no sheet takes the place of a later one. @param {() => Promise<void>} work @param {string} [told] */
  const inTurn = (work, told) => { chain.current = chain.current.then(() => attempt(work, told)).catch((error) => reportError(error)); return chain.current; };
  /** @param {Sheet} made @param {string[]} mended */
  const show = (made, mended) => { now.current = made; setSheet(made); setDone(mended); };
  const compose = async () => {
    setFits(false);
    if (!system.peek()?.model) return;  // it is composed when its size is known
    show(await ask("POST", `/scenes/${name}/sheet`), []);
    setFits(true);
  };
  const model = useValue(system)?.model;
  useEffect(() => { if (scene && etag.current === null) etag.current = scene.etag; }, [scene]);
  const composing = async () => { setBusy(true); const mine = timer.current; await inTurn(compose); if (timer.current === mine) setBusy(false); };
  useEffect(() => { if (scene && model) composing(); }, [Boolean(scene), Boolean(model)]);

  /** @param {Scene & { etag: string }} next */
  const save = (next) => {
    setScene(next);
    setBusy(true);
    setFits(false);
    clearTimeout(timer.current);
    /** @type {() => void} */
    let ended = () => {};
    // Told at once, not after the pause: who takes the latest change back means this one.
    until(`/scenes/${name}`, new Promise((done) => { ended = () => done(undefined); }));
    waits.current?.();
    waits.current = ended;
    const mine = setTimeout(() => {
      waits.current = null;
      inTurn(async () => {
        const body = {
          title: next.title, action: next.action, pins: next.pins,
          elements: next.elements.map((one) => ({ use: one.use, own: one.own, importance: one.importance })),
        };
        const kept = await ask("PUT", `/scenes/${name}`, body, { "if-match": etag.current });
        etag.current = kept.etag;
        await compose();
      }, "The scene is saved and its sheet is composed").then(() => { ended(); if (timer.current === mine) setBusy(false); });
    }, WAIT);
    timer.current = mine;
  };
  if (!scene) return html`<h1>${name}</h1>`;

  const uses = new Set(scene.elements.map((one) => one.use || one.id));
  const offered = (cast?.elements || []).filter((one) => !one.trouble).map((one) => ({ ...one, use: one.look === "default" ? one.id : `${one.id}@${one.look}` }));
  /** @param {Look & { use: string }} one */
  const toggle = (one) => {
    const left = scene.elements.filter((each) => each.id !== one.id);
    const kept = uses.has(one.use) ? left : [...left, { use: one.use, own: null, id: one.id, kind: one.kind, importance: one.importance }];
    const pins = Object.fromEntries(Object.entries(scene.pins).filter(([panel]) => kept.some((each) => panel.startsWith(`${each.id}/`))));
    if (kept.length) save({ ...scene, elements: kept, pins });
    else trouble.value = { detail: "A scene needs an element.", remedy: "Choose another one first." };
  };
  /** @param {string} id @param {number} importance */
  const weigh = (id, importance) => save({ ...scene, elements: scene.elements.map((one) => (one.id === id ? { ...one, importance } : one)) });
  /** @param {string} panel @param {Box} share */
  const pin = (panel, share) => save({ ...scene, pins: { ...scene.pins, [panel]: share } });
  /** @param {string} panel */
  const unpin = (panel) => save({ ...scene, pins: Object.fromEntries(Object.entries(scene.pins).filter(([one]) => one !== panel)) });
  const mend = () => inTurn(async () => { const told = await ask("POST", `/sheets/${now.current?.id}/mend`); show(told, told.done); }, "Mended");

  const anew = html`<span class="look">${sheet ? "This sheet is not of the scene as it is now." : "There is no sheet yet."}</span> <button onClick=${() => save(scene)}>Save and compose it again</button>`;

  return html`<h1>${scene.title || name}</h1>
    <div class="two">
      <section class="card" aria-label="Sheet"><h2>Sheet</h2>
        ${sheet ? html`
          <${Board} sheet=${sheet} seen=${seen} pins=${scene.pins} pin=${pin} />
          <div class="row">
            <label class="line"><input type="checkbox" checked=${seen} onChange=${() => setSeen(!seen)} /> What the model sees, with its cells</label>
            <a href=${address(`/sheets/${sheet.id}/image`)} download=${`${name}.png`}>Download the sheet</a>
            ${busy ? html`<span class="dim">Being composed…</span>` : fits ? html`<a href=${`#/shot?scene=${name}&sheet=${sheet.id}`}>Shoot with this sheet</a>` : anew}</div>
          ${sheet.score && html`<p class="dim">Covered ${percent(sheet.score.covered)}, worst panel ${percent(sheet.score.smallest)} of the sheet; no layout can score more than ${sheet.score.gap.toFixed(3)} better.</p>`}
          ${sheet.doubts.map((one) => html`<p class="look">${one}</p>`)}
          <h3>Pins</h3>
          ${Object.keys(scene.pins).length === 0 ? html`<p class="dim">Drag a panel to pin it, or choose it with Tab and move it with the arrow keys.</p>`
            : html`<ul>${Object.entries(scene.pins).map(([panel, share]) => html`<li>${panel} at ${share.slice(0, 2).map(percent).join(", ")} <button onClick=${() => unpin(panel)} aria-label=${`Unpin ${panel}`}>Unpin</button></li>`)}</ul>`}
          <h3>Findings</h3><${Findings} sheet=${sheet} done=${done} mend=${mend} />` : html`<p class="dim">${!model ? "The model is being opened; then the sheet is composed for its size." : fits || busy ? "The sheet is being composed." : anew}</p>`}
      </section>
      <div>
        <section class="card"><h2>Scene</h2>
          <label class="wide">Title <input value=${scene.title} maxlength="300" onInput=${(e) => save({ ...scene, title: e.target.value })} /></label>
          <label class="wide">What happens <textarea value=${scene.action} maxlength="4000" onInput=${(e) => save({ ...scene, action: e.target.value })}></textarea></label></section>
        <section class="card"><h2>Who and what is on it</h2>
          ${offered.map((one) => html`<div class="row" key=${one.use}><label class="line"><input type="checkbox" checked=${uses.has(one.use)} onChange=${() => toggle(one)} /> ${one.use} <small class="dim">${one.kind}</small></label></div>`)}
          ${scene.elements.filter((one) => one.own).map((one) => html`<p>${one.id} <small class="dim">written in the scene's file itself</small></p>`)}
          <h3>Importance</h3>
          ${scene.elements.map((one) => html`<label class="wide" key=${one.id}>${one.id}: ${one.importance.toFixed(1)}
            <input type="range" min="0.2" max="4" step="0.1" value=${one.importance} onInput=${(e) => weigh(one.id, Number(e.target.value))} /></label>`)}
        </section></div></div>`;
}

const WORD = { error: "Error", warning: "Warning", info: "Remark" };

/** @param {{ sheet: Sheet, done: string[], mend?: () => unknown }} given */
export function Findings({ sheet, done, mend }) {
  return html`${done.map((one) => html`<p class="good">Mended: ${one}</p>`)}
    ${sheet.findings.length === 0 ? html`<p class="good">All checks passed.</p>` : html`<ul class="findings">${sheet.findings.map((one, number) => html`
      <li class=${one.severity} key=${number}><strong>${number + 1}. ${WORD[one.severity]} ${one.rule}</strong> <small class="dim">${one.meaning}</small>
        <p>${one.message}</p><p class="dim">${one.remedy}</p></li>`)}</ul>`}
    ${mend && sheet.findings.some((one) => one.mends) && html`<${Do} act=${mend}>Mend what can be mended<//>`}`;
}
