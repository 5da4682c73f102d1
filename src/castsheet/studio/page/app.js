// The frame: where one is, what the model's worker says, and the page that the address names.
import { html, render, useEffect, useRef, useState, useValue, follow, said, trouble, system, undo, taken, takeBack, recall, Do } from "./lib.js";
import { Cast } from "./cast.js";
import { Scenes, SceneEditor } from "./scene.js";
import { Shot } from "./shot.js";
import { QueuePage } from "./queue.js";
import { Gallery } from "./gallery.js";
import { Compare } from "./compare.js";
import { Shots } from "./shots.js";
import { Training } from "./training.js";
import { Pairs } from "./pairs.js";
import { People } from "./people.js";

const PLACES = [["cast", "Cast"], ["scenes", "Scenes"], ["shot", "Shot"], ["queue", "Queue"], ["gallery", "Gallery"], ["shots", "Shot lists"], ["pairs", "Pairs"], ["training", "Training"]];
/** @type {Record<string, (given: any) => import("./vendor/preact.js").VNode>} */
const PAGES = { cast: Cast, scenes: Scenes, scene: SceneEditor, shot: Shot, queue: QueuePage, gallery: Gallery, compare: Compare, shots: Shots, pairs: Pairs, training: Training, people: People };
/** @type {Record<string, string>} */
const UNDER = { scene: "scenes", compare: "gallery" };
const EDITED = new Set(["cast", "scenes", "scene", "shots", "training"]);

function where() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [place, ...rest] = path.split("/");
  return { place: PAGES[place] ? place : "cast", rest: rest.map(decodeURIComponent), query: new URLSearchParams(query || "") };
}

function App() {
  const [at, set] = useState(where());
  const told = useValue(system);
  const wrong = useValue(trouble);
  const news = useValue(said);
  const back = useValue(undo);
  const times = useValue(taken);
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const moved = () => { if (location.hash === "#main") return; trouble.value = null; set(where()); main.current?.focus({ preventScroll: true }); };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => { recall(); }, []);
  const Page = PAGES[at.place];
  const name = (PLACES.find(([place]) => place === (UNDER[at.place] || at.place)) || ["", at.place === "people" ? "People" : "Cast"])[1];
  useEffect(() => { document.title = `${name}: Castsheet Studio`; }, [name]);
  return html`
    <header class="bar">
      <strong>Castsheet Studio</strong>
      <nav aria-label="Pages">${PLACES.map(([place, label]) => html`
        <a href=${`#/${place}`} aria-current=${(UNDER[at.place] || at.place) === place ? "page" : undefined}>${label}</a>`)}</nav>
      ${told?.who.role === "owner" && html`<a href="#/people" aria-current=${at.place === "people" ? "page" : undefined}>People</a>`}
      ${told && told.who.role !== "owner" && html`<span class="dim">${told.who.name}, ${told.who.role}</span>`}
      <span class="model">${told?.model ? `${told.model.name}, ${told.model.width} x ${told.model.height}` : "The model is being opened"}</span>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${told?.trouble && html`<div class="notice"><p><strong>${told.trouble.what}</strong></p><p>${told.trouble.remedy}</p></div>`}
      ${wrong && html`<div class="notice" role="alert"><p><strong>${wrong.detail}</strong></p><p>${wrong.remedy}</p></div>`}
      ${back && EDITED.has(at.place) && html`<p class="back"><${Do} act=${takeBack}>Undo<//> <span class="dim">${back.what}</span></p>`}
      <${Page} key=${(at.place === "scene" ? times : "") + at.place + at.rest.join("/") + at.query} rest=${at.rest} query=${at.query} />
    </main>
    <div class="away" aria-live="polite">${news}</div>`;
}

render(html`<${App} />`, document.getElementById("app"));
follow();
