// People: who has a token, in which role, and who changed what. For the studio's owner.
import { html, useState, useAnswer, ask, attempt, Do, Sure } from "./lib.js";

const ROLES = { viewer: "looks, changes nothing", maker: "makes and changes everything", owner: "everything, and gives tokens" };

export function People() {
  const [found, again] = useAnswer("/people");
  const [log, more] = useAnswer("/log");
  const [form, set] = useState({ name: "", role: "maker" });
  const [made, setMade] = useState(/** @type {import("./api.js").Person | null} */ (null));
  const usable = /^[a-z][a-z0-9-]*$/.test(form.name);
  const add = () => attempt(async () => {
    setMade(await ask("POST", "/people", form));
    set((now) => ({ ...now, name: now.name === form.name ? "" : now.name }));
    await Promise.all([again(), more()]);
  }, "The token is made");
  return html`<h1>People</h1>
    <section class="card"><h2>Give a token</h2><div class="row">
      <label>Name of the person <input value=${form.name} maxlength="32" onInput=${(e) => set({ ...form, name: e.target.value.toLowerCase() })} /></label>
      <label>Role <select value=${form.role} onChange=${(e) => set({ ...form, role: e.target.value })}>${Object.entries(ROLES).map(([role, words]) => html`<option value=${role}>${role}: ${words}</option>`)}</select></label>
      <${Do} class="main" disabled=${!usable} act=${add}>Make the token<//></div>
      ${made && html`<div class="notice quiet"><p>The token of ${made.name}. It is shown this once:</p><pre tabindex="0">${made.token}</pre></div>`}</section>
    <section class="card"><h2>Who has one</h2>
      ${found?.people.length === 0 && html`<p class="dim">Nobody but you.</p>`}
      <ul>${found?.people.map((one) => html`<li key=${one.name}>${one.name}, ${one.role} <${Sure} label="Take away" sure="Really take away" name=${`the token of ${one.name}`} act=${() => attempt(async () => { await ask("DELETE", `/people/${one.name}`); setMade((now) => (now?.name === one.name ? null : now)); await Promise.all([again(), more()]); }, "Taken away")} /></li>`)}</ul></section>
    <section class="card"><h2>Who changed what</h2><div class="scroll" tabindex="0" role="region" aria-label="Who changed what"><table>
      <thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">Answer</th></tr></thead>
      <tbody>${log?.log.map((one) => html`<tr key=${one.id}><td>${new Date(one.at * 1000).toLocaleString()}</td><td>${one.person}</td><td>${one.method} ${one.path}</td><td>${one.status}</td></tr>`)}</tbody></table></div></section>`;
}
