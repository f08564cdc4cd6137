// What keys and pointer do.

import { refreshDownload, stopDownload } from "./download.js";
import { stop } from "./refit.js";
import {
  addPoint, colourByConfidence, correct, drawMask, go, listPoints, maskChanged, part, play,
  propagate, redraw, remove, saveFile, showLayer, stage, state, strip, zoom,
} from "./viewer.js";

const NEAR = 12, ZOOM = 1.25;

const KEYS = {
  " ": play, c: () => colourByConfidence(!state.byConfidence),
  m: () => drawMask(!state.isDrawing), M: () => drawMask(!state.isDrawing),
  ArrowLeft: (event) => go(state.t - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => go(state.t + (event.shiftKey ? 10 : 1)),
  Home: () => go(0), End: () => go(state.frames - 1),
  "+": () => zoom(ZOOM), "=": () => zoom(ZOOM), "-": () => zoom(1 / ZOOM),
  0: () => { state.isFitted = true; redraw(); },
  1: () => showLayer("video"), 2: () => showLayer("colour"), 3: () => showLayer("depth"),
  Delete: () => remove([state.selected]), Backspace: () => remove([state.selected]),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("select, #length, #first, #frames, #trail, #brush-size");
  const isPressing = event.key === " "
    && event.target.matches("button, [type=checkbox], [type=radio], summary");
  const act = KEYS[event.key];
  if (!part("studio").hidden) return;
  if (!act || isTyping || isPressing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act(event);
});

let held = null;  // where the pointer went down and was last, and whether it has moved since

const place = (event) => [
  (event.offsetX - state.view.x) / state.view.scale - 0.5,
  (event.offsetY - state.view.y) / state.view.scale - 0.5,
];

function isOnSelected([x, y]) {
  if (!state.selected || state.t === state.selected.query[0]) return false;
  const [px, py] = state.selected.track.xy[state.t];
  return Math.hypot(x - px, y - py) * state.view.scale < NEAR;
}

// Shown at once; its neighbours follow with the refit.
function pin(point, xy) {
  const inside = xy.map((value, axis) => Math.min(state.size[axis] - 0.5, Math.max(-0.5, value)));
  point.pins.set(state.t, inside);
  point.track.xy[state.t] = inside;
  listPoints();
  redraw();
}

function brush(event) {
  const width = Number(part("brush-size").value) / state.view.scale;
  state.mask.stroke(held.place, place(event), width, state.t, event.shiftKey);
  held.place = place(event);
  maskChanged();
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  stage.setPointerCapture(event.pointerId);
  held = { x: event.offsetX, y: event.offsetY, view: state.view, moved: false, place: place(event) };
  held.point = !state.isDrawing && isOnSelected(held.place) ? state.selected : null;
  if (state.isDrawing) brush(event);
});
stage.addEventListener("pointermove", (event) => {
  if (!held) return;
  if (state.isDrawing) {
    brush(event);
    return;
  }
  const dx = event.offsetX - held.x, dy = event.offsetY - held.y;
  held.moved ||= Math.hypot(dx, dy) > 4;
  if (!held.moved) return;
  if (held.point) {
    pin(held.point, place(event));
    return;
  }
  stage.classList.add("panning");
  state.view = { ...state.view, x: held.view.x + dx, y: held.view.y + dy };
  state.isFitted = false;
  redraw();
});
stage.addEventListener("pointerup", (event) => {
  const wasHeld = held, xy = place(event);
  held = null;
  stage.classList.remove("panning");
  if (!wasHeld || wasHeld.moved || state.isDrawing) return;
  if (xy.every((value, axis) => value >= -0.5 && value <= state.size[axis] - 0.5)) addPoint(xy);
});
stage.addEventListener("pointercancel", () => { held = null; });
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
}, { passive: false });

const scrub = (event) => {
  if (event.buttons) go((event.offsetX / strip.clientWidth) * state.frames - 0.5);
};
strip.addEventListener("pointerdown", scrub);
strip.addEventListener("pointermove", scrub);
part("frame").addEventListener("input", (event) => go(Number(event.target.value)));
part("trail").addEventListener("input", (event) => {
  state.trail = Number(event.target.value);
  redraw();
});
part("layers").addEventListener("change", (event) => showLayer(event.target.value));
part("by-confidence").addEventListener("change", (event) => {
  colourByConfidence(event.target.checked);
});
part("play").addEventListener("click", play);
part("remove").addEventListener("click", () => remove([state.selected]));
part("clear").addEventListener("click", () => remove(state.points));
part("brush").addEventListener("change", (event) => drawMask(event.target.checked));
part("refit").addEventListener("click", correct);
part("stop").addEventListener("click", stop);
part("propagate").addEventListener("click", propagate);
part("forget").addEventListener("click", () => { state.mask.clear(); maskChanged(); });
part("export").addEventListener("submit", saveFile);
part("export").addEventListener("change", () => refreshDownload(state));
part("stop-download").addEventListener("click", stopDownload);
new ResizeObserver(redraw).observe(stage);
