// Questions to the server, and pictures kept as long as there is room.

const KEPT = 200;

// The answer; an error says in one line why there is none. An object is sent as JSON.
export async function ask(path, question) {
  const isRaw = question instanceof Uint8Array;
  const body = question && !isRaw ? JSON.stringify(question) : question;
  const headers = body && { "Content-Type": isRaw ? "application/octet-stream" : "application/json" };
  const response = await fetch(`/api/${path}`, { method: body ? "POST" : "GET", body, headers });
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Error(said.error || `the server answered ${response.status}`);
  }
  return response;
}

export class Pictures {
  // ``arrived`` is called with each that comes, ``failed`` with the reason where one does not.
  constructor(arrived, failed) {
    Object.assign(this, { arrived, failed, kept: new Map() });  // the least recently used first
  }

  // The picture, or null while it is on its way.
  get(path) {
    const known = this.kept.get(path), entry = known || { bitmap: null };
    this.kept.delete(path);
    this.kept.set(path, entry);
    if (!known) {
      this.load(path, entry);
      this.forget();
    }
    return entry.bitmap;
  }

  async load(path, entry) {
    try {
      entry.bitmap = await createImageBitmap(await (await ask(path)).blob());
      this.arrived(path);
    } catch (problem) {
      this.kept.delete(path);
      this.failed(problem);
    }
  }

  forgetAll() {
    for (const path of [...this.kept.keys()].filter((each) => !each.startsWith("frames/video"))) {
      this.kept.delete(path);
    }
  }

  forget() {
    for (const path of [...this.kept.keys()].slice(0, Math.max(0, this.kept.size - KEPT))) {
      this.kept.get(path).bitmap?.close();
      this.kept.delete(path);
    }
  }
}
