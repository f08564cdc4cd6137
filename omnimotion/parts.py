"""Work done in parts, which get smaller where memory is short."""

import logging
from collections.abc import Callable
from typing import TypeVar

from omnimotion.errors import ResourceError, is_out_of_memory

log = logging.getLogger(__name__)

Part = TypeVar("Part")


def in_parts(
    work: Callable[[slice], Part], count: int, at_once: int, least: int = 1
) -> list[Part]:
    """What ``work`` returns for each part of ``range(count)``, at most ``at_once`` long, in order.

    Out of memory it is tried again with half as many, so the result must not depend on the size.
    Raises `ResourceError` where ``least`` are too many.
    """
    done, parts = 0, []
    while done < count:
        part = _tried(work, slice(done, min(done + at_once, count)))
        if part is not None:
            parts.append(part)
            done += at_once
        elif at_once <= least:
            raise ResourceError(
                f"out of memory with {at_once} at once: free some, or use another device"
            )
        else:
            at_once = max(least, at_once // 2)
            log.warning("out of memory: trying %d at once", at_once)
    return parts


def _tried(work: Callable[[slice], Part], part: slice) -> Part | None:
    """The result, or None for want of memory; a function, so that no traceback keeps tensors."""
    try:
        return work(part)
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        return None
