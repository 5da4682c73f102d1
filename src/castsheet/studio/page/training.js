// Training: runs with their curves and pictures over steps; sets made of pairs; a new run from a preset.
import { html, useState, useEffect, useRef, useAnswer, useGo, useValue, ask, attempt, address, jobs, system, Do, Sure, Trouble } from "./lib.js";

/** @import { Job, Line, Run as RunTold } from "./api.js" */

const PRESETS = { mini: "mini, the toy model: minutes on a processor", quick: "a quick adapter: 2,000 steps", "card-recipe": "the published recipe: 12,000 steps" };

/** @param {{ rest: string[] }} given */
export function Training({ rest: [open] }) {
  const [found, again] = useAnswer("/runs");
  const all = [...useValue(jobs).values()];
  const ended = all.filter((job) => job.ended !== null && ["train", "encode"].includes(job.kind)).length;
  useEffect(() => { if (ended) again(); }, [ended]);
  if (open) return html`<${Run} name=${open} />`;
  return html`<h1>Training</h1>
    <${Sets} ended=${ended} />
    <${NewRun} ended=${ended} />
    ${found && found.runs.length === 0 && html`<p>No runs yet. A run teaches the model from a set of clips with their sheets.</p>`}
    <div class="cards">${found?.runs.map((one) => html`<section class="card" key=${one.id} aria-label=${`Run ${one.id}`}>
      <h2><a href=${`#/training/${one.id}`}>${one.id}</a></h2>
      ${one.trouble ? html`<${Trouble} of=${one.trouble} />` : html`<p><${State} run=${one} all=${all} /></p><p class="dim">${one.preset}, set ${one.set || "of another folder"}</p>`}
      <${Sure} label="Remove" sure="Really remove" name=${`run ${one.id}`} act=${() => attempt(async () => {
        const { etag } = await ask("GET", `/runs/${one.id}`);
        await ask("DELETE", `/runs/${one.id}`, undefined, { "if-match": etag });
        await again();
      }, "Removed; what it made stays")} /></section>`)}</div>`;
}

/** @param {{ run: RunTold, all: Job[] }} given */
function State({ run, all }) {
  const job = all.find((one) => one.kind === "train" && one.request.run === run.id && ["queued", "running", "cancelling"].includes(one.state));
  const loss = run.loss === null ? "" : `, loss ${run.loss.toFixed(4)}`;
  if (job?.state === "queued") return html`<span class="chip dim">waits in the queue</span> step ${run.step}${loss}`;
  if (job) return html`<span class="chip good">trains</span> step ${Math.max(job.step, run.step)} of ${job.steps || "?"}${loss}`;
  if (run.finished) return html`<span class="chip good">finished</span> ${run.step} steps${loss}`;
  return html`<span class="chip dim">${run.step ? "stopped" : "not begun"}</span> ${run.step ? `at step ${run.step}${loss}` : ""}`;
}

/** @param {{ ended: number }} given */
function Sets({ ended }) {
  const [sets, again] = useAnswer("/sets");
  const [pairs] = useAnswer("/pairs");
  const [form, set] = useState({ name: "", pairs: "", part: "train" });
  const go = useGo();
  useEffect(() => { if (ended) again(); }, [ended]);
  const usable = /^[a-z][a-z0-9_-]*$/.test(form.name) && form.pairs;
  const make = () => attempt(async () => { await ask("POST", `/sets/${form.name}`, { pairs: form.pairs, part: form.part }); go("#/queue"); });
  return html`<section class="card"><h2>Sets</h2>
    ${sets?.sets.length ? html`<ul>${sets.sets.map((one) => html`<li key=${one.id}>${one.id}${one.samples === null ? "" : `: ${one.samples} clips`}</li>`)}</ul>` : sets && html`<p class="dim">No sets yet. A set is made of <a href="#/pairs">pairs</a>, or by "castsheet encode" into the folder "sets".</p>`}
    <div class="row"><label>Name of the set <input value=${form.name} maxlength="64" onInput=${(e) => set({ ...form, name: e.target.value.toLowerCase() })} /></label>
      <label>Pairs <select value=${form.pairs} onChange=${(e) => set({ ...form, pairs: e.target.value })}><option value="">choose</option>${pairs?.results.filter((one) => !one.trouble).map((one) => html`<option>${one.id}</option>`)}</select></label>
      <label>Part <select value=${form.part} onChange=${(e) => set({ ...form, part: e.target.value })}>${["train", "validation", "test"].map((one) => html`<option>${one}</option>`)}</select></label>
      <${Do} disabled=${!usable} act=${make}>Make the set<//></div></section>`;
}

