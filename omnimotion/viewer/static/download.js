// Downloads: tracks at once, and what takes a while, which the server makes first.

import { ask } from "./server.js";

const POLL_MS = 500;
const OF_POINTS = ["tracks", "video", "sheet"];
const FIELDS = {
  tracks: ["format-field"], video: ["frames-field"], sheet: ["frames-field"],
  maps: ["kind-field", "frames-field"], masks: ["frames-field"], volume: ["frames-field"],
};
const ABOUT = {
  video: "Trails of the points on the clip, as mp4.",
  sheet: "Twelve frames with the points, as PNG.",
  maps: "Where each pixel of this frame is in the others, and back.",
  masks: "The mask that you draw, at full size, as PNGs.",
  volume: "Surfaces that the frames show, as points in 3-D (PLY).",
};
const part = (id) => document.getElementById(id);
let isMaking = false;

export function offer(scene) {
  part("format").replaceChildren(...scene.formats.map(({ name, program, units, first }) => {
    const option = new Option(program === "omnimotion" ? name : `${name} (${program})`, name);
    Object.assign(option.dataset, { units: units.join(" "), first: first ?? "" });
    return option;
  }));
  const names = { stmap: "ST maps, TIFF", exr: "ST maps, EXR", flo: "flow, .flo" };
  part("kind").replaceChildren(...scene.maps.map((kind) => new Option(names[kind], kind)));
}

// Shows the fields of what is chosen, and whether it can be asked for now.
export function refreshDownload(state) {
  const what = part("product").value, { units, first } = part("format").selectedOptions[0].dataset;
  for (const id of ["format-field", "kind-field", "frames-field"]) {
    part(id).hidden = !FIELDS[what].includes(id);
  }
  part("unit").hidden = what !== "tracks" || !units;
  part("first-field").hidden = what !== "tracks" || !first;
  part("first").placeholder = first;
  const isMissing = OF_POINTS.includes(what) ? !state.points.length : what === "masks" && state.mask.isEmpty;
  part("about-download").textContent = isMissing && !isMaking
    ? (what === "masks" ? "Draw a mask first." : "Click a point first.") : ABOUT[what] || "";
  part("download").disabled = isMaking || isMissing;
  part("stop-download").hidden = !isMaking;
}

function save(href, name) {
  const link = document.createElement("a");
  Object.assign(link, { href, download: name });
  link.click();
}

// ``number`` gives the server's number of the mask, once it has it; ``say`` tells how it goes.
export async function download(state, number, say) {
  const what = part("product").value, points = state.points.map((point) => point.query);
  if (what === "tracks") return say(`${await downloadTracks(points)} downloaded`);
  isMaking = true;
  refreshDownload(state);
  try {
    const order = { what, frame: state.t, kind: part("kind").value, frames: part("frames").value };
    if (OF_POINTS.includes(what)) order.points = points;
    if (what === "masks" && !(order.mask = await number())) return;  // it was told why
    say(await made(order, say));
  } finally {
    isMaking = false;
    refreshDownload(state);
  }
}

async function made(order, say) {
  let job = await (await ask("made", order)).json();
  while (job.state === "running") {
    const count = job.of ? `${job.done} of ${job.of} files, ` : "";
    say(`making ${job.what}: ${count}${Math.round(job.seconds)} s`);
    await new Promise((done) => setTimeout(done, POLL_MS));
    job = await (await ask("made")).json();
  }
  if (job.state === "failed") throw new Error(job.said);
  if (job.state !== "done") return "stopped";
  save("/api/made/file", job.name);  // straight to disk: it may be large
  return `${job.name}: ${(job.bytes / 1e6).toFixed(1)} MB${job.name.endsWith(".zip") ? " before packing" : ""}`;
}

async function downloadTracks(points) {
  const question = { points, format: part("format").value };
  if (!part("unit").hidden) question.scale = part("length").value;
  if (!part("first-field").hidden && part("first").value) question.start_frame = Number(part("first").value);
  const response = await ask("export", question);
  const name = response.headers.get("Content-Disposition").match(/filename="([^"]+)"/)[1];
  const url = URL.createObjectURL(await response.blob());
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  return name;
}

export const stopDownload = () => fetch("/api/made", { method: "DELETE" });
