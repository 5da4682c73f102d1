// A shot: the two-part prompt, one preset with its differences spelt out, seeds and takes.
import { html, useState, useEffect, useRef, useAnswer, useGo, useLatest, useValue, ask, attempt, address, said, system, shown, trouble, Do } from "./lib.js";
/** @import { Asked, Sheet } from "./api.js" */
import { Findings } from "./scene.js";

/** @param {unknown} value */
const told = (value) => (value === null ? "none" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** @param {URLSearchParams} query @param {{ request: Asked } | null} source */
function start(query, source) {
  /** @type {Partial<Asked>} */
  const from = source?.request || {};
  return {
    scene: from.scene || query.get("scene") || "", sheet: from.sheet || query.get("sheet") || "",
    action: from.action || from.prompt || "", first: from.first_frame || query.get("first") || "", adapter: from.adapter || "", preset: from.preset || "", seed: from.seed ?? "", takes: 1, force: Boolean(from.force),
    steps: from.settings?.steps ?? "", frames: from.settings?.frames ?? "", strength: from.settings?.strength || {}, others: from.settings || {},
  };
}

/** @param {{ query: URLSearchParams }} given */
export function Shot({ query }) {
  const [take, job] = [query.get("take"), query.get("job")];
  const [source] = useAnswer(take ? `/takes/${take}` : job ? `/jobs/${job}` : null);
  if ((take || job) && !source) return html`<h1>Shot</h1>`;
  return html`<${Form} key=${source?.id || ""} begin=${start(query, source)} changed=${Boolean(source)} />`;
}

/** @param {{ begin: ReturnType<typeof start>, changed: boolean }} given */
function Form({ begin, changed }) {
  const [form, set] = useState(begin);
  const [scenes] = useAnswer("/scenes");
  const [presets] = useAnswer("/presets");
  const [made] = useAnswer("/takes");
  const [runs] = useAnswer("/runs");
  const [sheet, setSheet] = useState(/** @type {Sheet | null} */ (null));
  // Asked for again after no answer, the same body has the same key, and is not made twice.
  const asked = useRef({ body: "", key: "" });
  const go = useGo();
  const model = useValue(system)?.model;
  /** @param {Partial<ReturnType<typeof start>>} more */
  const change = (more) => set((now) => ({ ...now, ...more }));
  const last = useLatest();

  /** @param {string} scene */
  const choose = (scene) => {
    last();  // a sheet that is on its way is of another scene
    trouble.value = null;
    setSheet(null);
    const found = scenes?.scenes.find((one) => one.id === scene);
    set((now) => ({ ...now, scene, sheet: "", action: found?.action || now.action }));
  };
  const read = (/** @type {() => boolean} */ counts) => shown(() => {
    if (form.sheet) return ask("GET", `/sheets/${form.sheet}?${new URLSearchParams({ action: form.action })}`);
    return form.scene ? ask("POST", `/scenes/${form.scene}/sheet`) : undefined;
  }, counts);
  const check = () => last(read, (one) => { setSheet(one); set((now) => ({ ...now, sheet: one.id })); });
  useEffect(() => { if (model) check(); }, [form.scene, form.sheet, Boolean(model)]);
  useEffect(() => {
    const found = scenes?.scenes.find((one) => one.id === form.scene);
    if (found) set((now) => ({ ...now, action: now.action || found.action || "" }));
  }, [scenes]);

  const settings = () => {
    const { steps, frames, strength, ...others } = form.others;
    /** @type {NonNullable<Asked["settings"]>} */
    const given = { ...others };
    if (form.steps !== "") given.steps = Number(form.steps);
    if (form.frames !== "") given.frames = Number(form.frames);
    if (Object.keys(form.strength).length) given.strength = form.strength;
    return given;
  };
  const shoot = () => attempt(async () => {
    /** @type {Asked & { takes: number }} */
    const body = { sheet: form.sheet, scene: form.scene || null, action: form.action, takes: Number(form.takes), preset: form.preset || null, settings: settings(), force: form.force };
    if (form.first) body.first_frame = form.first;
    if (form.adapter) body.adapter = form.adapter;
    if (form.seed !== "") body.seed = Number(form.seed);
    const text = JSON.stringify(body);
    if (asked.current.body !== text) asked.current = { body: text, key: crypto.randomUUID() };
    await ask("POST", "/jobs", body, { "idempotency-key": asked.current.key });
    said.value = `${form.takes} takes are in the queue`;
    go("#/queue");
  });
  const differ = presets?.presets[form.preset] || {};
  const like = (made?.takes || []).filter((one) => one.preset === (form.preset || presets?.usual.name));
  const seconds = like.length ? like.reduce((sum, one) => sum + one.seconds, 0) / like.length : null;
  const trained = [...new Set([...(runs?.runs || []).filter((one) => one.finished).map((one) => one.id), ...(form.adapter ? [form.adapter] : [])])];
  return html`<h1>${changed ? "Shot, with changes" : "Shot"}</h1>
    <div class="two"><section class="card"><h2>What the clip shows</h2>
      <label>Scene <select value=${form.scene} onChange=${(e) => choose(e.target.value)}><option value="">choose a scene</option>
        ${scenes?.scenes.filter((one) => !one.trouble).map((one) => html`<option value=${one.id}>${one.title || one.id}</option>`)}</select></label>
      ${sheet && html`<p><strong>The sheet shows</strong> ${sheet.reference}</p>`}
      <label class="wide">What happens <textarea value=${form.action} maxlength="4000" onInput=${(e) => change({ action: e.target.value })} onBlur=${() => { if (form.sheet) check(); }}></textarea></label>
      ${sheet && html`<div class="row" role="group" aria-label="Put a name into the action">${sheet.elements.map((id) => html`<button onClick=${() => change({ action: `${form.action.trimEnd()} ${id}`.trimStart() })}>@${id}</button>`)}</div>`}
      <p class="dim">${form.action.trim().split(/\s+/).filter(Boolean).length} words</p>
      <div class="row">
        <label>Preset <select value=${form.preset} onChange=${(e) => change({ preset: e.target.value })}><option value="">the model's usual</option>${presets && Object.keys(presets.presets).map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
        ${trained.length > 0 && html`<label>Trained adapter <select value=${form.adapter} onChange=${(e) => change({ adapter: e.target.value })}><option value="">none</option>${trained.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>`}
        <label>Seed <input class="short" type="number" min="0" value=${form.seed} placeholder="the scene's" onInput=${(e) => change({ seed: e.target.value })} /></label>
        <label>Takes <input class="short" type="number" min="1" max="16" value=${form.takes} onInput=${(e) => change({ takes: e.target.value })} /></label>
        <label>Steps <input class="short" type="number" min="1" max="1000" value=${form.steps} placeholder=${presets?.usual.steps} onInput=${(e) => change({ steps: e.target.value })} /></label>
        <label>Frames <input class="short" type="number" min="1" step="8" value=${form.frames} placeholder=${presets?.usual.frames} onInput=${(e) => change({ frames: e.target.value })} /></label>
      </div>
      ${form.preset && html`<p class="dim">${form.preset} differs from the usual settings: ${Object.entries(differ).map(([name, value]) => `${name} ${told(value)}`).join("; ") || "in nothing"}.</p>`}
      <${First} chosen=${form.first} choose=${(first) => change({ first })} />
      ${sheet && html`<details><summary>Strength of single elements</summary><div class="row">${sheet.elements.map((id) => html`<label>${id} <input class="short" type="number" min="0.1" max="10" step="0.1" value=${form.strength[id] ?? ""} placeholder="1"
        onInput=${(e) => { const { [id]: _, ...rest } = form.strength; change({ strength: e.target.value === "" ? rest : { ...rest, [id]: Number(e.target.value) } }); }} /></label>`)}</div></details>`}
      <label class="line"><input type="checkbox" checked=${form.force} onChange=${() => change({ force: !form.force })} /> Go on although a check finds an error</label>
      <p class="dim">${seconds === null ? "How long a take lasts is not known yet." : `About ${Math.round(seconds)} s a take, by ${like.length} earlier ones.`}</p>
      <${Do} class="main" disabled=${!form.sheet || !form.action.trim()} act=${shoot}>Make ${form.takes} ${Number(form.takes) === 1 ? "take" : "takes"}<//>
    </section>
    <section class="card" aria-label="Checks"><h2>Sheet and prompt</h2>
      ${sheet ? html`<img class="sheet" src=${address(`/sheets/${sheet.id}/seen`)} alt="The sheet as the model sees it" width="100%" /><${Findings} sheet=${sheet} done=${[]} />` : html`<p class="dim">${model ? "Choose a scene." : "The model is being opened."}</p>`}
    </section></div>`;
}

/** The picture that the clip starts with, if there is one. @param {{ chosen: string, choose: (id: string) => void }} given */
function First({ chosen, choose }) {
  const [frames, again] = useAnswer("/frames");
  const [begun] = useState(Boolean(chosen));
  const last = useLatest();
  /** @param {string} id */
  const pick = (id) => { last(); choose(id); };  // a picture that is on its way is not chosen then
  /** @param {File} file */
  const add = (file) => last(() => attempt(async () => { const made = await ask("POST", "/frames", file); await again(); return made; }, "The picture is kept"), (made) => choose(made.id));
  return html`<details open=${begun}><summary>First frame</summary>
    <p class="dim">The clip starts with this picture. It should have the shape of the clip.</p>
    <div class="row"><label>Add a picture <input type="file" accept="image/*" onChange=${(e) => { if (e.target.files[0]) add(e.target.files[0]); e.target.value = ""; }} /></label></div>
    <div class="shelf" role="radiogroup" aria-label="First frame">
      <label class="line"><input type="radio" name="first" checked=${!chosen} onChange=${() => pick("")} /> none</label>
      ${frames?.frames.map((id, number) => html`<label key=${id}><img class="whole" src=${address(`/frames/${id}/image`)} alt=${`First frame ${number + 1}`} loading="lazy" />
        <span><input type="radio" name="first" checked=${chosen === id} onChange=${() => pick(id)} aria-label=${`First frame ${number + 1}`} /> picture ${number + 1}</span></label>`)}</div></details>`;
}
