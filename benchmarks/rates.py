"""What one core of this machine does in a second, at its best: the rates of a floor.

Each is measured by a small loop that does nothing else, in CPU time, best of many.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from cost import Grids, Work
from numba import float32, njit, uint64

from omnimotion.kernels.lanes import NARROW, load, store
from omnimotion.kernels.quads import add_to_corners, corners
from omnimotion.kernels.several import zeros

REPEATS = 30
ROW = 9  # points of a motion grid in a row, between two sides of a cell
EIGHT = 8  # features of a volume cell, a number that the compiler knows
SIDE = 1024  # of the matrices
PLACES = 102_400  # reads: at random in motion grids, of random rays in the volume
SAMPLES = 16  # on a ray
COPY_MB = 4  # as large as a step's arrays
CHAIN, CHAINS = 32, 4096  # multiplications and additions, one after the other; side by side

HALF = float32(0.5)
fast = njit(error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz"})


def rates(grids: Grids) -> Work:
    """What this core does in a second, for grids of these sizes."""
    random = np.random.default_rng(0)
    table = random.random(grids.table, np.float32)
    low = 2 * random.integers(0, grids.table // 2 - ROW - 1, PLACES).astype(np.uint64)
    one = np.empty(PLACES, np.float32)
    side = round((grids.volume / grids.channels) ** (1 / 3))
    grid = random.random((side**3, EIGHT), np.float32)
    ray = random.integers(0, side * side - side - 1, (PLACES // SAMPLES, 1))
    corner = (ray + side * side * np.linspace(0, side - 2, SAMPLES).astype(int)).ravel()
    some = np.empty((PLACES, EIGHT), np.float32)
    return Work(
        matrix=2 * SIDE**3 / least_time(_product()),
        plain=2 * CHAIN * CHAINS / least_time(_chains()),
        bytes=2e6 * COPY_MB / least_time(_copy()),
        motion_reads=PLACES / least_time(lambda: read_cells(table, low, 2 * ROW, one)),
        motion_adds=PLACES / least_time(lambda: add_to_cells(table, low, 2 * ROW, one)),
        volume_reads=PLACES / least_time(lambda: read_cubes(grid, corner, side, some)),
        volume_adds=PLACES / least_time(lambda: add_to_cubes(grid, corner, side, some)),
    )


def least_time(act: Callable[[], object]) -> float:
    """Seconds of CPU time of the fastest of some calls, after one that does not count."""
    act()
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return min(times)


def _product() -> Callable[[], object]:
    matrix, result = torch.rand(SIDE, SIDE), torch.empty(SIDE, SIDE)
    return lambda: torch.mm(matrix, matrix, out=result)


def _copy() -> Callable[[], object]:
    source = np.ones(COPY_MB * 250_000, np.float32)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def _chains() -> Callable[[], object]:
    values = np.ones(CHAINS, np.float32)
    return lambda: chains(values, np.float32(0.5), np.float32(0.25))


@fast
def chains(values: np.ndarray, factor: float, term: float) -> None:
    """`CHAIN` multiplications and additions of each value, in registers."""
    for m in range(len(values)):
        value = values[m]
        for _ in range(CHAIN):
            value = value * factor + term
        values[m] = value


@fast
def read_cells(table: np.ndarray, low: np.ndarray, row: int, values: np.ndarray) -> None:
    """What cells of a table hold in their middles: of two numbers, the first."""
    for m in range(uint64(0), uint64(len(low)), uint64(NARROW)):
        s, _, s_u, _, s_v, _, s_uv, _ = corners(table, low, m, uint64(row), NARROW)
        s, s_u = s + HALF * (s_v - s), s_u + HALF * (s_uv - s_u)
        store(values, m, s + HALF * (s_u - s))


@fast
def add_to_cells(table: np.ndarray, low: np.ndarray, row: int, terms: np.ndarray) -> None:
    """Add to the four corners, of two numbers each, of cells of a table."""
    for m in range(uint64(0), uint64(len(low)), uint64(NARROW)):
        far = load(terms, m, NARROW) * HALF
        near = load(terms, m, NARROW) - far
        a, b, c, d = near - near * HALF, near * HALF, far - far * HALF, far * HALF
        add_to_corners(table, low, m, uint64(row), (a, a, b, b, c, c, d, d))


@fast
def read_cubes(grid: np.ndarray, corner: np.ndarray, side: int, sums: np.ndarray) -> None:
    """Sums (N, 8) of the eight corners of cells of a grid (points, 8)."""
    next_x, next_y = uint64(EIGHT), uint64(EIGHT * side)
    for m in range(uint64(len(corner))):
        near = uint64(corner[m]) * uint64(EIGHT)
        (found,) = zeros(1, EIGHT)
        for front in (near, near + next_y * uint64(side)):
            for edge in (front, front + next_y):
                found += load(grid, edge, EIGHT) + load(grid, edge + next_x, EIGHT)
        store(sums, m * uint64(EIGHT), found)


@fast
def add_to_cubes(grid: np.ndarray, corner: np.ndarray, side: int, terms: np.ndarray) -> None:
    """Add terms (N, 8) to the eight corners of cells of a grid (points, 8)."""
    next_x, next_y = uint64(EIGHT), uint64(EIGHT * side)
    for m in range(uint64(len(corner))):
        near, some = uint64(corner[m]) * uint64(EIGHT), load(terms, m * uint64(EIGHT), EIGHT)
        for front in (near, near + next_y * uint64(side)):
            for edge in (front, front + next_y):
                store(grid, edge, load(grid, edge, EIGHT) + some)
                store(grid, edge + next_x, load(grid, edge + next_x, EIGHT) + some)
