// Cast: people, props and places, their pictures sorted into views, and their cut-outs.
import { html, useState, useEffect, useRef, useAnswer, useGo, useValue, ask, attempt, address, jobs, percent, said, Do, Sure, Trouble } from "./lib.js";
/** @import { Look as LookTold, Picture as PictureTold } from "./api.js" */
import { Brush } from "./brush.js";

/** @type {Record<string, string>} */
const KINDS = { character: "a person or creature", prop: "a thing", location: "a place" };

/** @param {LookTold} one @returns {`/elements/${string}`} */
const look = (one) => `/elements/${one.id}/looks/${one.look}`;
/** @param {LookTold} one */
const called = (one) => (one.look === "default" ? one.id : `${one.id}@${one.look}`);

/**
 * What pictures are said to be: a view that all of them show, SORTED by what each shows, or SHEETS to take apart.
 * @typedef {string} As
 */
const SORTED = "";
const SHEETS = "sheets";

/** @param {string} name @param {string} lookName @param {string} kind @param {File[]} files @param {As} as */
async function send(name, lookName, kind, files, as) {
  const doubts = [];
  for (const [number, file] of [...files].entries()) {
    said.value = `Reading picture ${number + 1} of ${files.length}`;
    const query = new URLSearchParams({ label: file.name, kind, ...(as === SORTED || as === SHEETS ? {} : { view: as }) });
    const base = /** @type {const} */ (`/elements/${name}/looks/${lookName}`);
    if (as === SHEETS) doubts.push(...(await ask("POST", `${base}/apart?${query}`, file)).doubts);
    else await ask("POST", `${base}/pictures?${query}`, file);
  }
  said.value = [`${files.length} pictures are with ${name}`, ...doubts].join(". ");
}

/** @param {DragEvent} event */
const filesOf = (event) => [...(event.dataTransfer?.files || [])].filter((one) => one.size);

/** @param {{ label: string, views: string[], act: (files: File[], as: As) => unknown, busy: boolean }} given */
function Drop({ label, views, act, busy }) {
  const [over, set] = useState(false);
  const [as, setAs] = useState(SORTED);
  /** @param {DragEvent} event */
  const drop = (event) => {
    event.preventDefault();
    set(false);
    const files = filesOf(event);
    if (files.length) act(files, as);
  };
  return html`<div class=${over ? "drop over" : "drop"} onDragOver=${(event) => { event.preventDefault(); set(true); }}
      onDragLeave=${() => set(false)} onDrop=${drop}>
    <div class="row"><label>${label} <input type="file" multiple accept="image/*"
      onChange=${(event) => { act([...event.target.files], as); event.target.value = ""; }} /></label>
    <label>What they are <select aria-label=${`What they are: ${label}`} value=${as} onChange=${(e) => setAs(e.target.value)}>
      <option value=${SORTED}>photos, to be sorted</option><option value=${SHEETS}>ready-made sheets, to be taken apart</option>
      ${views.map((view) => html`<option value=${view}>all show ${view}</option>`)}</select></label></div>
    <small class="dim">${busy ? "Reading…" : "or drop them here"}</small></div>`;
}

/**
 * Sends pictures, however many times at once. Returns how to, and whether some are under way.
 * @param {() => Promise<void>} again
 */
function useSending(again) {
  const [sending, set] = useState(0);
  /** @param {string} name @param {string} lookName @param {string} kind @param {File[]} files @param {As} as */
  const add = async (name, lookName, kind, files, as) => {
    set((count) => count + 1);
    try { await attempt(() => send(name, lookName, kind, files, as)); } finally { set((count) => count - 1); }
    await again();
  };
  return { add, busy: sending > 0 };
}

