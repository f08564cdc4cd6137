// From a video to a scene: it is dropped, sent, worked on, and then shown.

import { ask } from "./server.js";

const POLL_MS = 700, MOST_TRIES = 3;
const STAGES = ["send", "preprocess", "train"];
const part = (id) => document.getElementById(id);
let maxBytes = 0, sending = null, since = null, isPolling = false, isBusy = false, warned = "";

const complain = (problem) => { part("said").textContent = problem.message; };

// ``isOpen``: a scene is shown behind, to go back to.
export async function showStudio(isOpen) {
  part("studio").hidden = false;
  part("back").hidden = !isOpen;
  part("said").textContent = "";
  const about = await (await ask("studio")).json();
  maxBytes = about.max_bytes;
  part("bounds").textContent =
    `mp4, mov, mkv, webm or avi, up to ${(maxBytes / 1e9).toFixed(1)} GB. It stays on this machine.`;
  if (!part("budget").options.length) {
    part("budget").replaceChildren(...about.budgets.map((budget) => new Option(
      budget ? `${parseInt(budget)} minutes` : "as long as it needs", budget)));
  }
  listScenes(about.scenes);
  if (about.job.state === "running") follow();
  part("studio").dataset.ready = "true";
}

function listScenes(scenes) {
  part("shelf-title").hidden = !scenes.length;
  part("shelf").replaceChildren(...scenes.map(({ name, frames, size, ready }) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const picture = document.createElement(frames ? "img" : "i");
    const facts = document.createElement("span"), small = document.createElement("small");
    if (frames) Object.assign(picture, { src: `/api/scenes/${encodeURIComponent(name)}/picture`, alt: "" });
    else picture.className = "blank";
    facts.className = "facts";
    small.textContent = frames ? `${frames} frames, ${size[0]} x ${size[1]}` : "not matched yet";
    if (!ready) small.textContent += "; click to go on";
    facts.append(name, small);
    button.append(picture, facts);
    button.onclick = () => (ready ? open(name) : goOn(name)).catch(complain);
    item.append(button);
    return item;
  }));
}

async function open(name) {
  part("said").textContent = "";
  part("doing").textContent = "opening the scene";
  await ask("open", { name });
  location.reload();
}

async function goOn(name) {
  part("said").textContent = "";
  await ask("continue", { name, budget: "" });  // as it was begun
  follow();
}

// Sending -------------------------------------------------------------------------------------

function send(file) {
  part("said").textContent = "";
  if (isBusy) return complain(new Error("one video at a time: wait for it, or cancel it"));
  if (file.size > maxBytes) {
    return complain(new Error(
      `${file.name} has ${(file.size / 1e9).toFixed(1)} GB, at most ${(maxBytes / 1e9).toFixed(1)} are taken`));
  }
  sending = new XMLHttpRequest();  // fetch does not tell how much was sent
  sending.open("POST", `/api/videos?budget=${encodeURIComponent(part("budget").value)}`);
  sending.setRequestHeader("Content-Type", "application/octet-stream");
  sending.responseType = "json";
  sending.upload.onprogress = ({ loaded, total }) => {
    show("send", loaded, total, `${(loaded / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`);
  };
  sending.onloadend = ({ target }) => {
    sending = null;
    if (target.status === 200) return follow();
    ended(target.status ? target.response?.error || `the server answered ${target.status}`
      : "the video was not sent");
  };
  show("send", 0, 0, file.name);
  sending.send(file);
}

// Working -------------------------------------------------------------------------------------

function show(stage, done, of, text) {
  isBusy = true;
  part("work").hidden = false;
  part("drop").hidden = true;
  for (const item of document.querySelectorAll("#work li")) {
    const order = STAGES.indexOf(item.dataset.stage) - STAGES.indexOf(stage);
    item.className = order < 0 ? "done" : order ? "" : "now";
  }
  if (of) part("bar").value = done / of;
  else part("bar").removeAttribute("value");
  part("doing").textContent = text;
}

// How long the rest takes, from how long it took since this kind of work began.
function left({ stage, units, done, of }) {
  const now = performance.now(), kind = `${stage} ${units}`;
  if (!since || since.kind !== kind) since = { kind, now, done };
  const seconds = (of - done) * (now - since.now) / (done - since.done) / 1000;
  if (!of || !Number.isFinite(seconds) || done - since.done < 2) return "";
  return seconds > 90 ? `, about ${Math.round(seconds / 60)} min left` : `, about ${Math.ceil(seconds)} s left`;
}

// What a job warns of, once: whatever is said meanwhile stays.
function warn(text) {
  if (text !== warned) part("said").textContent = text;
  warned = text;
}

// Asks how the job goes until it has ended.
async function follow() {
  if (isPolling) return;
  isPolling = true;
  let failures = 0;
  while (isPolling) {
    try {
      const job = await (await ask("job")).json();
      failures = 0;
      if (job.state === "running") {
        const isLast = job.stage === "train" && job.done === job.of;
        const count = !job.of ? "starting" : isLast ? "looking how good it is"
          : `${job.done} of ${job.of} ${job.units}`;
        warn(job.warned.join(" "));
        show(job.stage, job.done, isLast ? 0 : job.of, count + (isLast ? "" : left(job)));
        await preview(job.picture);
      } else {
        isPolling = false;
        if (job.state === "done") await open(job.name);
        else ended(job.state === "failed" ? job.said : "");
      }
    } catch (problem) {
      if (++failures === MOST_TRIES || !isPolling) {
        isPolling = false;
        ended(problem.message);
      }
    }
    if (isPolling) await new Promise((next) => setTimeout(next, POLL_MS));
  }
}

async function preview(stamp) {
  const image = part("preview");
  if (!stamp || image.dataset.stamp === stamp) return;
  const url = URL.createObjectURL(await (await ask("job/picture")).blob());
  URL.revokeObjectURL(image.src);
  Object.assign(image, { src: url, hidden: false });
  image.dataset.stamp = stamp;
}

async function ended(reason) {
  isBusy = false;
  since = null;
  warned = "";
  part("work").hidden = part("preview").hidden = true;
  part("drop").hidden = false;
  part("file").value = "";
  await showStudio(!part("back").hidden);
  part("said").textContent = reason;
}

part("cancel").addEventListener("click", () => {
  if (sending) sending.abort();
  else fetch("/api/job", { method: "DELETE" });
  part("doing").textContent = "stopping";
});
part("back").addEventListener("click", () => { part("studio").hidden = true; });
part("file").addEventListener("change", ({ target }) => { if (target.files[0]) send(target.files[0]); });
// Anywhere on the page: a file that is dropped beside the field must not replace the page.
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    part("drop").classList.toggle("over", name === "dragover");
    const [file] = event.dataTransfer.files;
    if (name === "drop" && file && !part("studio").hidden) send(file);
  });
}
