"""A video that the page sends: to disk as it comes, within bounds, whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi.concurrency import run_in_threadpool

from omnimotion.errors import ConfigError, InputError
from omnimotion.files import atomic_path, require_free
from omnimotion.video_decoder import sniff

MAX_BYTES = 4_000_000_000
MAX_SECONDS = 1800.0
STALL_SECONDS = 20.0  # without a byte


class Uploads:
    """Takes one upload at a time."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._is_taking = False

    async def take(self, chunks: AsyncIterator[bytes], said_bytes: int, path: Path) -> None:
        """Write what comes to ``path``; ``said_bytes`` is what the request says of itself, or 0.

        Raises `ConfigError` while another upload comes, `InputError` for one that is too large,
        too slow, that ends early or holds no video, `ResourceError` where the disk is short:
        then nothing is left.
        """
        if self._is_taking:
            raise ConfigError("another video is being sent: wait for it, or cancel it")
        self._check_size(said_bytes)
        self._is_taking = True
        try:
            require_free(path, said_bytes, "the video")
            with atomic_path(path, said_bytes) as temp:
                try:
                    async with asyncio.timeout(MAX_SECONDS):
                        size = await self._write(chunks, temp)
                except TimeoutError:
                    raise InputError(
                        f"the video stopped coming for {STALL_SECONDS:g} s, or took over "
                        f"{MAX_SECONDS / 60:g} minutes: send it again"
                    ) from None
                if said_bytes and size != said_bytes:
                    raise InputError(f"{size} of {said_bytes} bytes came: send the video again")
                await run_in_threadpool(_check_video, temp)
        finally:
            self._is_taking = False

    async def _write(self, chunks: AsyncIterator[bytes], temp: Path) -> int:
        size = 0
        with temp.open("wb") as file:
            while True:
                try:
                    async with asyncio.timeout(STALL_SECONDS):  # wait_for can lose a cancellation
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return size
                size += len(chunk)
                self._check_size(size)
                await run_in_threadpool(file.write, chunk)

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise InputError(
                f"the video has more than {self.max_bytes / 1e6:.0f} MB: cut it, or preprocess it "
                "in the command line"
            )


def _check_video(path: Path) -> None:
    """`InputError` at once for what is no video. No decoder runs here: preprocessing does that,
    in a process of its own.
    """
    try:
        sniff(path)
    except InputError as problem:
        raise InputError(
            "this is no video that can be read: expected mp4, mov, mkv, webm or avi"
        ) from problem
