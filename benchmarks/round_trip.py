"""How exactly a fitted map inverts: there and back, and a cycle through three frames.

    python benchmarks/round_trip.py --work DIR --out benchmarks/results/round_trip

takes the runs that `benchmarks/run.py --work DIR` left there. The largest error, and the one that
999 of 1,000 points stay below, of random points of the frame's box in pixels of the stored frames:
in float64, as queries are answered, and in float32, as a scene is fitted.
"""

import argparse
from itertools import product
from pathlib import Path

import torch

from omnimotion.files import atomic_write
from omnimotion.runs import open_tracker
from omnimotion.scene import Scene

POINTS, DRAWS = 20_000, 3  # points, and draws of them and of three frames


@torch.no_grad()
def main() -> None:
    """Measure every run with both backends of a CPU and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    args = parser.parse_args()
    heads = ("clip", "run", "backend", "precision", "there and back, most", "99.9 %",
             "cycle, most", "99.9 %")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for folder in sorted(path.parent for path in args.work.glob("*/runs/*/report.json")):
        scene = folder.parent.parent
        for backend, precision in product(("numba", "torch"), (torch.float64, torch.float32)):
            tracker = open_tracker(scene, folder, "cpu", backend)
            draws = [errors(tracker.scene, k, precision) for k in range(DRAWS)]
            found = [f"{tracker.frame.half * max(column):.2g}" for column in zip(*draws)]
            cells = [scene.name, folder.name, backend, str(precision).split(".")[1], *found]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def errors(scene: Scene, seed: int, precision: torch.dtype) -> list[float]:
    """Largest and 99.9 % error there and back, and around, normalised."""
    random = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(1, POINTS, 3, generator=random) - 1
    x[..., :2] *= torch.tensor(scene.frame.extent)
    x = x.to(precision)
    frames = torch.randint(0, scene.n_frames, (3,), generator=random)
    first, second, third = (scene.at(t[None]) for t in frames)
    back = first.inverse(first.forward(x))
    around = third.inverse(second.forward(second.inverse(first.forward(x))))
    home = first.inverse(third.forward(around))
    found = [(place - x)[..., :2].abs().amax(-1).flatten() for place in (back, home)]
    return [float(each) for error in found for each in (error.max(), error.quantile(0.999))]


if __name__ == "__main__":
    main()
