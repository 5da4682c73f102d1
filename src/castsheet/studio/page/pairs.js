// Pairs: what "castsheet pairs make" accepted, sheet and clip side by side, and what it left out, by rule.
import { html, useState, useRef, useAnswer, address, Trouble } from "./lib.js";

/** @type {("found" | "accepted" | "rejected" | "quarantined")[]} */
const COUNTS = ["found", "accepted", "rejected", "quarantined"];
/** @type {("films" | "windows" | "pairs")[]} */
const STAGES = ["films", "windows", "pairs"];
const PAGE = 24;

/** @param {{ rest: string[] }} given */
export function Pairs({ rest: [open] }) {
  const [found] = useAnswer("/pairs");
  if (open) return html`<${Result} name=${open} />`;
  return html`<h1>Pairs</h1>
    ${found && found.results.length === 0 && html`<p>No pairs yet. They are made of films on the command line:</p>
      <pre tabindex="0">castsheet pairs find films.csv -o work${"\n"}castsheet pairs make work -o pairs/first</pre><p class="dim">The second folder is "pairs/first" in the studio's folder.</p>`}
    <div class="cards">${found?.results.map((one) => html`<section class="card" key=${one.id}><h2><a href=${`#/pairs/${one.id}`}>${one.id}</a></h2>
      ${one.trouble ? html`<${Trouble} of=${one.trouble} />` : html`<p>${one.summary.pairs.accepted} pairs of ${one.summary.pairs.found} clips</p>`}</section>`)}</div>`;
}

/** @param {{ name: string }} given */
function Result({ name }) {
  const [start, setStart] = useState(0);
  const [part, setPart] = useState("");
  const [found] = useAnswer(`/pairs/${name}?${new URLSearchParams({ start: String(start), limit: String(PAGE), ...(part ? { part } : {}) })}`);
  /** @param {string} next */
  const choose = (next) => { setPart(next); setStart(0); };
  // The counts stay in sight, and the controls under the focus, until another part or page of pairs is read.
  const known = useRef(found);
  known.current = found || known.current;
  if (!known.current) return html`<h1>Pairs ${name}</h1>`;
  const { summary, count, rejects } = known.current;
  return html`<h1>Pairs ${name}</h1>
    <section class="card"><div class="scroll" tabindex="0" role="region" aria-label="Counts"><table>
      <thead><tr><td></td>${COUNTS.map((one) => html`<th scope="col">${one}</th>`)}</tr></thead>
      <tbody>${STAGES.map((one) => { const counts = summary[one]; return counts && html`<tr key=${one}><th scope="row">${one}</th>${COUNTS.map((count) => html`<td>${counts[count]}</td>`)}</tr>`; })}</tbody></table></div>
      <div class="row"><label>Part <select value=${part} onChange=${(e) => choose(e.target.value)}><option value="">all</option>${Object.entries(summary.split || {}).map(([one, count]) => html`<option value=${one}>${one} (${count})</option>`)}</select></label>
        <button disabled=${start === 0} onClick=${() => setStart(start - PAGE)}>Earlier pairs</button>
        <button disabled=${start + PAGE >= count} onClick=${() => setStart(start + PAGE)}>Later pairs</button>
        <p>${!found ? "Being read" : count ? `${start + 1} to ${Math.min(start + PAGE, count)} of ${count}` : "No pairs here"}</p><a href="#/training">Train with these</a></div></section>
    <div class="cards wide">${found?.pairs.map((one) => html`<section class="card" key=${one.id} aria-label=${`Pair ${one.id}`}>
      <div class="pair"><img src=${address(`/pairs/${name}/${one.id}/sheet`)} alt=${`Sheet of ${one.id}`} loading="lazy" />
        <video src=${address(`/pairs/${name}/${one.id}/clip`)} controls loop muted playsinline preload="metadata" aria-label=${`Clip of ${one.id}`}></video></div>
      <p>${one.caption}</p><p class="dim">${one.title}, ${one.split}${one.licence ? `, ${one.licence}` : ""}</p></section>`)}</div>
    <h2>Left out</h2>
    ${rejects.length === 0 ? html`<p>Nothing was left out.</p>` : rejects.map((rule) => html`<details class="card" key=${rule.rule}><summary>${rule.rule}: ${rule.meaning || "see the rows"} (${rule.count})</summary>
      <div class="scroll" tabindex="0" role="region" aria-label=${`Left out by ${rule.rule}`}><table><thead><tr><th scope="col">Clip</th><th scope="col">Value</th><th scope="col">Limit</th></tr></thead>
        <tbody>${rule.units.map((one) => html`<tr key=${one.unit}><td>${one.unit}</td><td>${one.value}</td><td>${one.limit}</td></tr>`)}</tbody></table></div></details>`)}`;
}