export function Cast() {
  const [found, again] = useAnswer("/elements");
  const [form, set] = useState({ name: "", look: "default", kind: "character" });
  const { add, busy } = useSending(again);
  const made = [...useValue(jobs).values()].filter((job) => job.kind === "fill" && job.ended !== null).length;
  useEffect(() => { if (made) again(); }, [made]);
  const named = /^[a-z][a-z0-9_-]*$/.test(form.name);
  return html`<h1>Cast</h1>
    <section class="card"><h2>Add pictures</h2>
      <div class="row">
        <label>Name, as prompts call it <input value=${form.name} placeholder="hero" maxlength="64" onInput=${(e) => set({ ...form, name: e.target.value.toLowerCase() })} /></label>
        <label>What it is <select value=${form.kind} onChange=${(e) => set({ ...form, kind: e.target.value })}>
          ${Object.entries(KINDS).map(([kind, words]) => html`<option value=${kind}>${words}</option>`)}</select></label>
        <label>Look <input class="short" value=${form.look} maxlength="64" onInput=${(e) => set({ ...form, look: e.target.value.toLowerCase() })} /></label>
        ${named ? html`<${Drop} label=${`Pictures of ${form.name}`} views=${slotsOf(form.kind, found?.views || [])}
          act=${(/** @type {File[]} */ files, /** @type {As} */ as) => add(form.name, form.look, form.kind, files, as)} busy=${busy} />` : html`<p class="dim">Give a name first: a small letter, then letters, digits, - or _.</p>`}
      </div>
    </section>
    ${found && found.elements.length === 0 && html`<p>The cast is empty. Add pictures of a person, a thing or a place.</p>`}
    ${found?.elements.map((one) => html`<${Look} key=${one.id + one.look} one=${one} views=${found.views} again=${again} />`)}`;
}

