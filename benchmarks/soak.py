"""Does anything pile up: fits, queries and the viewer in one process, for an hour.

    python benchmarks/soak.py --out benchmarks/results/soak

renders and fits the example clip, small, and serves it as `omnimotion view` does. Each round
trains a new run of it, queries it, reads the tracks, and asks the viewer over HTTP for all that
it answers and for some things that it refuses; every 20th also refits. After each, memory, open
files and threads are written down; the table has least-squares slopes of what came after
``--warm`` minutes, when caches are full and compiled code is there. Needs the extra ``view``.
"""

import argparse
import ctypes
import gc
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

import omnimotion
from omnimotion.cli import main as command
from omnimotion.export import load_tracks
from omnimotion.files import atomic_write
from omnimotion.formats import FORMATS
from omnimotion.runs import run_folder
from omnimotion.synthetic import render_clip, write_clip
from omnimotion.viewer.answers import open_answers
from omnimotion.viewer.guard import MAX_BODY_BYTES
from omnimotion.viewer.refits import Refits
from omnimotion.viewer.server import HOST, build_app, listen, serve
from omnimotion.viewer.shown import Shown

SIZE, FRAMES = (96, 72), 12
BATCH = ["--pairs=24", "--points=16", "--samples=12", "--log_every=10", "--device=cpu",
         "--threads=1"]  # fmt: skip
FIRST_STEPS, STEPS = 200, 60
REFIT_EVERY, VIDEO_EVERY = 20, 10  # rounds
NO_HEADERS: Mapping[str, str] = {}
MEASURES = {
    "memory, MB": ("Rss", 1e-3), "of it anonymous, MB": ("Anon", 1e-3), "open files": ("files", 1),
    "threads": ("threads", 1), "Python objects": ("objects", 1),
}  # fmt: skip


class Viewer:
    """A client of the viewer, a connection for each request as a new page would."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes = b"", expected: int = 200,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> bytes:  # fmt: skip
        """The answer; AssertionError where its status is another."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        with closing(connection):
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            data = response.read()
        check(response.status == expected, f"{path}: {response.status} {data[:200]!r}")
        return data

    def post(self, path: str, question: dict[str, Any]) -> bytes:
        """The answer to a question in JSON."""
        words = json.dumps(question).encode()
        return self.ask("POST", path, words, headers={"Content-Type": "application/json"})


