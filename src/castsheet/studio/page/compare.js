// Takes side by side: players in lockstep, the judge's timeline under each, a click shows frame and panel.
import { html, useState, useEffect, useRef, ask, attempt, address, percent, useAnswer, useRead, useGo, Do } from "./lib.js";
/** @import { Judged, Take } from "./api.js" */
import { STATE } from "./gallery.js";

/** @typedef {Take & { judged: Judged }} Looked */

/** @param {{ rest: string[] }} given */
export function Compare({ rest }) {
  const [takes, again] = useRead(async () => Object.fromEntries(await Promise.all(rest.map(async (id) => {
    const [take, judged] = await Promise.all([ask("GET", `/takes/${id}`), ask("GET", `/takes/${id}/judgement`)]);
    return /** @type {[string, Looked]} */ ([id, { ...take, judged: judged.clips[0] }]);
  }))), rest.join());
  const [frame, setFrame] = useState(0);
  const [playing, setPlaying] = useState(false);
  const [blind, setBlind] = useState(false);
  const [order, setOrder] = useState(rest);
  const videos = useRef(/** @type {Record<string, HTMLVideoElement | null>} */ ({}));
  const first = takes && takes[rest[0]];
  const fps = first?.video.fps || 24;
  const count = takes ? Math.max(...Object.values(takes).map((one) => one.video.frames)) : 1;

  // The number of the playback that goes on, if one does: a frame that an ended one still draws must not undo a seek.
  const run = useRef(0);
  const stop = () => { run.current += 1; setPlaying(false); };
  useEffect(() => stop, []);
  const play = () => {
    run.current += 1;
    setPlaying(true);
    const mine = run.current;
    let begun = /** @type {number | null} */ (null);
    const from = frame >= count - 1 ? 0 : frame;
    /** @param {number} time */
    const on = (time) => {
      if (mine !== run.current) return;
      begun = begun ?? time;
      setFrame(Math.floor(from + ((time - begun) / 1000) * fps) % count);
      requestAnimationFrame(on);
    };
    requestAnimationFrame(on);
  };
  useEffect(() => {
    for (const video of Object.values(videos.current)) if (video) video.currentTime = Math.min((frame + 0.5) / fps, video.duration || 1e9);
  }, [frame, takes]);

  const hide = () => {
    const shuffled = [...rest];
    for (let i = shuffled.length - 1; i > 0; i -= 1) { const j = Math.floor(Math.random() * (i + 1)); [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]]; }
    setOrder(blind ? rest : shuffled);
    setBlind(!blind);
  };
  /** @param {number} to */
  const seek = (to) => { stop(); setFrame(Math.min(Math.max(to, 0), count - 1)); };
  /** @param {string} id */
  const star = (id) => attempt(async () => { await ask("PUT", `/takes/${id}/star`, { star: !takes?.[id].star }); setBlind(false); await again(); }, "Starred");
  const title = rest.length > 1 ? "Takes side by side" : "Take";
  if (!takes) return html`<h1>${title}</h1>`;
  return html`<h1>${title}</h1>
    <div class="card row">
      <button class="main" onClick=${playing ? stop : play}>${playing ? "Stop" : "Play"}</button>
      <button onClick=${() => seek(frame - 1)}>Frame back</button><button onClick=${() => seek(frame + 1)}>Frame on</button>
      <label>Frame ${frame} of ${count - 1} <input type="range" min="0" max=${count - 1} value=${frame} onInput=${(e) => seek(Number(e.target.value))} /></label>
      ${rest.length > 1 && html`<label class="line"><input type="checkbox" checked=${blind} onChange=${hide} /> Blind: hide names and verdicts until one gets a star</label>`}</div>
    <div class="players">${order.map((id, place) => html`<${Player} key=${id} take=${takes[id]} name=${blind ? `Take ${"ABCD"[place]}` : takes[id].label} blind=${blind} frame=${frame} seek=${seek}
      hold=${(/** @type {HTMLVideoElement | null} */ video) => { videos.current[id] = video; }} star=${() => star(id)} />`)}</div>`;
}

/**
 * @param {{ take: Looked, name: string, blind: boolean, frame: number, seek: (to: number) => void,
 *   hold: (video: HTMLVideoElement | null) => void, star: () => unknown }} given
 */