/** @param {{ one: LookTold, views: string[], again: () => Promise<void> }} given */
function Look({ one, views, again }) {
  const { add, busy } = useSending(again);
  // What somebody edits stays until it is saved, although the cast is read again meanwhile.
  const [edits, edit] = useState(/** @type {{ words?: string, weight?: string, human?: boolean }} */ ({}));
  const go = useGo();
  if (one.trouble) return html`<section class="card"><h2>${called(one)}</h2><${Trouble} of=${one.trouble} /></section>`;
  const words = edits.words ?? one.description;
  const weight = edits.weight ?? one.importance;
  const human = edits.human ?? one.human;
  /** @param {File[]} files @param {As} as */
  const more = (files, as) => add(one.id, one.look, one.kind, files, as);
  const save = () => attempt(async () => {
    const { etag } = await ask("GET", look(one));
    await ask("PATCH", look(one), { description: words, importance: Number(weight), ...(human === one.human ? {} : { human }) }, { "if-match": etag });
    await again();
    edit((now) => ({ words: now.words === edits.words ? undefined : now.words, weight: now.weight === edits.weight ? undefined : now.weight, human: now.human === edits.human ? undefined : now.human }));
  }, "Saved");
  const fill = () => attempt(async () => { await ask("POST", `${look(one)}/fill`, {}); go("#/queue"); });
  const changed = words !== one.description || Number(weight) !== one.importance || human !== one.human;
  return html`<section class="card" aria-label=${called(one)}>
    <h2>${called(one)} <small class="dim">${KINDS[one.kind]}</small></h2>
    ${one.missing.length > 0 && html`<p class="look">Missing views: ${one.missing.join(", ")}. <${Do} act=${fill} aria-label=${`Let the model make the missing views of ${called(one)}`}>Let the model make them<//></p>`}
    <${Slots} one=${one} views=${views} again=${again} add=${more} />
    <div class="row">
      <label class="wide">What the prompt says of ${called(one)} <textarea value=${words} maxlength="4000" onInput=${(e) => edit({ ...edits, words: e.target.value })}></textarea></label>
      <label>Importance on the sheet (2 gets about twice the area) <input class="short" type="number" min="0.1" max="100" step="0.1" value=${weight} onInput=${(e) => edit({ ...edits, weight: e.target.value })} /></label>
      ${one.kind === "character" && html`<label class="line"><input type="checkbox" checked=${!human} onChange=${(/** @type {{ currentTarget: HTMLInputElement }} */ e) => edit({ ...edits, human: !e.currentTarget.checked })} /> A puppet, a robot or an animal: the judge looks at the whole figure, not at the face</label>`}
      <${Do} class="main" disabled=${!changed} act=${save} aria-label=${`Save ${called(one)}`}>Save<//>
      <${Drop} label=${`More pictures of ${called(one)}`} views=${slotsOf(one.kind, views)} act=${more} busy=${busy} />
      <${Sure} label="Remove" sure="Really remove" name=${called(one)} act=${() => attempt(async () => { await ask("DELETE", look(one)); await again(); }, "Removed")} />
    </div></section>`;
}

/** The views that a sheet may show of a kind. @param {string} kind @param {string[]} views */
const slotsOf = (kind, views) => (kind === "character" ? views : kind === "prop" ? views.filter((view) => view !== "face") : ["front"]);

/** The picture that is dragged now, and the look that it is of. @type {{ look: string, picture: PictureTold } | null} */
let dragged = null;

/**
 * A place for every view. A picture goes to another view by dragging it there; by its handle, with the arrow keys
 * and Enter or with a click on the place; or by its list of views. Pictures from elsewhere are dropped on a view.
 * @param {{ one: LookTold, views: string[], again: () => Promise<void>, add: (files: File[], as: As) => unknown }} given
 */
function Slots({ one, views, again, add }) {
  const [over, setOver] = useState("");
  const [grasp, hold] = useState(/** @type {{ id: string, view: string } | null} */ (null));
  // Brushed here, not beside its picture: strokes outlive that the picture goes to another view.
  const [brushed, brush] = useState(/** @type {PictureTold | null} */ (null));
  const shelf = useRef(/** @type {HTMLElement | null} */ (null));
  const slots = [...new Set([...slotsOf(one.kind, views), ...one.pictures.map((picture) => picture.view)])];
  const carried = one.pictures.find((picture) => picture.id === grasp?.id);
  const held = grasp && carried ? { picture: carried, view: grasp.view } : null;
  /** @param {PictureTold} picture @param {string} view @param {string} control */
  const put = (picture, view, control) => attempt(async () => {
    hold(null);
    if (view === picture.view) return;
    await ask("PATCH", `${look(one)}/pictures/${picture.id}`, { view });
    await again();
    said.value = `${picture.label} shows ${view}`;
    // The picture stands in another place now: its control gets the focus back, unless somebody is elsewhere by now.
    requestAnimationFrame(() => { if (document.activeElement === document.body) /** @type {HTMLElement | null | undefined} */ (shelf.current?.querySelector(`[data-picture="${picture.id}"] ${control}`))?.focus(); });
  });
  /** @param {string} view */
  const aim = (view) => { if (held) { hold({ id: held.picture.id, view }); said.value = `${view}; Enter puts ${held.picture.label} there`; } };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    if (!held) return;
    const step = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 })[event.key];
    if (step) aim(slots[(slots.indexOf(held.view) + step + slots.length) % slots.length]);
    else if (event.key === "Escape") hold(null);
    else return;
    event.preventDefault();
  };
  /** @param {PictureTold} picture */
  const grip = (picture) => {
    if (held?.picture.id === picture.id) { put(picture, held.view, "button"); return; }
    hold({ id: picture.id, view: picture.view });
    said.value = `Choose a view for ${picture.label} with the arrow keys, then press Enter`;
  };
  /** @param {DragEvent} event @param {string} view */
  const drop = (event, view) => {
    event.preventDefault();
    setOver("");
    const files = filesOf(event);
    if (files.length) add(files, view);
    else if (dragged?.look === called(one)) put(dragged.picture, view, "button");
  };
  /** @param {DragEvent} event @param {string} view */
  const enter = (event, view) => {
    if (dragged ? dragged.look !== called(one) : !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    setOver(view);
  };
  return html`<div class="slots" ref=${shelf} onKeyDown=${key}>${slots.map((view) => {
    const mine = one.pictures.filter((picture) => picture.view === view);
    return html`<div key=${view} class=${`slot${view === over || view === held?.view ? " over" : ""}${mine.length > 2 ? " many" : ""}`} role="group" aria-label=${`${view} of ${called(one)}`}
        onDragOver=${(/** @type {DragEvent} */ event) => enter(event, view)} onDragLeave=${() => setOver("")} onDrop=${(/** @type {DragEvent} */ event) => drop(event, view)}>
      <h3>${view}</h3>
      ${held && held.picture.view !== view && html`<button onClick=${() => put(held.picture, view, "button")}>Put ${held.picture.label} here</button>`}
      ${mine.length === 0 && html`<p class="dim">${one.missing.includes(view) ? "missing" : "none"}</p>`}
      ${mine.map((picture) => html`<${Picture} key=${picture.id} one=${one} picture=${picture} views=${slots} again=${again} held=${held?.picture.id === picture.id}
        grip=${() => grip(picture)} put=${(/** @type {string} */ to) => put(picture, to, "select")} brush=${() => brush(picture)} />`)}</div>`;
  })}</div>
    ${brushed && html`<${Brush} base=${`${look(one)}/pictures/${brushed.id}`} name=${nameOf(one, brushed)} close=${() => brush(null)} saved=${again} />`}`;
}

/** @param {LookTold} one @param {PictureTold} picture */
const nameOf = (one, picture) => `${picture.label} of ${called(one)}`;

/**
 * @param {{ one: LookTold, picture: PictureTold, views: string[], again: () => Promise<void>, held: boolean, grip: () => unknown,
 *   put: (view: string) => unknown, brush: () => unknown }} given
 */
function Picture({ one, picture, views, again, held, grip, put, brush }) {
  const [cut, setCut] = useState(false);
  const base = `${look(one)}/pictures/${picture.id}`;
  const name = nameOf(one, picture);
  const approve = () => attempt(async () => { await ask("POST", `${base}/approve`); await again(); }, "The cut-out is kept");
  const free = one.kind !== "location";
  return html`<figure data-picture=${picture.id}>
    <img draggable="true" onDragStart=${(/** @type {DragEvent} */ event) => { dragged = { look: called(one), picture }; event.dataTransfer?.setData("text/plain", picture.label); }} onDragEnd=${() => { dragged = null; }} class=${cut ? "cut" : ""} src=${address(cut ? `${base}/cutout?kept=${picture.approved}` : `${base}/image`)} alt=${`${cut ? "Cut-out of " : ""}${name}, ${picture.view}`} loading="lazy" />
    <figcaption>
      <label>View of ${picture.label} <select value=${picture.view} onChange=${(e) => put(e.target.value)}>${views.map((view) => html`<option value=${view}>${view}</option>`)}</select></label>
      <p><span class=${`chip ${picture.unsure ? "look" : "good"}`}>${picture.unsure ? "look at it" : percent(picture.confidence)}</span>
        ${picture.approved && html` <span class="chip good">cut-out kept</span>`}
        ${picture.shown ? "" : html` <span class="chip dim">not on sheets</span>`}</p>
      <small class="dim">${picture.reason}</small>
      <div class="row">
        ${views.length > 1 && html`<button aria-pressed=${held} onClick=${grip} aria-label=${`Move ${name} to another view`}>Move</button>`}
        ${free && html`<button aria-pressed=${cut} onClick=${() => setCut(!cut)} aria-label=${`Show the cut-out of ${name}`}>Cut-out</button>
          <${Do} act=${approve} disabled=${picture.approved} aria-label=${`Approve the cut-out of ${name}`}>Approve<//>
          <button onClick=${brush} aria-label=${`Brush the cut-out of ${name}`}>Brush</button>`}
        <${Sure} label="Take out" sure="Really" name=${name} act=${() => attempt(async () => { await ask("DELETE", base); await again(); }, "Taken out")} />
      </div>
    </figcaption></figure>`;
}
