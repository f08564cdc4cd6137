"""What the user may choose when preprocessing a video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimotion.errors import ConfigError
from omnimotion.images import MAX_SIDE, MIN_SIDE

FLOWS = ("auto", "dis", "raft")
RAFT_MODELS = ("large", "small", "rendered")
PAIR_MODES = ("auto", "all", "log")


@dataclass(frozen=True)
class PreprocessOptions:
    """Input, output and method of `preprocess.compute.preprocess`; ConfigError when unusable."""

    video: Path  # a video file or a folder of images
    scene: Path  # the scene folder to make, or to continue
    flow: str = "auto"  # raft where its weights can be had, else dis
    raft_weights: Path | None = None  # torchvision's RAFT weights, or a .npz of train_raft
    raft_model: str = "large"  # rendered: the package's own weights; a .npz says its model itself
    max_side: int = 854  # px, longer side of the working size; smaller videos are not enlarged
    frames: str | None = None  # "a:b:step", which frames to keep
    pairs: str = "auto"  # matches: of all up to 48 frames, else of gaps like powers of two
    max_gap: int | None = None  # frames between a pair at most; None: what a window can use
    device: str = "auto"  # of RAFT: "cpu", "cuda", "cuda:1", ...
    allow_truncated: bool = False  # keep the frames of a video that ends early
    overwrite: bool = False  # discard what the scene folder holds of another video or options
    append: bool = False  # the video goes on where that of a complete scene ends
    repair: bool = False  # look through the files of a complete scene, make damaged ones again

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("flow", self.flow, FLOWS),
            ("raft_model", self.raft_model, RAFT_MODELS),
            ("pairs", self.pairs, PAIR_MODES),
        ):
            if value not in allowed:
                raise ConfigError(f"{name}: {value!r}, expected one of {', '.join(allowed)}")
        if isinstance(self.max_side, bool) or not isinstance(self.max_side, int):
            raise ConfigError(f"max_side: {self.max_side!r}, expected a whole number of pixels")
        if not MIN_SIDE <= self.max_side <= MAX_SIDE:
            raise ConfigError(f"max_side: {self.max_side}, expected {MIN_SIDE} to {MAX_SIDE} px")
        if self.max_gap is not None and self.max_gap < 1:
            raise ConfigError(f"max_gap: {self.max_gap}, expected 1 frame or more")
        kept = [name for name in ("append", "repair") if getattr(self, name)]
        if self.overwrite and kept:
            why = "keeps what is there, overwrite nothing"
            raise ConfigError(f"{kept[0]} {why}: drop one of the two")
        for name, default in (("raft_weights", None), ("raft_model", "large")):
            if self.flow == "dis" and getattr(self, name) != default:
                raise ConfigError(f"{name}: of no use with flow = dis: drop one of the two")
        if self.raft_model == "rendered" and self.raft_weights is not None:
            raise ConfigError(
                "raft_weights: raft_model = rendered has its own: drop one of the two"
            )

    def settings(self) -> dict[str, Any]:
        """The options that shape the result; two runs that share a folder must agree on them."""
        return {
            "flow": self.flow,
            "raft_model": self.raft_model,
            "raft_weights": self.raft_weights.name if self.raft_weights else None,
            "max_side": self.max_side,
            "frames": self.frames,
            "pairs": self.pairs,
        } | ({} if self.max_gap is None else {"max_gap": self.max_gap})

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size (W, H) at which frames of the original size (W, H) are kept."""
        scale = min(1.0, self.max_side / max(size))
        return max(MIN_SIDE, round(size[0] * scale)), max(MIN_SIDE, round(size[1] * scale))
