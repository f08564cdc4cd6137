"""``omnimotion doctor``: what this machine can do, and what stands in the way.

Convention: a report maps the name of a check to its finding, ``{"status", "detail"}``; status is
``ok``, ``note`` (works without it) or ``fail``. Nothing is downloaded or left on disk. Every check
catches whatever its library throws: a broken installation is what it is here to tell.
"""

import hashlib
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Finding = dict[str, str]

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "imageio-ffmpeg", "pillow")
LOW_DISK_GB = 2.0  # a long clip's flow takes about this
_TEST_FRAMES, _TEST_SIDE = 8, 64


def report(folder: Path = Path(".")) -> dict[str, Finding]:
    """Run all checks; ``folder`` is where scenes would be written. Never raises."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "packages": _packages,
        "opencv": _opencv,
        "torchvision": _torchvision,
        "device": _device,
        "numba": _numba,
        "tinycudann": _tinycudann,
        "RAFT weights": _raft_weights,
        "codecs": _codecs,
        "disk": lambda: _disk(folder),
    }
    return {name: _guarded(check) for name, check in checks.items()}


def is_ready(findings: dict[str, Finding]) -> bool:
    """Whether no check failed."""
    return all(finding["status"] != "fail" for finding in findings.values())


def format_report(findings: dict[str, Finding]) -> str:
    """The report as a text of one screen: a line a check, then the verdict."""
    width = max(map(len, findings), default=0)
    lines = [f"{f['status']:4}  {name:<{width}}  {f['detail']}" for name, f in findings.items()]
    failed = [name for name, finding in findings.items() if finding["status"] == "fail"]
    verdict = f"not ready: see {', '.join(failed)}" if failed else "ready"
    return "\n".join([*lines, "", verdict, ""])


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # see the module's convention
        return _finding("fail", _reason(error))


def _finding(status: str, *parts: str) -> Finding:
    return {"status": status, "detail": "; ".join(part for part in parts if part)}


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:160]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    own = _version("omnimotion") or "not installed, run from source"
    return _finding(
        "ok",
        f"{platform.python_version()} on {platform.platform(terse=True)}",
        f"omnimotion {own}",
    )


def _packages() -> Finding:
    versions = {package: _version(package) for package in PACKAGES}
    if versions["opencv-python"] is None:
        versions["opencv-python"] = _version("opencv-python-headless")
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        return _finding(
            "fail", f"missing: {', '.join(missing)}", "pip install " + " ".join(missing)
        )
    return _finding("ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _opencv() -> Finding:
    cv2 = importlib.import_module("cv2")
    builds = [name for name in ("opencv-python", "opencv-python-headless") if _version(name)]
    if len(builds) > 1:
        return _finding(
            "fail",
            f"{' and '.join(builds)} overwrite each other; uninstall both, then install one",
        )
    return _finding("ok", f"imports, {cv2.__version__}")


def _torchvision() -> Finding:
    """torch and torchvision must be built for each other, else ``nms`` does not exist."""
    torch, torchvision = (importlib.import_module(name) for name in ("torch", "torchvision"))
    pair = f"torch {torch.__version__} with torchvision {torchvision.__version__}"
    wanted = [
        requirement.split(";")[0].strip()
        for requirement in importlib.metadata.requires("torchvision") or []
        if re.match(r"torch\b(?!vision)", requirement)
    ]
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1)
    torchvision.ops.nms(boxes, scores, 0.5)  # the operator that a mismatch loses
    return _finding("ok", pair, f"it asks for {', '.join(wanted)}" if wanted else "")


def _device() -> Finding:
    torch = importlib.import_module("torch")
    cpu = f"CPU with {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        built = "torch is built without CUDA" if torch.version.cuda is None else "no CUDA device"
        return _finding("note", cpu, built)
    device = torch.cuda.get_device_properties(0)
    torch.ones(1, device=0).add_(1).item()  # a driver can be found and still not run
    memory = f"{device.total_memory / 2**30:.0f} GiB"
    return _finding("ok", f"{device.name}, {memory}, CUDA {torch.version.cuda}", cpu)


def _numba() -> Finding:
    try:
        importlib.import_module("omnimotion.kernels.couplings")
    except Exception as error:
        slower = "a fit on a CPU takes about twice as long without it"
        return _finding("note", f"not usable ({_reason(error)}); PyTorch alone is used", slower)
    return _finding("ok", f"{importlib.import_module('numba').__version__}: CPU kernels compile")


def _tinycudann() -> Finding:
    try:
        module = importlib.import_module("tinycudann")
    except ModuleNotFoundError:
        return _finding("note", "not installed; the torch implementation is used")
    except Exception as error:  # it raises at import where there is no GPU
        return _finding("note", f"not usable ({_reason(error)}); the torch implementation is used")
    return _finding("ok", f"imports, {getattr(module, '__version__', 'version unknown')}")


def _raft_weights() -> Finding:
    torch = importlib.import_module("torch")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = [f"{path.name} {_hash_verdict(path)}" for path in sorted(folder.glob("raft_*.pth"))]
    if not found:
        return _finding("note", f"none in {folder}; flow dis needs none")
    damaged = any("damaged" in line for line in found)
    return _finding("fail" if damaged else "ok", *found, "delete the damaged file" * damaged)


def _hash_verdict(path: Path) -> str:
    """torch's hub puts the first digits of the SHA-256 in the name: raft_...-ff5fadd5.pth."""
    named = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if named is None:
        return "(unchecked)"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "(intact)" if digest.startswith(named[1]) else "(damaged)"


def _codecs() -> Finding:
    """Write a few frames as H.264 and read them back, as the program does."""
    reader, writer = map(importlib.import_module, ("omnimotion.video", "omnimotion.video_writer"))
    frames = [np.full((_TEST_SIDE, _TEST_SIDE, 3), 20 * t, np.uint8) for t in range(_TEST_FRAMES)]
    with tempfile.TemporaryDirectory(prefix="omnimotion-doctor-") as folder:
        path = Path(folder) / "test.mp4"
        writer.write_video(path, frames, 25.0)
        n_frames = sum(1 for _ in reader.open_video(path))
    if n_frames != _TEST_FRAMES:
        return _finding("fail", f"H.264: {n_frames} of {_TEST_FRAMES} frames came back")
    ffmpeg = importlib.import_module("imageio_ffmpeg").get_ffmpeg_version()
    return _finding("ok", f"H.264 is written and read; ffmpeg {ffmpeg}")


def _disk(folder: Path) -> Finding:
    where = folder.resolve()
    free_gb = shutil.disk_usage(where).free / 1e9
    try:
        with tempfile.TemporaryFile(dir=where) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _finding("fail", f"cannot write in {where} ({error.strerror})")
    status = "ok" if free_gb >= LOW_DISK_GB else "note"
    return _finding(status, f"{free_gb:.1f} GB free in {where}, writable")
