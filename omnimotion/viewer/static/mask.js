// A mask: drawn with a brush on one frame, then shown where its object is in the others.

const INK = "rgb(255 80 170 / 0.59)";

export class Mask {
  constructor([width, height], step) {
    Object.assign(this, { width, height, step, frame: 0, number: 0, isEmpty: true });
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.lineCap = this.context.lineJoin = "round";
    this.context.strokeStyle = "#fff";
  }

  // From one place to the next, in pixels of the video; on another frame it begins anew.
  stroke(from, to, width, frame, isRubber) {
    if (frame !== this.frame) this.clear();
    this.frame = frame;
    this.number = 0;  // what the server knows is another one
    this.context.globalCompositeOperation = isRubber ? "destination-out" : "source-over";
    this.context.lineWidth = width;
    this.context.beginPath();
    this.context.moveTo(from[0] + 0.5, from[1] + 0.5);
    this.context.lineTo(to[0] + 0.5, to[1] + 0.5);
    this.context.stroke();
    this.isEmpty &&= isRubber;
  }

  clear() {
    this.context.clearRect(0, 0, this.width, this.height);
    this.isEmpty = true;
    this.number = 0;
  }

  // A bit for each pixel, row after row, the first pixel highest in its byte.
  bits() {
    const { data } = this.context.getImageData(0, 0, this.width, this.height);
    const bits = new Uint8Array(Math.ceil(this.width * this.height / 8));
    for (let k = 0; k < this.width * this.height; k++) {
      if (data[4 * k + 3] > 127) bits[k >> 3] |= 128 >> (k & 7);
    }
    return bits;
  }

  // ``carried``: the server's picture of frame t, of cells, where there is one.
  draw(context, view, t, carried) {
    context.imageSmoothingEnabled = false;
    if (t === this.frame && !this.isEmpty) {
      context.drawImage(this.tinted(), view.x, view.y, this.width * view.scale, this.height * view.scale);
    } else if (carried && carried.width) {
      const side = this.step * view.scale;
      context.drawImage(carried, view.x, view.y, carried.width * side, carried.height * side);
    }
  }

  tinted() {
    const copy = new OffscreenCanvas(this.width, this.height), context = copy.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = INK;
    context.fillRect(0, 0, this.width, this.height);
    return copy;
  }
}
