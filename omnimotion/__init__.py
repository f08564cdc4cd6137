"""omnimotion: fit a model to one video, then ask where any pixel of any frame goes.

    import omnimotion
    tracks = omnimotion.load("scenes/clip").track([[0, 120.5, 64.0]])  # rows of t, x, y

Coordinates are pixels of the original video, (x, y), pixel centres at integers; frames from 0.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimotion.errors import OmniMotionError
from omnimotion.tracks import QueryPoints, Tracks

if TYPE_CHECKING:
    from omnimotion.long_tracker import LongTracker
    from omnimotion.tracker import Tracker

__all__ = ["OmniMotionError", "QueryPoints", "Tracks", "load"]


def load(
    scene: str | Path, run: str | Path | None = None, **options: Any
) -> "Tracker | LongTracker":
    """Open a preprocessed and fitted scene; ``.track(points)`` answers queries.

    ``run``: a run's folder, by default the scene's newest complete one. ``options``: ``device``
    (auto, cpu or cuda) and ``backend`` (auto, torch or tcnn).
    Raises `SceneError` when the scene or its run is missing, `CheckpointError` when unfinished.
    """
    from omnimotion.long_runs import open_clip  # torch is imported when it is needed

    return open_clip(Path(scene), Path(run) if run is not None else None, **options)