/** @param {{ ended: number }} given */
function NewRun({ ended }) {
  const [sets, again] = useAnswer("/sets");
  const [scenes] = useAnswer("/scenes");
  const [form, set] = useState({ name: "", preset: "mini", set: "", held_out: "", steps: "", every: 100, scene: "" });
  const go = useGo();
  useEffect(() => { if (ended) again(); }, [ended]);
  const usable = /^[a-z][a-z0-9_-]*$/.test(form.name) && form.set;
  const make = () => attempt(async () => {
    /** @type {Record<string, unknown>} */
    const body = { preset: form.preset, set: form.set, held_out: form.held_out || null, sample_every: Number(form.every) };
    if (form.steps !== "") body.steps = Number(form.steps);
    if (form.scene) {
      const sheet = await ask("POST", `/scenes/${form.scene}/sheet`);
      body.samples = [{ sheet: sheet.id, action: scenes?.scenes.find((one) => one.id === form.scene)?.action || "" }];
    }
    await ask("PUT", `/runs/${form.name}`, body, { "if-none-match": "*" });
    go(`#/training/${form.name}`);
  });
  /** @param {string} label @param {"preset" | "set" | "held_out" | "scene"} name @param {string[][]} options @param {string} [none] */
  const choice = (label, name, options, none) => html`<label>${label} <select value=${form[name]} onChange=${(e) => set({ ...form, [name]: e.target.value })}>
    ${none && html`<option value="">${none}</option>`}${options.map(([value, words]) => html`<option value=${value}>${words}</option>`)}</select></label>`;
  const here = (sets?.sets || []).map((one) => [one.id, one.id]);
  return html`<section class="card"><h2>New run</h2><div class="row">
    <label>Name of the run <input value=${form.name} maxlength="64" onInput=${(e) => set({ ...form, name: e.target.value.toLowerCase() })} /></label>
    ${choice("Start from", "preset", Object.entries(PRESETS))}
    ${choice("Learn from the set", "set", here, "choose")}
    ${choice("Watch the set", "held_out", here, "none")}
    <label>Steps <input class="short" type="number" min="1" value=${form.steps} placeholder="the preset's" onInput=${(e) => set({ ...form, steps: e.target.value })} /></label>
    ${choice("Draw the scene", "scene", (scenes?.scenes || []).filter((one) => !one.trouble).map((one) => [one.id, one.title || one.id]), "none")}
    <label>every so many steps <input class="short" type="number" min="1" value=${form.every} onInput=${(e) => set({ ...form, every: e.target.value })} /></label>
    <${Do} class="main" disabled=${!usable} act=${make}>Make the run<//></div></section>`;
}

const WATCH_MS = 3000;

