"""Folders that work is done in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnimotion.files import make_folder


@contextmanager
def begun(folder: Path, lock_name: str) -> Iterator[None]:
    """Make a folder, unless it is there, for work that may fail before it has begun.

    Then nothing but its lock is in it, and it goes again.
    """
    is_new = not folder.exists()
    make_folder(folder)
    try:
        yield
    except BaseException:
        if is_new and {path.name for path in folder.iterdir()} <= {lock_name}:
            shutil.rmtree(folder)
        raise
