// Cast: people, props and places, their pictures sorted into views, and their cut-outs.
import { html, useState, useEffect, useAnswer, useValue, ask, attempt, address, go, jobs, percent, said, Sure, Trouble } from "./lib.js";
/** @import { Look as LookTold, Picture as PictureTold } from "./api.js" */
import { Brush } from "./brush.js";

/** @type {Record<string, string>} */
const KINDS = { character: "a person or creature", prop: "a thing", location: "a place" };

/** @param {LookTold} one @returns {`/elements/${string}`} */
const look = (one) => `/elements/${one.id}/looks/${one.look}`;
/** @param {LookTold} one */
const called = (one) => (one.look === "default" ? one.id : `${one.id}@${one.look}`);

/** @param {string} name @param {string} lookName @param {string} kind @param {File[]} files */
async function send(name, lookName, kind, files) {
  for (const [number, file] of [...files].entries()) {
    said.value = `Reading picture ${number + 1} of ${files.length}`;
    const query = new URLSearchParams({ label: file.name, kind });
    await ask("POST", `/elements/${name}/looks/${lookName}/pictures?${query}`, file);
  }
  said.value = `${files.length} pictures are with ${name}`;
}

/** @param {{ label: string, act: (files: File[]) => unknown, busy: boolean }} given */
function Drop({ label, act, busy }) {
  const [over, set] = useState(false);
  /** @param {DragEvent} event */
  const drop = (event) => {
    event.preventDefault();
    set(false);
    const files = [...(event.dataTransfer?.files || [])].filter((one) => one.size);
    if (files.length) act(files);
  };
  return html`<div class=${over ? "drop over" : "drop"} onDragOver=${(event) => { event.preventDefault(); set(true); }}
      onDragLeave=${() => set(false)} onDrop=${drop}>
    <label>${label} <input type="file" multiple accept="image/*" disabled=${busy}
      onChange=${(event) => { act([...event.target.files]); event.target.value = ""; }} /></label>
    <small class="dim">${busy ? "Reading…" : "or drop them here"}</small></div>`;
}

export function Cast() {
  const [found, again] = useAnswer("/elements");
  const [form, set] = useState({ name: "", look: "default", kind: "character" });
  const [busy, setBusy] = useState(false);
  const made = [...useValue(jobs).values()].filter((job) => job.kind === "fill" && job.ended !== null).length;
  useEffect(() => { if (made) again(); }, [made]);
  /** @param {File[]} files */
  const add = async (files) => {
    setBusy(true);
    await attempt(() => send(form.name, form.look, form.kind, files));
    setBusy(false);
    await again();
  };
  const named = /^[a-z][a-z0-9_-]*$/.test(form.name);
  return html`<h1>Cast</h1>
    <section class="card"><h2>Add pictures</h2>
      <div class="row">
        <label>Name, as prompts call it <input value=${form.name} placeholder="hero" maxlength="64" onInput=${(e) => set({ ...form, name: e.target.value.toLowerCase() })} /></label>
        <label>What it is <select value=${form.kind} onChange=${(e) => set({ ...form, kind: e.target.value })}>
          ${Object.entries(KINDS).map(([kind, words]) => html`<option value=${kind}>${words}</option>`)}</select></label>
        <label>Look <input class="short" value=${form.look} maxlength="64" onInput=${(e) => set({ ...form, look: e.target.value.toLowerCase() })} /></label>
        ${named ? html`<${Drop} label=${`Pictures of ${form.name}`} act=${add} busy=${busy} />` : html`<p class="dim">Give a name first: a small letter, then letters, digits, - or _.</p>`}
      </div>
    </section>
    ${found && found.elements.length === 0 && html`<p>The cast is empty. Add pictures of a person, a thing or a place.</p>`}
    ${found?.elements.map((one) => html`<${Look} key=${one.id + one.look} one=${one} views=${found.views} again=${again} />`)}`;
}

