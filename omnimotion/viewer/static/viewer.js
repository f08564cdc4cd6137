// The viewer: what is shown (`state`), what the server answers, and what keys and pointer do.

import { cleared, drawFrame, drawStrip, drawTrack, pointColour } from "./draw.js";
import { Mask } from "./mask.js";
import { ask, Pictures } from "./server.js";

const AHEAD = 150, FAR = 4, ZOOM = 1.25;
const part = (id) => document.getElementById(id);
const stage = part("stage"), strip = part("strip");
const state = {
  frames: 1, size: [1, 1], fps: 24, t: 0, layer: "video", points: [], selected: null,
  trail: 16, byConfidence: false, view: { scale: 1, x: 0, y: 0 }, isFitted: true, playing: 0,
  mask: null, isDrawing: false,
};
let made = 0, shown = null, isDue = false;

// What the server answers ---------------------------------------------------------------------

function say(text, isBad = false) {
  part("status").textContent = text;
  part("status").classList.toggle("bad", isBad);
}

const complain = (problem) => say(problem.message, true);
const pictures = new Pictures(() => redraw(), complain);
const ofFrame = (t) => pictures.get(`frames/${state.layer}/${t}`);

// The mask in another frame than its own, once the server has it.
function ofMask(t) {
  const { number, frame } = state.mask;
  return number && t !== frame ? pictures.get(`masks/${number}/${t}`) : null;
}

// First the scene's own track, which takes milliseconds, then the one drawn to the matches.
async function addPoint(xy) {
  const began = performance.now(), query = [state.t, ...xy];
  const point = { query, colour: pointColour(made++), track: null };
  const track = async (refine) =>
    (await (await ask("tracks", { points: [query], refine })).json()).tracks[0];
  const show = async (found) => {
    point.track = found;
    redraw();
    await new Promise(requestAnimationFrame);
    return Math.round(performance.now() - began);
  };
  try {
    const rough = await track(false);
    state.points.push(point);
    state.selected = point;
    listPoints();
    const first = await show(rough);
    stage.dataset.drawnMs = first;
    const fine = await track(true);
    say(`track in ${first} ms, sharpened in ${await show(fine)} ms`);
    stage.dataset.tracks = state.points.length;
  } catch (problem) {
    complain(problem);
  }
}

async function propagate() {
  try {
    const response = await ask(`masks/${state.mask.frame}`, state.mask.bits());
    state.mask.number = (await response.json()).mask;
    stage.dataset.mask = state.mask.number;
    say("the mask goes along; query.py --propagate-mask writes it at full size");
    redraw();
  } catch (problem) {
    complain(problem);
  }
}

async function download(event) {
  event.preventDefault();
  const question = { points: state.points.map((point) => point.query), format: part("format").value };
  if (!part("unit").hidden) question.scale = part("length").value;
  try {
    const response = await ask("export", question);
    const link = document.createElement("a");
    link.download = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))[1];
    link.href = URL.createObjectURL(await response.blob());
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`${link.download} downloaded`);
  } catch (problem) {
    complain(problem);
  }
}

// What is shown -------------------------------------------------------------------------------

function redraw() {
  if (!state.mask) return;  // the clip is not known yet
  if (!isDue) requestAnimationFrame(draw);
  isDue = true;
}

function draw() {
  isDue = false;
  if (state.isFitted) fit();
  shown = ofFrame(state.t) || shown;
  const context = cleared(stage);
  if (shown && shown.width) drawFrame(context, shown, state.view, state.size);
  state.mask.draw(context, state.view, state.t, ofMask(state.t));
  const isSeen = (point) => point.track.visible[state.t];
  const hiddenFirst = [...state.points].sort((a, b) => isSeen(a) - isSeen(b));
  for (const point of hiddenFirst) drawTrack(context, point, state);
  drawStrip(strip, state);
  part("frame").value = state.t;
  part("number").value = `${state.t} / ${state.frames - 1}`;
}

function fit() {
  const { width, height } = stage.getBoundingClientRect(), [w, h] = state.size;
  const scale = Math.min(width / w, height / h);
  state.view = { scale, x: (width - w * scale) / 2, y: (height - h * scale) / 2 };
}

