// Pictures of tracks on a canvas. A place (x, y) is in pixels of the video, centres at whole
// numbers: on the canvas it is (x + 0.5, y + 0.5) pixels from the frame's corner.

const UNSURE = [226, 76, 58], MIDDLE = [247, 206, 92], SURE = [64, 190, 240];

export function confidenceColour(confidence) {
  const [from, to, part] = confidence < 0.5
    ? [UNSURE, MIDDLE, 2 * confidence] : [MIDDLE, SURE, 2 * confidence - 1];
  return `rgb(${from.map((low, k) => Math.round(low + (to[k] - low) * part)).join(" ")})`;
}

// Hues a golden angle apart: however many points, neighbours in the list differ.
export function pointColour(number) {
  return `hsl(${(205 + 137.508 * number) % 360} 90% ${number % 2 ? 74 : 62}%)`;
}

// Sizes the canvas's pixels to the screen's; its context, in CSS pixels.
export function cleared(canvas) {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, box.width, box.height);
  return context;
}

export function drawFrame(context, image, view, size) {
  context.imageSmoothingEnabled = view.scale < 3;  // near, the pixels themselves
  context.drawImage(image, view.x, view.y, size[0] * view.scale, size[1] * view.scale);
}

export function drawTrack(context, point, state) {
  const { track } = point, { t, view } = state;
  const inCanvas = ([x, y]) => [view.x + (x + 0.5) * view.scale, view.y + (y + 0.5) * view.scale];
  const colour = (k) => state.byConfidence ? confidenceColour(track.confidence[k]) : point.colour;
  context.lineCap = "round";
  for (let k = Math.max(1, t - state.trail + 1); k <= t; k++) {
    const isSeen = track.visible[k - 1] && track.visible[k];
    context.globalAlpha = (1 - (t - k) / (state.trail + 1)) * (isSeen ? 0.95 : 0.5);
    context.lineWidth = isSeen ? 2.4 : 1.2;
    context.strokeStyle = colour(k);
    context.setLineDash(isSeen ? [] : [1, 4]);
    context.beginPath();
    context.moveTo(...inCanvas(track.xy[k - 1]));
    context.lineTo(...inCanvas(track.xy[k]));
    context.stroke();
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
  drawHead(context, inCanvas(track.xy[t]), colour(t), track.visible[t], point === state.selected);
  if (point.pins.has(t)) drawPin(context, inCanvas(point.pins.get(t)), point.colour);
}

function drawPin(context, [x, y], colour) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.strokeRect(x - 8, y - 8, 16, 16);
}

// A disc where the point is seen, a ring where it is hidden.
function drawHead(context, [x, y], colour, isSeen, isSelected) {
  const circle = (radius) => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
  };
  context.lineWidth = isSeen ? 1.5 : 4.5;
  context.strokeStyle = "#000b";
  circle(isSeen ? 5.5 : 5);
  context.stroke();
  if (isSeen) {
    context.fillStyle = colour;
    circle(5);
    context.fill();
  } else {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    circle(5);
    context.stroke();
  }
  if (isSelected) {
    context.strokeStyle = "#fff";
    context.lineWidth = 1.5;
    circle(9);
    context.stroke();
  }
}

// The selected track in time: a bar for each frame, as high as it is sure, hollow where hidden.
export function drawStrip(canvas, state) {
  const context = cleared(canvas), { width, height } = canvas.getBoundingClientRect();
  const step = width / state.frames, track = state.selected && state.selected.track;
  const base = height - 2;
  context.fillStyle = "#ffffff14";
  context.fillRect(0, base, width, 1);
  for (let k = 0; track && k < state.frames; k++) {
    const bar = Math.max(2, track.confidence[k] * (base - 2));
    context.fillStyle = confidenceColour(track.confidence[k]);
    if (track.visible[k]) {
      context.fillRect(k * step, base - bar, Math.max(1, step - 1), bar);
    } else {
      context.fillRect(k * step, base - bar, Math.max(1, step - 1), 1.5);
    }
  }
  context.fillStyle = "#fff";
  if (track) context.fillRect((track.query[0] + 0.5) * step - 1, base, 2, 2);
  context.fillRect((state.t + 0.5) * step - 0.5, 0, 1, height);
}