/** @param {{ one: LookTold, views: string[], again: () => Promise<void> }} given */
function Look({ one, views, again }) {
  const [busy, setBusy] = useState(false);
  const [words, setWords] = useState(one.description);
  const [weight, setWeight] = useState(one.importance);
  if (one.trouble) return html`<section class="card"><h2>${called(one)}</h2><${Trouble} of=${one.trouble} /></section>`;
  /** @param {File[]} files */
  const add = async (files) => {
    setBusy(true);
    await attempt(() => send(one.id, one.look, one.kind, files));
    setBusy(false);
    await again();
  };
  const save = () => attempt(async () => {
    const { etag } = await ask("GET", look(one));
    await ask("PATCH", look(one), { description: words, importance: Number(weight) }, { "if-match": etag });
    await again();
  }, "Saved");
  const fill = () => attempt(async () => { await ask("POST", `${look(one)}/fill`, {}); go("#/queue"); });
  const changed = words !== one.description || Number(weight) !== one.importance;
  return html`<section class="card" aria-label=${called(one)}>
    <h2>${called(one)} <small class="dim">${KINDS[one.kind]}</small></h2>
    ${one.missing.length > 0 && html`<p class="look">Missing views: ${one.missing.join(", ")}. <button onClick=${fill} aria-label=${`Let the model make the missing views of ${called(one)}`}>Let the model make them</button></p>`}
    <div class="shelf">${one.pictures.map((picture) => html`<${Picture} key=${picture.id} one=${one} picture=${picture} views=${views} again=${again} />`)}</div>
    <div class="row">
      <label class="wide">What the prompt says of ${called(one)} <textarea value=${words} maxlength="4000" onInput=${(e) => setWords(e.target.value)}></textarea></label>
      <label>Importance on the sheet (2 gets about twice the area) <input class="short" type="number" min="0.1" max="100" step="0.1" value=${weight} onInput=${(e) => setWeight(e.target.value)} /></label>
      <button class="main" disabled=${!changed} onClick=${save} aria-label=${`Save ${called(one)}`}>Save</button>
      <${Drop} label=${`More pictures of ${called(one)}`} act=${add} busy=${busy} />
      <${Sure} label="Remove" sure="Really remove" name=${called(one)} act=${() => attempt(async () => { await ask("DELETE", look(one)); await again(); }, "Removed")} />
    </div></section>`;
}

/** @param {{ one: LookTold, picture: PictureTold, views: string[], again: () => Promise<void> }} given */
function Picture({ one, picture, views, again }) {
  const [cut, setCut] = useState(false);
  const [brush, setBrush] = useState(false);
  const base = `${look(one)}/pictures/${picture.id}`;
  const name = `${picture.label} of ${called(one)}`;
  /** @param {string} view */
  const change = (view) => attempt(async () => { await ask("PATCH", base, { view }); await again(); }, `${picture.label} shows ${view}`);
  const approve = () => attempt(async () => { await ask("POST", `${base}/approve`); await again(); }, "The cut-out is kept");
  const free = one.kind !== "location";
  return html`<figure>
    <img class=${cut ? "cut" : ""} src=${address(cut ? `${base}/cutout?kept=${picture.approved}` : `${base}/image`)} alt=${`${cut ? "Cut-out of " : ""}${name}, ${picture.view}`} loading="lazy" />
    <figcaption>
      <label>View of ${picture.label} <select value=${picture.view} onChange=${(e) => change(e.target.value)}>${views.map((view) => html`<option value=${view}>${view}</option>`)}</select></label>
      <p><span class=${`chip ${picture.unsure ? "look" : "good"}`}>${picture.unsure ? "look at it" : percent(picture.confidence)}</span>
        ${picture.approved && html` <span class="chip good">cut-out kept</span>`}
        ${picture.shown ? "" : html` <span class="chip dim">not on sheets</span>`}</p>
      <small class="dim">${picture.reason}</small>
      <div class="row">
        ${free && html`<button aria-pressed=${cut} onClick=${() => setCut(!cut)} aria-label=${`Show the cut-out of ${name}`}>Cut-out</button>
          <button onClick=${approve} disabled=${picture.approved} aria-label=${`Approve the cut-out of ${name}`}>Approve</button>
          <button onClick=${() => setBrush(true)} aria-label=${`Brush the cut-out of ${name}`}>Brush</button>`}
        <${Sure} label="Take out" sure="Really" name=${name} act=${() => attempt(async () => { await ask("DELETE", base); await again(); }, "Taken out")} />
      </div>
      ${brush && html`<${Brush} base=${base} name=${name} close=${() => setBrush(false)} saved=${again} />`}
    </figcaption></figure>`;
}
