"""omnimotion: fit a model to one video, then ask where any pixel of any frame goes.

    import omnimotion
    tracks = omnimotion.load("scenes/clip").track([[0, 120.5, 64.0]])  # rows of t, x, y

Coordinates are pixels of the original video, (x, y), pixel centres at integers; frames from 0.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimotion.errors import OmniMotionError
from omnimotion.tracks import QueryPoints, Tracks

if TYPE_CHECKING:
    from omnimotion.fitted import FittedScene

__all__ = ["OmniMotionError", "QueryPoints", "Tracks", "fit", "load"]


def load(scene: str | Path, run: str | Path | None = None, **options: Any) -> "FittedScene":
    """Open a preprocessed and fitted scene: ``.track(points)``, ``.dense(frame)``,
    ``.propagate(mask, frame)``, ``.render(frame)``, ``.depth(frame)``.

    ``run``: a run's name in the scene, or its folder (a path, or a text with a slash); by default
    the newest complete one. ``options``: ``device`` (auto, cpu or cuda) and ``backend`` (auto,
    torch, numba or tcnn).
    Raises `SceneError` when the scene or its run is missing, `CheckpointError` when unfinished.
    """
    from omnimotion.fitted import open_fitted  # torch is imported when it is needed

    return open_fitted(Path(scene), run, **options)


def fit(
    video: str | Path,
    scene: str | Path | None = None,
    preprocess: Mapping[str, Any] | None = None,
    **options: Any,
) -> "FittedScene":
    """Preprocess a video, fit it, and open the result: the two commands in one call.

    ``video``: a file, or a folder of images. ``scene``: the folder to write, by default
    ``scenes/<name>``. ``options`` and ``preprocess`` are those of ``omnimotion train`` and
    ``omnimotion preprocess``, by their names there: ``device="cpu", budget="10m"``,
    ``preprocess={"flow": "dis"}``. The same call again goes on where it was stopped, and costs
    little where it is done. Raises `OmniMotionError` as the commands do; `ConfigError` for an
    unknown option.
    """
    from omnimotion.whole import fit_video

    folder = Path(scene) if scene is not None else None
    return fit_video(Path(video), folder, preprocess or {}, options)
