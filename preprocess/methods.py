"""The choice of a flow method: RAFT where its weights can be had, else DIS, never silently."""

import logging
from typing import Any

from omnimotion.errors import FlowError
from preprocess.dis import DisEstimator
from preprocess.estimator import FlowEstimator, Frames
from preprocess.options import PreprocessOptions

log = logging.getLogger(__name__)


def choose_estimator(
    options: PreprocessOptions, frames: Frames, recorded: dict[str, Any] | None
) -> FlowEstimator:
    """The method the user asked for; ``recorded`` is that of an interrupted job, which binds.

    FlowError when RAFT is required and its weights cannot be had.
    """
    if options.flow == "dis":
        return DisEstimator(frames, "asked for")
    if recorded is not None and recorded["method"] == "dis":
        return DisEstimator(frames, recorded["why"])
    # torchvision takes seconds to import, and DIS does without
    from preprocess.raft import RaftEstimator
    from preprocess.raft_weights import RENDERED, find_weights

    is_asked_for = options.raft_weights is not None or options.raft_model == RENDERED
    is_required = options.flow == "raft" or is_asked_for or recorded is not None
    try:
        weights = find_weights(options.raft_model, options.raft_weights, is_required)
    except FlowError as error:
        if is_required:
            raise
        log.info("flow=dis why=%s", error)
        return DisEstimator(frames, f"no RAFT weights: {error}")
    return RaftEstimator(frames, weights, options.device)
