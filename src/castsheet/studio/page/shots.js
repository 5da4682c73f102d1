// Lists of shots: a table that is the command line's file, and the clips that were made of it.
import { html, useState, useEffect, useAnswer, useGo, useValue, ask, attempt, address, jobs, Do, Sure, Trouble } from "./lib.js";

/** @param {{ rest: string[] }} given */
export function Shots({ rest: [open] }) {
  const [found, again] = useAnswer("/shots");
  const [name, setName] = useState("");
  const go = useGo();
  const usable = /^[a-z][a-z0-9_-]*$/.test(name);
  const make = () => attempt(async () => {
    await ask("PUT", `/shots/${name}`, { shots: [{ id: "shot-001", action: "hero waves" }] }, { "if-none-match": "*" });
    go(`#/shots/${name}`);
  });
  if (open) return html`<${Table} name=${open} />`;
  return html`<h1>Shot lists</h1>
    <section class="card"><h2>New list</h2><div class="row"><label>Name <input value=${name} maxlength="64" onInput=${(e) => setName(e.target.value.toLowerCase())} /></label>
      <${Do} class="main" disabled=${!usable} act=${make}>Make the list<//></div></section>
    <div class="cards">${found?.lists.map((one) => html`<section class="card" key=${one.id}><h2><a href=${`#/shots/${one.id}`}>${one.id}</a></h2>
      ${one.trouble ? html`<${Trouble} of=${one.trouble} />` : html`<p>${one.shots.length} shots, ${one.shots.filter((shot) => shot.result).length} made</p>`}
      <${Sure} label="Remove" sure="Really remove" name=${`list ${one.id}`} act=${() => attempt(async () => {
        const { etag } = await ask("GET", `/shots/${one.id}`);
        await ask("DELETE", `/shots/${one.id}`, undefined, { "if-match": etag });
        await again();
      }, "Removed")} /></section>`)}</div>`;
}

/** @param {number | string | null | undefined} value */
const whole = (value) => (value === "" || value === null || value === undefined ? null : Number(value));

/** @import { ShotList } from "./api.js" */
/** @typedef {{ id: string, action: string, continues: boolean, seed: number | string, takes: number | string }} Row */
/** The table as somebody edits it, and the version of the list that the edits are of. @typedef {{ rows: Row[], film: boolean, etag: string }} Edits */

/** @param {ShotList & { etag: string }} list @returns {Edits} */
const asRead = (list) => ({ rows: list.shots.map(({ id, action, seed, takes, continues }) => ({ id, action, continues, seed: seed ?? "", takes: takes ?? "" })), film: list.film, etag: list.etag });

