// A cut-out's mask, brushed: paint what belongs to the subject, erase what does not. Mouse, pen or keys.
import { html, useState, useRef, useEffect, ask, attempt, address, Do } from "./lib.js";

const SIDE = 720;

/** @param {string} path @returns {Promise<HTMLImageElement>} */
function picture(path) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = failed;
    image.src = address(path);
  });
}

/** @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2DSettings} [how] */
const penOf = (canvas, how) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", how));

/** @param {{ base: `/elements/${string}`, name: string, close: () => void, saved: () => Promise<void> }} given */
export function Brush({ base, name, close, saved }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const shown = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const held = useRef({ mask: /** @type {HTMLCanvasElement | null} */ (null), image: /** @type {HTMLImageElement | null} */ (null), at: [0, 0], down: false, kept: false });
  const [tool, setTool] = useState("add");
  const [size, setSize] = useState(24);
  const [ready, setReady] = useState(false);

  const draw = () => {
    const { mask, image, at } = held.current;
    const canvas = shown.current;
    if (!canvas || !mask || !image) return;
    const pen = penOf(canvas);
    pen.globalCompositeOperation = "source-over";
    pen.globalAlpha = 1;
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const veil = document.createElement("canvas");
    [veil.width, veil.height] = [canvas.width, canvas.height];
    const over = penOf(veil);
    over.fillStyle = "#e0218a";
    over.fillRect(0, 0, veil.width, veil.height);
    over.globalCompositeOperation = "destination-out";
    over.drawImage(mask, 0, 0);
    pen.globalAlpha = 0.6;
    pen.drawImage(veil, 0, 0);
    pen.globalAlpha = 1;
    pen.strokeStyle = "#ffffff";
    pen.beginPath();
    pen.arc(at[0], at[1], size / 2, 0, 7);
    pen.stroke();
  };

  useEffect(() => {
    dialog.current?.showModal();
    (async () => {
      const [image, given] = await Promise.all([picture(`${base}/image?side=${SIDE}`), picture(`${base}/mask`)]);
      const mask = document.createElement("canvas");
      [mask.width, mask.height] = [image.width, image.height];
      const pen = penOf(mask, { willReadFrequently: true });
      pen.drawImage(given, 0, 0, mask.width, mask.height);
      const pixels = pen.getImageData(0, 0, mask.width, mask.height);
      for (let i = 0; i < pixels.data.length; i += 4) { pixels.data[i + 3] = pixels.data[i]; pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = 255; }
      pen.putImageData(pixels, 0, 0);
      held.current = { mask, image, at: [image.width / 2, image.height / 2], down: false, kept: false };
      if (shown.current) [shown.current.width, shown.current.height] = [image.width, image.height];
      setReady(true);
      draw();
    })().catch(() => attempt(() => ask("GET", `${base}/mask`)).then(() => dialog.current?.close()));
  }, []);
  useEffect(draw, [size, ready]);

  const dab = () => {
    const { mask, at, kept } = held.current;
    if (!mask || kept) return;  // a stroke after "Keep" would be shown and lost
    const pen = penOf(mask);
    pen.globalCompositeOperation = tool === "add" ? "source-over" : "destination-out";
    pen.fillStyle = "#fff";
    pen.beginPath();
    pen.arc(at[0], at[1], size / 2, 0, 7);
    pen.fill();
  };
  /** @param {PointerEvent} event */
  const move = (event) => {
    const canvas = /** @type {HTMLCanvasElement} */ (shown.current);
    const box = canvas.getBoundingClientRect();
    held.current.at = [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
    if (held.current.down) dab();
    draw();
  };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    const step = /** @type {Record<string, number[]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[event.key];
    if (step) held.current.at = held.current.at.map((value, axis) => value + (step[axis] * size) / 3);
    else if (event.key === " ") dab();
    else return;
    event.preventDefault();
    draw();
  };
  const save = () => attempt(async () => {
    const { mask } = held.current;
    if (!mask) return;
    const flat = document.createElement("canvas");
    [flat.width, flat.height] = [mask.width, mask.height];
    const pen = penOf(flat);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, flat.width, flat.height);
    pen.drawImage(mask, 0, 0);
    held.current.kept = true;
    try { await ask("PUT", `${base}/mask`, await new Promise((done) => flat.toBlob((blob) => done(/** @type {Blob} */ (blob)), "image/png"))); } catch (error) { held.current.kept = false; throw error; }
    dialog.current?.close();
    await saved();
  }, "The mask is kept");

  return html`<dialog ref=${dialog} onClose=${close} aria-label=${`Brush the cut-out of ${name}`}>
    <h2>Brush the cut-out of ${name}</h2>
    <p class="dim">${ready ? "Pink is cut away. With keys: arrows move the brush, space paints." : "The picture is being read."}</p>
    <canvas ref=${shown} class="brush" hidden=${!ready} tabindex="0" role="img" aria-label="The picture with its mask" onKeyDown=${key}
      onPointerDown=${(e) => { held.current.down = true; e.target.setPointerCapture(e.pointerId); move(e); }} onPointerMove=${move} onPointerUp=${() => { held.current.down = false; }}></canvas>
    <div class="row">
      ${ready && html`<label>Brush <select value=${tool} onChange=${(e) => setTool(e.target.value)}><option value="add">keep what I paint</option><option value="take">cut away what I paint</option></select></label>
      <label>Size <input type="range" min="4" max="120" value=${size} onInput=${(e) => setSize(Number(e.target.value))} /></label>
      <${Do} class="main" act=${save}>Keep this mask<//>`}
      <button onClick=${() => dialog.current?.close()}>Close</button>
    </div></dialog>`;
}
