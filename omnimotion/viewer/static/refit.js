// Corrections: places where a track went wrong, set by dragging, and the refit that heeds them.

import { ask } from "./server.js";

const POLL_MS = 700;

// Rows of all points that were corrected: where each was asked, and where it was dragged to.
export function pinsOf(points) {
  return points.filter((point) => point.pins.size).flatMap((point, track) => {
    const [t0, x0, y0] = point.query;
    const places = [...point.pins].map(([t, [x, y]]) => ({ track, t, x, y }));
    return [{ track, t: t0, x: x0, y: y0 }, ...places];
  });
}

// ``told`` is called with what the server says, again and again, until the refit has ended.
export async function refit(points, told) {
  let progress = await (await ask("refit", { pins: pinsOf(points) })).json();
  while (progress.state === "running") {
    told(progress);
    await new Promise((done) => setTimeout(done, POLL_MS));
    progress = await (await ask("refit")).json();
  }
  told(progress);
}

export const stop = () => fetch("/api/refit", { method: "DELETE" });