/** @param {{ name: string }} given */
function Table({ name }) {
  const [list, again] = useAnswer(`/shots/${name}`);
  const [scenes] = useAnswer("/scenes");
  const [runs] = useAnswer("/runs");
  // Edits stay until they are saved, although the list is read again when a shot of it is made.
  const [edits, edit] = useState(/** @type {Edits | null} */ (null));
  const [scene, setScene] = useState("");
  const [adapter, setAdapter] = useState("");
  const go = useGo();
  const ended = [...useValue(jobs).values()].filter((job) => job.result?.shots === name).length;
  useEffect(() => { if (ended) again(); }, [ended]);
  if (!list) return html`<h1>${name}</h1>`;
  const table = edits || asRead(list);
  const { rows, film } = table;
  /** @param {Partial<Edits>} more */
  const change = (more) => edit((now) => ({ ...(now || table), ...more }));
  /** @param {number} number @param {Partial<Row>} more */
  const put = (number, more) => change({ rows: rows.map((row, at) => (at === number ? { ...row, ...more } : row)) });
  const save = () => attempt(async () => {
    const shots = rows.map((row) => ({ id: row.id, action: row.action, seed: whole(row.seed), takes: whole(row.takes), continues: row.continues }));
    const { etag } = await ask("PUT", `/shots/${name}`, { shots, takes: list.takes, film }, { "if-match": table.etag });
    await again();
    edit((now) => (now === edits || now === null ? null : { ...now, etag }));  // what was typed meanwhile stays
  }, "The list is saved");
  const shoot = () => attempt(async () => {
    const sheet = await ask("POST", `/scenes/${scene}/sheet`);
    await ask("POST", `/shots/${name}/make`, { sheet: sheet.id, adapter: adapter || null });
    go("#/queue");
  });
  const next = () => { let n = rows.length + 1; while (rows.some((row) => row.id === `shot-${String(n).padStart(3, "0")}`)) n += 1; return `shot-${String(n).padStart(3, "0")}`; };
  const finished = (runs?.runs || []).filter((one) => one.finished);
  return html`<h1>Shot list ${name}</h1>
    <section class="card"><div class="scroll" tabindex="0" role="region" aria-label="Table of shots"><table>
      <thead><tr><th scope="col">Name</th><th scope="col">What happens</th><th scope="col">Seed</th><th scope="col">Takes</th><th scope="col">Goes on from the last frame before</th><th scope="col"><span class="away">Remove</span></th></tr></thead>
      <tbody>${rows.map((row, number) => html`<tr key=${number}>
        <td><input aria-label=${`Name of shot ${number + 1}`} class="short" value=${row.id} onInput=${(e) => put(number, { id: e.target.value })} /></td>
        <td><textarea aria-label=${`Action of ${row.id}`} value=${row.action} onInput=${(e) => put(number, { action: e.target.value })}></textarea></td>
        <td><input aria-label=${`Seed of ${row.id}`} class="short" type="number" min="0" value=${row.seed} onInput=${(e) => put(number, { seed: e.target.value })} /></td>
        <td><input aria-label=${`Takes of ${row.id}`} class="short" type="number" min="1" max="16" value=${row.takes} onInput=${(e) => put(number, { takes: e.target.value })} /></td>
        <td><input type="checkbox" aria-label=${`${row.id} goes on from the shot before`} disabled=${number === 0} checked=${row.continues && number > 0} onChange=${() => put(number, { continues: !row.continues })} /></td>
        <td><button disabled=${rows.length === 1} onClick=${(/** @type {MouseEvent} */ event) => { if (event.detail < 2) change({ rows: rows.filter((_, at) => at !== number) }); }} aria-label=${`Remove ${row.id}`}>Remove</button></td></tr>`)}</tbody></table></div>
      <div class="row"><button onClick=${() => change({ rows: [...rows, { id: next(), action: "", seed: "", takes: "", continues: false }] })}>One more shot</button>
        <label class="line"><input type="checkbox" checked=${film} onChange=${() => change({ film: !film })} /> Join the shots into one film</label>
        <${Do} class="main" act=${save}>Save the list<//><a href=${address(`/shots/${name}/file`)}>Download for the command line</a></div></section>
    <section class="card row"><label>Sheet of scene <select value=${scene} onChange=${(e) => setScene(e.target.value)}><option value="">choose</option>${scenes?.scenes.filter((one) => !one.trouble).map((one) => html`<option value=${one.id}>${one.title || one.id}</option>`)}</select></label>
      ${finished.length > 0 && html`<label>Trained adapter <select value=${adapter} onChange=${(e) => setAdapter(e.target.value)}><option value="">none</option>${finished.map((one) => html`<option value=${one.id}>${one.id}</option>`)}</select></label>`}
      <${Do} class="main" disabled=${!scene || edits} act=${shoot}>Make what is not made yet<//>${edits && html`<p class="look">Save the list first.</p>`}</section>
    ${list.joined && html`<section class="card" aria-label="The film"><h2>The film</h2><video src=${address(`/shots/${name}/film?of=${list.joined}`)} controls playsinline preload="metadata" aria-label="The film"></video>
      <a href=${address(`/shots/${name}/film`)} download=${`${name}.mp4`}>Download the film</a></section>`}
    <div class="cards">${list.shots.map((one) => one.result && html`<section class="card" key=${one.id}><h2>${one.id}</h2>
      <video src=${address(`/shots/${name}/results/${one.id}/video`)} controls loop muted playsinline preload="metadata" aria-label=${one.id}></video>
      <p class=${one.result.passed ? "good" : "bad"}>${one.result.verdict}</p><p class="dim">Kept ${one.result.reason}</p></section>`)}</div>`;
}
