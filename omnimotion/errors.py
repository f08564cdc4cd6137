"""The errors a user can cause, and the exit code of each.

A message is one line: what, where, found, expected, what to do.
"""


class OmniMotionError(Exception):
    """Root of all errors that the command line reports in one line."""

    exit_code = 1


class ConfigError(OmniMotionError):
    """A setting is unknown, malformed or out of range."""

    exit_code = 2


class InputError(OmniMotionError):
    """Something given to the program cannot be used."""

    exit_code = 3


class VideoError(InputError):
    """The video cannot be read, or is not usable."""


class FlowError(InputError):
    """Flow is missing, damaged, of another video, or nowhere reliable."""


class PointsError(InputError):
    """A query point is malformed or outside the clip."""


class SceneError(InputError):
    """A scene folder is missing, or has no run yet."""


class CheckpointError(OmniMotionError):
    """A checkpoint is missing, damaged, or belongs to something else."""

    exit_code = 4


class FitDiverged(OmniMotionError):
    """The fit could not be kept finite or invertible."""

    exit_code = 5


class ResourceError(OmniMotionError):
    """Disk or memory is short."""

    exit_code = 6


class BatchFailed(OmniMotionError):
    """Some videos of a batch could not be done; the others are."""

    exit_code = 7


class Interrupted(OmniMotionError):
    """A signal asked the program to stop; its work is saved.

    ``exit_code`` is 128 plus the signal's number (130 for Ctrl-C, 143 for SIGTERM).
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an exception of Python, numpy, torch or OpenCV means that memory is short."""
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return True
    return any(each in str(problem) for each in ("can't allocate memory", "Insufficient memory"))
