"""Temporary results of preprocessing, pair by pair, so that a killed job resumes.

Conventions. A file holds both directions of a pair (i, j), i < j. Flow is int16 in a power-of-two
quantum; the cycle error is a byte in 1/250 of the limit, with two codes above for "hidden" and
"unreliable". Pairs of a linking gap also hold their flow at every pixel, for chaining.
"""

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnimotion.archive import write_members
from omnimotion.errors import FlowError, ResourceError
from omnimotion.files import read_archive, require_free, shown
from omnimotion.flow import FrameFlow, flow_quantum, is_flow, read_flow, write_flow, zero_outside
from preprocess.filter import UNRELIABLE, CheckedFlow, Pixels, cycle_limit
from preprocess.pairs import LINK_GAPS, Lattice

ERROR_STEPS, HIDDEN_CODE, UNRELIABLE_CODE = 250, 254, 255
LINK_QUANTUM = 1 / 128  # px; short gaps need precision, not range
KIND = "omnimotion-pair"
LINK = "link"  # first part of an array's name
MERGED = "merged"  # first part of a file's name


@dataclass(frozen=True)
class CheckedPair:
    """Flow in both directions before storage, at `PairStore.pixels`.

    ``coarse`` starts the next larger gap.
    """

    forward: CheckedFlow
    backward: CheckedFlow
    coarse: np.ndarray | None = None  # (2, 2, H/8, W/8) float32: i -> j and j -> i