def main() -> None:
    """Run the rounds and write the table and the samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm", type=float, default=10, help="minutes that do not count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="omnimotion-soak-") as work:
        samples = soak(Path(work), 60 * args.minutes, args.seed, args.out.with_suffix(".jsonl"))
    text = table(samples, 60 * args.warm)
    atomic_write(args.out.with_suffix(".md"), text.encode())
    print(text)


def soak(work: Path, seconds: float, seed: int, log: Path) -> list[dict[str, float]]:
    """What was measured after each round."""
    write_clip(render_clip(5, FRAMES, SIZE, n_sprites=2, n_queries=16), work / "clip")
    folder = work / "scene"
    run("preprocess", work / "clip" / "frames", "--scene", folder, "--flow=dis")
    run("train", "--scene", folder, f"--num_iters={FIRST_STEPS}", "--preview_every=0", *BATCH)
    load = {"device": "cpu"}
    answers = open_answers(omnimotion.load(folder, **load), folder)
    refits = Refits(
        folder, run_folder(folder, None),
        lambda run: answers.adopt(omnimotion.load(folder, run, **load)),
        ["--pin_steps=10", "--device=cpu", "--threads=1"],
    )  # fmt: skip
    samples: list[dict[str, float]] = []
    random = np.random.default_rng(seed)
    with closing(refits), listen(0) as listener, log.open("w") as file:
        port = listener.getsockname()[1]
        app = build_app(Shown(answers, refits), port)
        threading.Thread(target=serve, args=(app, listener), daemon=True).start()
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            fit_and_query(folder, work, len(samples))
            visit(Viewer(port), random, len(samples))
            samples.append({"s": time.monotonic() - began, **state()})
            file.write(json.dumps(samples[-1]) + "\n")
            file.flush()
    return samples


def fit_and_query(folder: Path, work: Path, number: int) -> None:
    """A new run, its tracks, and nothing of it left."""
    new, out = work / "run", work / f"tracks.{('npz', 'csv', 'json')[number % 3]}"
    run("train", "--scene", folder, "--run", new, f"--num_iters={STEPS}", *BATCH)
    video = ["--video", work / "overlay.mp4"] if number % VIDEO_EVERY == 0 else []
    run("query", "--scene", folder, "--run", new, "--grid=6", "--out", out, "--overwrite",
        "--device=cpu", "--threads=1", *video)  # fmt: skip
    check(len(load_tracks(out)) > 0, "no tracks")
    shutil.rmtree(new)


def visit(viewer: Viewer, random: np.random.Generator, number: int) -> None:
    """All that the page can ask, and what it must not."""
    t, other = (int(each) for each in random.integers(0, FRAMES, 2))
    points = [[t, *(random.random(2) * (SIZE[0] - 1, SIZE[1] - 1)).tolist()] for _ in range(3)]
    viewer.ask("GET", "/")
    viewer.ask("GET", "/api/scene")
    for layer in ("video", "colour", "depth"):
        viewer.ask("GET", f"/api/frames/{layer}/{t}")
    for refine in (False, True):
        viewer.post("/api/tracks", {"points": points, "refine": refine})
    mask = np.packbits(random.random(SIZE[0] * SIZE[1]) < 0.5).tobytes()
    named = json.loads(viewer.ask("POST", f"/api/masks/{t}", mask))["mask"]
    viewer.ask("GET", f"/api/masks/{named}/{other}")
    form = list(FORMATS)[number % len(FORMATS)]
    scale = "0.5mm" if form == "trc" else None
    viewer.post("/api/export", {"points": points, "format": form, "scale": scale})
    viewer.ask("GET", "/api/scene", expected=421, headers={"Host": "evil.example"})
    viewer.ask("GET", "/api/scene", expected=403, headers={"Origin": "http://evil.example"})
    viewer.ask("GET", "/%2e%2e/scene.json", expected=404)
    large = {"Content-Length": str(MAX_BODY_BYTES + 1)}
    viewer.ask("POST", "/api/tracks", b" " * 100, expected=413, headers=large)
    if number % REFIT_EVERY == REFIT_EVERY - 1:
        pins = [{"track": 0, "t": k, "x": random.random() * 50, "y": 30} for k in (0, FRAMES - 1)]
        viewer.post("/api/refit", {"pins": pins})
        while (found := json.loads(viewer.ask("GET", "/api/refit")))["state"] == "running":
            time.sleep(0.2)
        check(found["state"] == "done", str(found))


def run(*words: object) -> None:
    """A command of omnimotion, which must succeed."""
    check(command([str(word) for word in words]) == 0, " ".join(map(str, words)))


def check(true: bool, problem: str) -> None:
    """AssertionError unless true, also under ``python -O``."""
    if not true:
        raise AssertionError(problem)


def state() -> dict[str, float]:
    """Memory in kB, files, threads and objects of this process.

    Memory that is free, but kept by the allocator, comes and goes by tens of MB: it is given back.
    """
    gc.collect()
    with suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.partition(":")[0]: float(line.split()[1]) for line in lines}
    return {
        "Rss": sizes["Rss"], "Anon": sizes["Anonymous"], "objects": len(gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")), "threads": threading.active_count(),
    }  # fmt: skip


def table(samples: list[dict[str, float]], warm_s: float) -> str:
    """Each measure at the first and last round that counts, and its slope."""
    counted = [sample for sample in samples if sample["s"] >= warm_s]
    hours = np.array([sample["s"] for sample in counted]) / 3600
    lines = [
        f"{len(samples)} rounds in {samples[-1]['s'] / 60:.0f} minutes, {len(counted)} of them "
        f"after {warm_s / 60:.0f} minutes of warm-up", "",
        "| measure | first | last | least | most | slope an hour | standard error |",
        "|" + " --- |" * 7,
    ]  # fmt: skip
    for title, (name, unit) in MEASURES.items():
        values = np.array([sample[name] for sample in counted]) * unit
        slope, error = line_through(hours, values)
        cells = [f"{x:.1f}" for x in (values[0], values[-1], values.min(), values.max())]
        lines.append(f"| {title} | {' | '.join(cells)} | {slope:.2f} | {error:.2f} |")
    return "\n".join(lines) + "\n"


def line_through(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error were the residuals independent."""
    x = x - x.mean()
    slope = x @ y / (x @ x)
    residual = y - y.mean() - slope * x
    return slope, np.sqrt(residual @ residual / (len(x) - 2) / (x @ x))


if __name__ == "__main__":
    main()
