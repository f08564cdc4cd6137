// The viewer: what is shown (`state`), and what the server answers. See controls.js for what acts.

import { cleared, drawFrame, drawStrip, drawTrack, pointColour } from "./draw.js";
import { download, offer, refreshDownload } from "./download.js";
import { Mask } from "./mask.js";
import { pinsOf, refit } from "./refit.js";
import { ask, Pictures } from "./server.js";
import { showStudio } from "./studio.js";

const AHEAD = 150, FAR = 4;
export const part = (id) => document.getElementById(id);
export const stage = part("stage"), strip = part("strip");
export const state = {
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

async function tracksOf(points, refine) {
  const question = { points: points.map((point) => point.query), refine };
  return (await (await ask("tracks", question)).json()).tracks;
}

// First the scene's own track, which takes milliseconds, then the one drawn to the matches.
export async function addPoint(xy) {
  const began = performance.now(), query = [state.t, ...xy];
  const point = { query, colour: pointColour(made++), track: null, pins: new Map() };
  const track = async (refine) => (await tracksOf([point], refine))[0];
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

export async function correct() {
  try {
    part("refit").disabled = true;
    part("stop").hidden = false;
    await refit(state.points, ({ state: how, step, said }) => {
      say(how === "running" ? `refit: step ${step}` : said || `refit ${how}`, how === "failed");
    });
    pictures.forgetRendered();
    const found = await tracksOf(state.points, true);
    state.points.forEach((point, k) => { point.track = found[k]; });
  } catch (problem) {
    complain(problem);
  }
  part("stop").hidden = true;
  listPoints();
  redraw();
}

export async function propagate() {
  try {
    const response = await ask(`masks/${state.mask.frame}`, state.mask.bits());
    state.mask.number = (await response.json()).mask;
    stage.dataset.mask = state.mask.number;
    say("the mask goes along, in cells; the download has it at full size");
    redraw();
  } catch (problem) {
    complain(problem);
  }
  return state.mask.number;
}

export async function saveFile(event) {
  event.preventDefault();
  try {
    await download(state, async () => state.mask.number || await propagate(), say);
  } catch (problem) {
    complain(problem);
  }
}

// What is shown -------------------------------------------------------------------------------

export function redraw() {
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
  stage.dataset.selectedAt = state.selected ? state.selected.track.xy[state.t].join() : "";
  part("frame").value = state.t;
  part("number").value = `${state.t} / ${state.frames - 1}`;
}

function fit() {
  const { width, height } = stage.getBoundingClientRect(), [w, h] = state.size;
  const scale = Math.min(width / w, height / h);
  state.view = { scale, x: (width - w * scale) / 2, y: (height - h * scale) / 2 };
}

export function zoom(factor, x, y) {
  const { width, height } = stage.getBoundingClientRect(), { view } = state;
  const least = Math.min(width / state.size[0], height / state.size[1]) / FAR;
  const scale = Math.min(64, Math.max(least, view.scale * factor)), by = scale / view.scale;
  const [cx, cy] = x === undefined ? [width / 2, height / 2] : [x, y];
  state.view = { scale, x: cx - (cx - view.x) * by, y: cy - (cy - view.y) * by };
  state.isFitted = false;
  redraw();
}

export function go(t) {
  state.t = Math.min(state.frames - 1, Math.max(0, Math.round(t)));
  redraw();
}

export function showLayer(layer) {
  state.layer = layer;
  document.querySelector(`input[name=layer][value=${layer}]`).checked = true;
  redraw();
}

export function colourByConfidence(isOn) {
  state.byConfidence = part("by-confidence").checked = isOn;
  part("scale").hidden = !isOn;
  redraw();
}

export function play() {
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

export function listPoints() {
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
  part("clear").disabled = !count;
  refreshDownload(state);
  part("remove").disabled = !state.selected;
  part("pins").textContent = pinsOf(state.points).length;
  part("refit").disabled = !part("stop").hidden || !pinsOf(state.points).length;
  stage.dataset.points = count;
}

export function drawMask(isOn) {
  state.isDrawing = part("brush").checked = isOn;
  stage.classList.toggle("drawing", isOn);
}

export function maskChanged() {
  part("propagate").disabled = part("forget").disabled = state.mask.isEmpty;
  refreshDownload(state);
  redraw();
}

function select(point) {
  state.selected = point;
  listPoints();
  redraw();
}

export function remove(points) {
  state.points = state.points.filter((point) => !points.includes(point));
  select(state.points.at(-1) || null);
}

async function start() {
  const { open, studio } = await (await ask("start")).json();
  part("all-videos").hidden = !studio;
  part("all-videos").onclick = () => showStudio(true);
  if (open) await startScene();
  else await showStudio(false);
}

async function startScene() {
  const scene = await (await ask("scene")).json();
  Object.assign(state, { frames: scene.frames, size: scene.size, fps: scene.fps });
  state.mask = new Mask(scene.size, scene.mask_step);
  document.title = `${scene.name} - omnimotion`;
  part("name").textContent = scene.name;
  part("frame").max = scene.frames - 1;
  offer(scene);
  refreshDownload(state);
  for (let t = 0; t < Math.min(scene.frames, AHEAD); t++) ofFrame(t);
  redraw();
  stage.dataset.ready = "true";
}

start().catch(complain);