/** @param {{ name: string }} given */
function Run({ name }) {
  const [run, again] = useAnswer(`/runs/${name}`);
  const [curves, more] = useAnswer(`/runs/${name}/curves`);
  const all = [...useValue(jobs).values()];
  const told = useValue(system);  // the jobs are known with it
  const job = all.find((one) => one.kind === "train" && one.request.run === name && ["queued", "running", "cancelling"].includes(one.state));
  useEffect(() => {
    let [watching, timer] = [true, 0];
    // The next reading begins after the answer to the last one, however long it took.
    const watch = async () => { await Promise.all([again(), more()]); if (watching && job) timer = setTimeout(watch, WATCH_MS); };
    watch();
    return () => { watching = false; clearTimeout(timer); };
  }, [job?.state]);
  if (!run || !told) return html`<h1>${name}</h1>`;
  const train = () => attempt(() => ask("POST", `/runs/${name}/train`), "The run is in the queue");
  /** The second half of a double click on "Begin" stops nothing. @param {MouseEvent} event */
  const stop = (event) => event.detail < 2 && attempt(() => ask("POST", `/jobs/${job?.id}/cancel`), "It writes a checkpoint, and stops");
  return html`<h1>Run ${name}</h1>
    <section class="card"><p><${State} run=${run} all=${all} /></p>
      <p class="dim">Preset ${run.preset}, set ${run.set || "of another folder"}${run.held_out ? `, watched on ${run.held_out}` : ""}; ${Math.round(run.seconds)} s of training so far${run.held_out_loss === null ? "" : `; held-out loss ${run.held_out_loss.toFixed(4)}`}.</p>
      <p class="dim">${run.checkpoints.length ? `Checkpoints at step ${run.checkpoints.join(", ")}.` : "No checkpoint yet."}</p>
      <div class="row">${job ? html`<${Do} act=${stop}>Stop after a checkpoint<//>` : html`<${Do} class="main" act=${train} disabled=${run.finished}>${run.step ? "Go on" : "Begin"}<//>`}
        ${run.finished && html`<a href=${address(`/runs/${name}/adapter`)}>Download the adapter</a>`}</div></section>
    ${curves && curves.loss.step.length > 0 && html`<div class="two">
      <section class="card"><h2>Loss</h2><${Chart} label="Loss over steps" lines=${[["each step", curves.loss, "--dim"], ["smoothed", curves.smooth, "--mark"], ["held out", curves.held_out, "--bad"]]} /></section>
      <section class="card"><h2>Learning rate and gradient</h2><${Chart} label="Learning rate over steps" lines=${[["rate", curves.rate, "--mark"]]} /><${Chart} label="Gradient norm over steps" lines=${[["gradient norm", curves.gradient, "--look"]]} /></section></div>`}
    ${run.pictures.length > 0 && html`<${Pictures} run=${run} />`}`;
}

/**
 * Lines that have steps of their own, on one axis of steps.
 * @param {[string, Line, string][]} lines
 * @returns {(number | null)[][]}
 */
function joined(lines) {
  const steps = [...new Set(lines.flatMap(([, line]) => line.step))].sort((a, b) => a - b);
  return [steps, ...lines.map(([, line]) => { const at = new Map(line.step.map((step, n) => [step, line.value[n]])); return steps.map((step) => at.get(step) ?? null); })];
}

const SCHEME = matchMedia("(prefers-color-scheme: dark)");

/** @param {{ label: string, lines: [string, Line, string][] }} given */
function Chart({ label, lines }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {import("./vendor/uplot.js").default | null} */ (null));
  const [dark, setDark] = useState(SCHEME.matches);
  useEffect(() => { const changed = () => setDark(SCHEME.matches); SCHEME.addEventListener("change", changed); return () => SCHEME.removeEventListener("change", changed); }, []);
  const drawn = lines.filter(([, line]) => line.step.length > 0);
  const data = joined(drawn);
  const newest = useRef(data);
  newest.current = data;
  useEffect(() => {
    let gone = false;
    let sized = /** @type {ResizeObserver | null} */ (null);
    import("./vendor/uplot.js").then(({ default: Plot }) => {
      if (gone || !place.current) return;
      const style = getComputedStyle(document.documentElement);
      /** @param {string} name */
      const colour = (name) => style.getPropertyValue(name).trim();
      const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
      plot.current = new Plot({
        width: place.current.clientWidth, height: 240, scales: { x: { time: false } }, axes: [{ ...axis, label: "step", labelSize: 20 }, { ...axis, size: 72, values: (/** @type {unknown} */ _, /** @type {number[]} */ marks) => marks.map((mark) => String(Number(mark.toPrecision(3)))) }],
        series: [{ label: "step" }, ...drawn.map(([name, , tone]) => ({ label: name, stroke: colour(tone), width: 2, spanGaps: true, points: { show: data[0].length < 30 } }))],
      }, newest.current, place.current);
      sized = new ResizeObserver(() => { if (place.current) plot.current?.setSize({ width: place.current.clientWidth, height: 240 }); });
      sized.observe(place.current);
    });
    return () => { gone = true; sized?.disconnect(); plot.current?.destroy(); plot.current = null; };
  }, [drawn.length, dark]);
  useEffect(() => { plot.current?.setData(data); }, [data[0].length, data[0][data[0].length - 1]]);
  const last = drawn.map(([name, line]) => `${name} ${line.value[line.value.length - 1].toPrecision(4)}`).join(", ");
  return html`<div class="chart" ref=${place} role="img" aria-label=${`${label}; at step ${data[0][data[0].length - 1]}: ${last}`}></div>`;
}

/** @param {{ run: RunTold }} given */
function Pictures({ run }) {
  const numbers = [...new Set(run.pictures.map((one) => one.number))];
  const [number, setNumber] = useState(numbers[0]);
  const steps = run.pictures.filter((one) => one.number === number).map((one) => one.step);
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const place = at === null || at >= steps.length ? steps.length - 1 : at;
  return html`<section class="card" aria-label="Pictures over steps"><h2>Pictures over steps</h2>
    <div class="row">${numbers.length > 1 && html`<label>Sample <select value=${number} onChange=${(e) => setNumber(Number(e.target.value))}>${numbers.map((one) => html`<option value=${one}>${one + 1}</option>`)}</select></label>`}
      <label class="wide">After step ${steps[place]} <input type="range" min="0" max=${steps.length - 1} value=${place} aria-valuetext=${`step ${steps[place]}`} onInput=${(e) => setAt(Number(e.target.value))} /></label></div>
    <img class="whole" src=${address(`/runs/${run.id}/samples/${steps[place]}/${number}/image`)} alt=${`The sheet beside frames of the clip, after step ${steps[place]}`} />
    <p class="dim">${run.samples[number]?.action || ""}</p></section>`;
}
