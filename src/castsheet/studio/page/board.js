// The sheet as a drawing: panels that can be moved, findings boxed and numbered, or what the model sees.
/** @import { Box, Sheet } from "./api.js" */
import { html, useState, useRef, address } from "./lib.js";

const STEP = 0.02;
/** @param {number} value @param {number} most */
const clamp = (value, most) => Math.min(Math.max(value, 0), most);

/** @param {{ sheet: Sheet, seen: boolean, pins: Record<string, Box>, pin: (panel: string, share: Box) => void }} given */
export function Board({ sheet, seen, pins, pin }) {
  const [moved, move] = useState(/** @type {{ panel: string, cell: Box, from: number[], by: number[] } | null} */ (null));
  const drawing = useRef(/** @type {SVGSVGElement | null} */ (null));
  const { width, height } = sheet;
  const size = Math.max(8, Math.round(0.035 * height));
  if (seen) return html`<${Seen} sheet=${sheet} />`;

  /** @param {number} number */
  const cell = (number) => (sheet.cells.length === sheet.panels.length && sheet.cells[number].length === 4 ? sheet.cells[number] : sheet.panels[number].box);
  /** @param {Box} place @returns {Box} */
  const share = ([x, y, w, h]) => [x / width, y / height, w / width, h / height];
  /** Where a panel's next step starts: from its pin, whose sheet may not be composed yet. @param {number} number @returns {Box} */
  const place = (number) => {
    const given = pins[sheet.panels[number].name];
    if (!given || Math.max(...given) > 1) return given || cell(number);  // a pin written by hand may be in pixels
    return [given[0] * width, given[1] * height, given[2] * width, given[3] * height];
  };
  /** @param {PointerEvent} event */
  const at = (event) => {
    const box = /** @type {SVGSVGElement} */ (drawing.current).getBoundingClientRect();
    return [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
  };
  /** @param {PointerEvent} event @param {number} number */
  const begin = (event, number) => {
    /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
    // The panel and its cell are kept: a sheet that is composed meanwhile may have others under this number.
    move({ panel: sheet.panels[number].name, cell: cell(number), from: at(event), by: [0, 0] });
  };
  /** @param {PointerEvent} event */
  const drag = (event) => { if (moved) { const [x, y] = at(event); move({ ...moved, by: [x - moved.from[0], y - moved.from[1]] }); } };
  const end = () => {
    if (!moved) return;
    const [x, y, w, h] = moved.cell;
    const [dx, dy] = moved.by;
    move(null);
    if (Math.hypot(dx, dy) > 3) pin(moved.panel, share([clamp(x + dx, width - w), clamp(y + dy, height - h), w, h]));
  };
  /** @param {KeyboardEvent} event @param {number} number */
  const key = (event, number) => {
    const way = /** @type {Record<string, number[]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 0] })[event.key];
    if (!way) return;
    event.preventDefault();
    const [x, y, w, h] = place(number);
    pin(sheet.panels[number].name, share([clamp(x + way[0] * STEP * width, width - w), clamp(y + way[1] * STEP * height, height - h), w, h]));
  };
  return html`<svg class="board" ref=${drawing} viewBox=${`0 0 ${width} ${height}`} font-size=${size} aria-label="The sheet" role="group">
    <image width=${width} height=${height} href=${address(`/sheets/${sheet.id}/image`)} />
    ${sheet.panels.map((panel, number) => {
      const [x, y, w, h] = panel.box;
      const by = moved && moved.panel === panel.name ? moved.by : [0, 0];
      return html`<g key=${panel.name} class=${`panel ${pins[panel.name] ? "pinned" : ""}`} tabindex="0" role="button" transform=${`translate(${by[0]} ${by[1]})`}
        aria-label=${`${panel.element}, ${panel.view}${pins[panel.name] ? ", pinned" : ""}. Arrow keys move and pin it; Enter pins it here.`}
        onPointerDown=${(e) => begin(e, number)} onPointerMove=${drag} onPointerUp=${end} onPointerCancel=${() => move(null)} onKeyDown=${(e) => key(e, number)}>
        <rect x=${x} y=${y} width=${w} height=${h} /><text x=${x + 3} y=${y + h - 4}>${panel.element} · ${panel.view}</text></g>`;
    })}
    ${sheet.findings.map((one, number) => one.where && html`<g key=${`f${number}`} aria-hidden="true">
      <rect class=${`mark ${one.severity}`} x=${one.where[0]} y=${one.where[1]} width=${one.where[2]} height=${one.where[3]} />
      <text class="away-text" x=${one.where[0] + one.where[2] - size} y=${one.where[1] + size} fill="#fff" stroke="#000" stroke-width="3" paint-order="stroke">${number + 1}</text></g>`)}
  </svg>`;
}

/** @param {{ sheet: Sheet }} given */
function Seen({ sheet }) {
  const { width, height, cell } = sheet.seen;
  const lines = [];
  for (let x = cell; x < width; x += cell) lines.push(html`<line class="cell" x1=${x} x2=${x} y1="0" y2=${height} />`);
  for (let y = cell; y < height; y += cell) lines.push(html`<line class="cell" x1="0" x2=${width} y1=${y} y2=${y} />`);
  return html`<svg class="board" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${`The sheet as the model sees it: ${width} x ${height} pixels in cells of ${cell}`}>
    <image width=${width} height=${height} href=${address(`/sheets/${sheet.id}/seen`)} />${lines}</svg>`;
}
