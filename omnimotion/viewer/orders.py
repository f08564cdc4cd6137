"""What the page can have made for it: files that take a while, as questions of ``query``."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from omnimotion.asking import selected_frames
from omnimotion.errors import ConfigError, InputError, PointsError
from omnimotion.files import atomic_write
from omnimotion.maps import KINDS, check_kinds
from omnimotion.masks import Mask, save_mask
from omnimotion.viewer.answers import Answers

MAX_BYTES = 8_000_000_000
BYTES_A_PIXEL = {"stmap": 16, "exr": 16, "flo": 8}
POINTS_NAME, MASK_NAME = "points.csv", "mask.png"


class Asked(NamedTuple):
    """What the page has sent."""

    what: str
    frame: int = 0  # whose maps these are
    kind: str = ""  # of maps
    points: Sequence[Sequence[float]] = ()  # whose tracks are drawn: rows of t, x, y
    mask: int = 0  # the number of one that was drawn
    frames: str | None = None  # those that come out, ``a:b:step``; all where there is none


class Order(NamedTuple):
    """One that can be carried out."""

    words: list[str]  # of ``query``, but for --out
    out: str  # option and name of what is made, in a folder that is new
    files: int = 0  # that there are in the end, where their number says how far it is
    size: int = 0  # bytes, at most, where that is known


def order(asked: Asked, answers: Answers, folder: Path) -> Order:
    """The order of what is asked; what goes with it is written to ``folder``.

    Raises `InputError` for what cannot be asked, is too large, or for a mask that was replaced,
    `ConfigError` and `PointsError` as ``query`` does.
    """
    if asked.what not in _ORDERS:
        raise InputError(f"{asked.what[:20]!r} cannot be made: expected {', '.join(_ORDERS)}")
    count = len(selected_frames(asked.frames, answers.scene.n_frames))
    found = _ORDERS[asked.what](asked, answers, folder, count)
    if found.size > MAX_BYTES:
        raise InputError(
            f"{asked.what} of {count} frames have {found.size / 1e9:.1f} GB, at most "
            f"{MAX_BYTES / 1e9:.0f} can be downloaded: ask for fewer frames, from:to:step"
        )
    some = [f"--frames={asked.frames}"] if asked.frames else []
    return found._replace(words=[*found.words, *some])


def _maps(asked: Asked, answers: Answers, folder: Path, count: int) -> Order:
    check_kinds([asked.kind])
    answers.check_frame(asked.frame)
    width, height = answers.scene.size
    words = ["--maps", f"--frame={asked.frame}", f"--export={asked.kind}"]
    size = 2 * count * width * height * BYTES_A_PIXEL[asked.kind]
    return Order(words, "--out=maps", 2 * count, size)


def _masks(asked: Asked, answers: Answers, folder: Path, count: int) -> Order:
    t, labels = answers.drawn(asked.mask)
    save_mask(folder / MASK_NAME, Mask(labels))
    words = [f"--propagate-mask={folder / MASK_NAME}", f"--frame={t}"]
    return Order(words, "--out=masks", count, count * labels.size)


def _volume(asked: Asked, answers: Answers, folder: Path, count: int) -> Order:
    return Order(["--canonical"], "--out=volume.ply")


def _video(asked: Asked, answers: Answers, folder: Path, count: int) -> Order:
    return Order(_tracks(asked, answers, folder), "--video=tracks.mp4")


def _sheet(asked: Asked, answers: Answers, folder: Path, count: int) -> Order:
    return Order(_tracks(asked, answers, folder), "--sheet=tracks.png")


def _tracks(asked: Asked, answers: Answers, folder: Path) -> list[str]:
    """The points as a file, which a command line could not hold."""
    if not asked.points:
        raise PointsError("no points: click some first")
    rows = answers.checked(asked.points)
    lines = ("t,x,y", *(f"{int(t)},{x:.9g},{y:.9g}" for t, x, y in rows.tolist()), "")
    atomic_write(folder / POINTS_NAME, "\n".join(lines).encode("ascii"))
    return [f"--points={folder / POINTS_NAME}"]


_ORDERS = {"maps": _maps, "masks": _masks, "volume": _volume, "video": _video, "sheet": _sheet}


def map_kinds() -> list[str]:
    """The kinds of maps that can be made here: EXR needs an extra."""
    kinds = []
    for kind in KINDS:
        try:
            check_kinds([kind])
        except ConfigError:
            continue
        kinds.append(kind)
    return kinds