function Player({ take, name, blind, frame, seek, hold, star }) {
  const [shown, show] = useState(/** @type {string | null} */ (null));
  const [tone, words] = STATE[take.state];
  const go = useGo();
  const { judged } = take;
  const on = () => attempt(async () => { const { id } = await ask("POST", `/takes/${take.id}/frames`, { frame: Math.min(frame, take.video.frames - 1) }); go(`#/shot?scene=${take.request.scene || ""}&sheet=${take.sheet}&first=${id}`); });
  return html`<section class="card" aria-label=${name}><h2>${name}</h2>
    <div class=${!blind && shown ? "beside shown" : "beside"}><video ref=${hold} src=${address(`/takes/${take.id}/video`)} muted playsinline preload="auto" aria-label=${name}></video>
      ${!blind && shown && html`<div><${Panel} take=${take} element=${shown} /></div>`}</div>
    ${!blind && html`<p><span class=${`chip ${tone}`}>${words}</span> score ${take.score.toFixed(3)}</p><p>${take.verdict}</p>
      ${judged.problems.map((one) => html`<p class=${one.grave ? "bad" : "look"}>${one.element ? `${one.element}: ` : ""}${one.message} ${one.frames.map((at) => html`<button onClick=${() => seek(at)}>frame ${at}</button> `)}</p>`)}`}
    <div class="row"><${Do} aria-pressed=${take.star} act=${star} aria-label=${`Star ${name}`}>${take.star ? "★ Starred" : "☆ Star"}<//>
      ${!blind && html`<${Do} act=${on} aria-label=${`Start a shot from this frame of ${name}`}>Start a shot from this frame<//>`}</div>
    ${!blind && judged.elements.map((one) => html`<h3>${one.id}: <span class=${STATE[one.state][0]}>${one.state}</span> <small class="dim">${one.why}; seen in ${percent(one.coverage)} of the frames</small></h3>
      <${Timeline} one=${one} judged=${judged} frame=${frame} seek=${(/** @type {number} */ at) => { seek(at); show(one.id); }} />`)}</section>`;
}

/** @param {{ one: Judged["elements"][number], judged: Judged, frame: number, seek: (to: number) => void }} given */
function Timeline({ one, judged, frame, seek }) {
  const last = Math.max(judged.frames - 1, 1);
  const points = judged.sampled.map((at, n) => `${(100 * at) / last},${40 - 38 * Math.max(0, Math.min(1, one.similarity[n]))}`).join(" ");
  const leaks = judged.leak.leaked.map((leaked, at) => leaked && html`<rect class="leak" key=${at} x=${(100 * at) / last} y="0" width=${100 / last} height="40" />`);
  /** @param {MouseEvent} event */
  const at = (event) => { const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect(); return Math.round(((event.clientX - box.left) / box.width) * last); };
  /** @param {KeyboardEvent} event */
  const key = (event) => { const step = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1 })[event.key]; if (step) { event.preventDefault(); seek(frame + step); } };
  return html`<svg class="time" viewBox="0 0 100 40" preserveAspectRatio="none" tabindex="0" role="slider" aria-label=${`Likeness of ${one.id} over time`}
      aria-valuemin="0" aria-valuemax=${last} aria-valuenow=${frame} onClick=${(e) => seek(at(e))} onKeyDown=${key}>
    ${leaks}<line class="half" x1="0" x2="100" y1="21" y2="21" /><polyline points=${points} /><line class="now" x1=${(100 * frame) / last} x2=${(100 * frame) / last} y1="0" y2="40" /></svg>`;
}

/** @param {{ take: Looked, element: string }} given */
function Panel({ take, element }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [sheet] = useAnswer(`/sheets/${take.sheet}`);
  useEffect(() => {
    if (!sheet) return undefined;
    let gone = false;
    const boxes = sheet.panels.filter((panel) => panel.element === element).map((panel) => panel.box);
    if (!boxes.length) return undefined;
    const image = new Image();
    image.onload = () => {
      if (!canvas.current || gone) return;
      const wide = 200;
      const heights = boxes.map(([, , w, h]) => (h * wide) / w);
      canvas.current.width = wide;
      canvas.current.height = heights.reduce((sum, h) => sum + h + 6, 0);
      const pen = /** @type {CanvasRenderingContext2D} */ (canvas.current.getContext("2d"));
      let y = 0;
      boxes.forEach(([bx, by, w, h], n) => { pen.drawImage(image, bx, by, w, h, 0, y, wide, heights[n]); y += heights[n] + 6; });
    };
    image.src = address(`/sheets/${take.sheet}/image`);
    return () => { gone = true; };
  }, [sheet, element]);
  return html`<h3>${element} on the sheet</h3><canvas ref=${canvas} role="img" aria-label=${`Panels of ${element} on the sheet`}></canvas>`;
}