function zoom(factor, x, y) {
  const { width, height } = stage.getBoundingClientRect(), { view } = state;
  const least = Math.min(width / state.size[0], height / state.size[1]) / FAR;
  const scale = Math.min(64, Math.max(least, view.scale * factor)), by = scale / view.scale;
  const [cx, cy] = x === undefined ? [width / 2, height / 2] : [x, y];
  state.view = { scale, x: cx - (cx - view.x) * by, y: cy - (cy - view.y) * by };
  state.isFitted = false;
  redraw();
}

function go(t) {
  state.t = Math.min(state.frames - 1, Math.max(0, Math.round(t)));
  redraw();
}

function showLayer(layer) {
  state.layer = layer;
  document.querySelector(`input[name=layer][value=${layer}]`).checked = true;
  redraw();
}

function colourByConfidence(isOn) {
  state.byConfidence = part("by-confidence").checked = isOn;
  part("scale").hidden = !isOn;
  redraw();
}

function play() {
  state.playing = state.playing ? 0 : performance.now();
  part("play").textContent = state.playing ? "❚❚" : "▶";
  part("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
  if (state.playing) requestAnimationFrame(tick);
}

function isThere(t) {
  const needsMask = state.mask.number && t !== state.mask.frame;
  return ofFrame(t) && (!needsMask || ofMask(t));
}

// The next frame when its time has come and it is there.
function tick(now) {
  if (!state.playing) return;
  const next = (state.t + 1) % state.frames;
  if (now - state.playing >= 1000 / state.fps && isThere(next)) {
    state.playing = Math.max(state.playing + 1000 / state.fps, now - 1000 / state.fps);
    go(next);
  }
  requestAnimationFrame(tick);
}

function listPoints() {
  part("points").replaceChildren(...state.points.map((point) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const [t, x, y] = point.query;
    button.innerHTML = `<svg viewBox="0 0 12 12"><circle cx="6" cy="6" r="5"/></svg>`;
    button.querySelector("circle").setAttribute("fill", point.colour);
    button.append(`${x.toFixed(1)}, ${y.toFixed(1)} in frame ${t}`);
    button.setAttribute("aria-current", point === state.selected);
    button.onclick = () => { select(point); go(t); };
    item.append(button);
    return item;
  }));
  const count = state.points.length;
  part("count").textContent = count;
  part("hint").hidden = count > 0;
  for (const id of ["clear", "download"]) part(id).disabled = !count;
  part("remove").disabled = !state.selected;
  stage.dataset.points = count;
}

function drawMask(isOn) {
  state.isDrawing = part("brush").checked = isOn;
  stage.classList.toggle("drawing", isOn);
}

function maskChanged() {
  part("propagate").disabled = part("forget").disabled = state.mask.isEmpty;
  redraw();
}

function select(point) {
  state.selected = point;
  listPoints();
  redraw();
}

function remove(points) {
  state.points = state.points.filter((point) => !points.includes(point));
  select(state.points.at(-1) || null);
}

// What keys and pointer do --------------------------------------------------------------------

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
  const isTyping = event.target.matches("select, #length, #trail, #brush-size");
  const isPressing = event.key === " "
    && event.target.matches("button, [type=checkbox], [type=radio], summary");
  const act = KEYS[event.key];
  if (!act || isTyping || isPressing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act(event);
});

let held = null;  // where the pointer went down and was last, and whether it has moved since

const place = (event) => [
  (event.offsetX - state.view.x) / state.view.scale - 0.5,
  (event.offsetY - state.view.y) / state.view.scale - 0.5,
];

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
part("propagate").addEventListener("click", propagate);
part("forget").addEventListener("click", () => { state.mask.clear(); maskChanged(); });
part("export").addEventListener("submit", download);
part("format").addEventListener("change", (event) => {
  part("unit").hidden = !event.target.selectedOptions[0].dataset.units;
});
new ResizeObserver(redraw).observe(stage);

async function start() {
  const scene = await (await ask("scene")).json();
  Object.assign(state, { frames: scene.frames, size: scene.size, fps: scene.fps });
  state.mask = new Mask(scene.size, scene.mask_step);
  document.title = `${scene.name} - omnimotion`;
  part("name").textContent = scene.name;
  part("frame").max = scene.frames - 1;
  part("format").replaceChildren(...scene.formats.map(({ name, program, units }) => {
    const option = new Option(program === "omnimotion" ? name : `${name} (${program})`, name);
    option.dataset.units = units.join(" ");
    return option;
  }));
  for (let t = 0; t < Math.min(scene.frames, AHEAD); t++) ofFrame(t);
  redraw();
  stage.dataset.ready = "true";
}

start().catch(complain);