class PairStore:
    """Pair files of one scene; reading a damaged one raises FlowError."""

    def __init__(self, folder: Path, lattice: Lattice) -> None:
        self.folder = folder
        self.lattice = lattice
        self.limit = cycle_limit(lattice.size)
        self.quantum = flow_quantum(max(lattice.size))

    def path(self, i: int, j: int) -> Path:
        """File of the pair, in either order."""
        return self.folder / f"{min(i, j):06d}_{max(i, j):06d}.npz"

    def pixels(self, i: int, j: int) -> Pixels:
        """The pixels of frame i whose flow to j is kept: all for chaining, or the lattice's."""
        if abs(j - i) in LINK_GAPS:
            return np.s_[0 : self.lattice.size[1], 0 : self.lattice.size[0]]
        return self.lattice.pixels(i, forward=j > i)

    def has(self, i: int, j: int) -> bool:
        """True when the pair is complete and undamaged."""
        if not self.path(i, j).is_file():
            return False
        try:
            self._read(i, j)
        except FlowError:
            return False  # torn by something else than us: computed again
        return True

    def write(self, i: int, j: int, pair: CheckedPair) -> None:
        """Store both directions of (i, j), i < j."""
        arrays: dict[str, np.ndarray] = {}
        for name, checked, source in (("ij", pair.forward, i), ("ji", pair.backward, j)):
            lattice = checked
            if j - i in LINK_GAPS:
                lattice = self._on_lattice(checked, source, forward=name == "ij")
                arrays |= self._encoded(f"{LINK}_{name}", checked, LINK_QUANTUM)
            arrays |= self._encoded(f"lattice_{name}", lattice, self.quantum)
        if pair.coarse is not None:
            arrays["coarse"] = pair.coarse.astype(np.float32)
        self._write_unsynced(self.path(i, j), arrays, {"kind": KIND, "i": i, "j": j})

    def lattice_flow(self, i: int, j: int) -> CheckedFlow:
        """Flow i -> j at the lattice points of i."""
        return self._decoded(i, j, "lattice", self.quantum)

    def link(self, i: int, j: int) -> np.ndarray:
        """Flow i -> j at every pixel: dx, dy, cycle error or UNRELIABLE; float32 (H, W, 3)."""
        checked = self._decoded(i, j, LINK, LINK_QUANTUM)
        return np.dstack((checked.flow, checked.error))

    def link_flow(self, i: int, j: int) -> np.ndarray:
        """Flow i -> j at every pixel (H, W, 2), reliable or not."""
        return self._decoded(i, j, LINK, LINK_QUANTUM).flow

    def coarse(self, i: int, j: int) -> np.ndarray | None:
        """Coarse flow i -> j (2, H/8, W/8), where the estimator keeps one."""
        arrays = self._read(i, j, {"coarse"})
        return arrays["coarse"][0 if i < j else 1] if "coarse" in arrays else None

    def has_merged(self, i: int) -> bool:
        """True when the merged matches of frame i are complete and undamaged."""
        return is_flow(self._merged_path(i))

    def write_merged(self, frame: FrameFlow) -> None:
        """Store the merged matches of one source frame."""
        path, side = self._merged_path(frame.i), max(self.lattice.size)
        write_flow(path, frame, side, self._write_unsynced)

    def merged(self, i: int) -> FrameFlow:
        """The merged matches of frame i."""
        return read_flow(self._merged_path(i))

    def forget(self, merged: int, pairs: int) -> None:
        """Delete merged matches of frames below ``merged``, pairs that begin below ``pairs``."""
        for path in self.folder.glob("*.npz"):
            first, second = path.stem.split("_")
            if int(second) < merged if first == MERGED else int(first) < pairs:
                path.unlink()

    def _merged_path(self, i: int) -> Path:
        return self.folder / f"{MERGED}_{i:06d}.npz"

    def _read(self, i: int, j: int, names: Container[str] | None = None) -> dict[str, np.ndarray]:
        arrays, meta = read_archive(self.path(i, j), error=FlowError, names=names)
        if meta.get("kind") != KIND or (meta.get("i"), meta.get("j")) != (min(i, j), max(i, j)):
            raise FlowError(f"{self.path(i, j)} holds another pair: preprocess with overwrite")
        return arrays

    def _write_unsynced(
        self, path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]
    ) -> None:
        """Whole or absent after a kill; what a power cut tears is found by `has` and `has_merged`.

        `write_archive` also waits for the disk, which would take longer than the flow itself.
        """
        temp = path.with_suffix(".tmp")
        try:
            with open(temp, "wb") as file:
                write_members(file, arrays, meta)
            os.replace(temp, path)
        except OSError as problem:
            temp.unlink(missing_ok=True)
            require_free(path, sum(array.nbytes for array in arrays.values()), shown(path))
            raise ResourceError(f"cannot write {shown(path)}: {problem.strerror}") from problem

    def _on_lattice(self, checked: CheckedFlow, source: int, forward: bool) -> CheckedFlow:
        at = self.lattice.pixels(source, forward)
        return CheckedFlow(checked.flow[at], checked.error[at], checked.hidden[at])

    def _encoded(self, name: str, checked: CheckedFlow, quantum: float) -> dict[str, np.ndarray]:
        units = checked.flow * np.float32(1 / quantum)
        np.rint(units, out=units)
        fits = np.maximum(np.abs(units[..., 0]), np.abs(units[..., 1])) <= 32767
        ratio = np.minimum(checked.error / self.limit, 1.0)
        code = np.rint(ratio * (ERROR_STEPS - 1)).astype(np.uint8)
        code[checked.error >= self.limit] = UNRELIABLE_CODE
        code[checked.hidden] = HIDDEN_CODE
        code[~fits] = UNRELIABLE_CODE
        if name.startswith(LINK):  # what fails the check is a start all the same
            units = np.clip(units, -32767, 32767)
        else:
            units = zero_outside(units, code != UNRELIABLE_CODE)
        return {name: units.astype(np.int16), f"{name}_error": code}

    def _decoded(self, i: int, j: int, name: str, quantum: float) -> CheckedFlow:
        shape = self.lattice.shape if name == "lattice" else self.lattice.size[::-1]
        name = f"{name}_{'ij' if i < j else 'ji'}"
        arrays = self._read(i, j, names := {name, f"{name}_error"})
        if names - arrays.keys():
            raise FlowError(f"{shown(self.path(i, j))} is damaged: {sorted(names)} are missing")
        units, code = arrays[name], arrays[f"{name}_error"]
        found = units.dtype, units.shape, code.dtype, code.shape
        if found != (np.int16, (*shape, 2), np.uint8, shape):
            raise FlowError(f"{shown(self.path(i, j))} is of frames of another size")
        error = code.astype(np.float32) * np.float32(self.limit / ERROR_STEPS)
        return CheckedFlow(
            flow=units.astype(np.float32) * np.float32(quantum),
            error=np.where(code >= HIDDEN_CODE, UNRELIABLE, error),
            hidden=code == HIDDEN_CODE,
        )
