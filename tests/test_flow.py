"""The on-disk matches and index: what is written is read, damage is refused by name."""

import dataclasses

import numpy as np
import pytest

from omnimotion.errors import FlowError, SceneError
from omnimotion.files import read_archive, write_archive, write_json
from omnimotion.flow import (
    CHAINED,
    DIRECT,
    HIDDEN,
    NONE,
    FrameFlow,
    SceneIndex,
    SceneStore,
    flow_path,
    flow_quantum,
    frame_path,
    read_flow,
    write_flow,
    zero_outside,
)
from omnimotion.images import save_png


def make_frame(i=1, shape=(5, 7), targets=(0, 2), stride=3):
    rng = np.random.default_rng(i)
    state = rng.integers(0, 4, (len(targets), *shape)).astype(np.uint8)
    flow = rng.uniform(-40, 40, (*state.shape, 2)).astype(np.float32)
    flow[state == NONE] = 0
    origin = rng.integers(0, stride, (len(targets), 2)).astype(np.int32)
    return FrameFlow(i, np.array(targets, np.int32), origin, stride, flow, state)


def make_index(**changes):
    index = SceneIndex(
        name="cups",
        source="cups.mp4",
        fingerprint="ab" * 32,
        original_size=(64, 48),
        size=(32, 24),
        n_frames=2,
        fps=25.0,
        times=[0.0, 0.04],
        source_indices=[0, 1],
        flow={"method": "dis"},
        stride=1,
        gaps=[1],
        coverage=[0.5, 0.25],
        settings={"flow": "dis"},
        grown=[],
    )
    return dataclasses.replace(index, **changes)


def make_scene(folder):
    (folder / "frames").mkdir(parents=True)
    (folder / "flow").mkdir()
    for t in range(2):
        save_png(frame_path(folder, t), np.full((24, 32, 3), 50 * t, np.uint8))
        frame = make_frame(t, shape=(24, 32), targets=(1 - t,), stride=1)
        write_flow(flow_path(folder, t), frame, 32)
    make_index().save(folder)
    return folder


@pytest.mark.parametrize(("side", "quantum"), [(128, 1 / 64), (500, 1 / 64), (854, 1 / 32)])
def test_quantum_is_a_power_of_two_that_spans_the_frame(side, quantum):
    assert flow_quantum(side) == quantum
    assert flow_quantum(side) * 32767 >= side


@pytest.mark.parametrize("side", [501, 1023, 1024, 1920, 8192])
def test_quantum_spans_large_frames(side):
    assert flow_quantum(side) * 32767 >= side


def test_flow_survives_storage_within_half_a_quantum(tmp_path):
    frame = make_frame()
    write_flow(tmp_path / "a.npz", frame, 128)
    found = read_flow(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.state, frame.state)
    np.testing.assert_array_equal(found.targets, frame.targets)
    np.testing.assert_array_equal(found.origin, frame.origin)
    assert (found.i, found.stride) == (frame.i, frame.stride)
    assert np.abs(found.flow - frame.flow).max() <= 1 / 128


def test_matches_are_lattice_points_and_their_targets(tmp_path):
    state = np.zeros((1, 2, 3), np.uint8)
    flow = np.zeros((1, 2, 3, 2), np.float32)
    state[0, 1, 2], flow[0, 1, 2] = CHAINED, (0.5, -2)
    frame = FrameFlow(0, np.array([1]), np.array([[3, 1]]), 4, flow, state)
    xy_i, xy_j, states = frame.matches(0)
    assert xy_i.tolist() == [[3 + 4 * 2, 1 + 4 * 1]]
    assert xy_j.tolist() == [[11.5, 3.0]]
    assert states.tolist() == [CHAINED]


def test_states_fit_two_bits():
    assert sorted((NONE, DIRECT, CHAINED, HIDDEN)) == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_unusable_flow_is_refused_when_written(tmp_path, bad):
    frame = make_frame()
    frame.flow[0, 0, 0], frame.state[0, 0, 0] = bad, DIRECT
    with pytest.raises(FlowError, match="frame 1"):
        write_flow(tmp_path / "a.npz", frame, 128)
    assert not list(tmp_path.iterdir())


def test_vectors_outside_a_mask_are_zero():
    flow = np.random.default_rng(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
    flow[0, 1, 2] = np.nan  # multiplying by zero would keep it
    mask = np.isfinite(flow[..., 0]) & (flow[..., 0] > 0)
    for each in (flow, flow[:, ::2], flow.swapaxes(1, 2)):
        inside = mask if each is flow else each[..., 0] > 0
        expected = [v if use else (0, 0) for v, use in zip(each.reshape(-1, 2), inside.ravel())]
        np.testing.assert_array_equal(zero_outside(each, inside).reshape(-1, 2), expected)


def test_shapes_must_agree():
    frame = make_frame()
    with pytest.raises(FlowError, match="2 targets"):
        dataclasses.replace(frame, state=frame.state[:1])


def test_every_damage_is_refused_or_harmless(tmp_path):
    path = tmp_path / "a.npz"
    frame = make_frame()
    write_flow(path, frame, 128)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    want = read_flow(path)
    for _ in range(100):
        torn = bytearray(data)
        torn[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(torn)
        try:
            found = read_flow(path)
        except FlowError:
            continue
        np.testing.assert_array_equal(found.flow, want.flow)
    path.write_bytes(data[:-30])
    with pytest.raises(FlowError, match=r"a\.npz"):
        read_flow(path)


def test_scene_is_read_as_written(tmp_path):
    scene = SceneStore.open(make_scene(tmp_path / "scene"))
    assert scene.index == make_index()
    assert scene.frame(1).shape == (24, 32, 3)
    assert scene.frame(1)[0, 0].tolist() == [50, 50, 50]
    assert scene.flow(0).targets.tolist() == [1]


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(SceneError, match="no such scene folder"):
        SceneStore.open(tmp_path / "none")
    with pytest.raises(SceneError, match=r"no scene\.json"):
        SceneStore.open(tmp_path)
    folder = make_scene(tmp_path / "scene")
    flow_path(folder, 1).unlink()
    with pytest.raises(SceneError, match=r"000001\.npz is missing"):
        SceneStore.open(folder)


def test_flow_of_another_frame_is_refused(tmp_path):
    folder = make_scene(tmp_path / "scene")
    flow_path(folder, 0).write_bytes(flow_path(folder, 1).read_bytes())
    with pytest.raises(FlowError, match=r"000000\.npz"):
        SceneStore.open(folder).flow(0)


def of_format_1(**changes):
    """An index as format 1 had it: with every pair."""
    data = dataclasses.asdict(make_index()) | {"format": 1, "pairs": [[0, 1], [1, 0]]}
    del data["gaps"], data["grown"]
    return data | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": np.array([0, 4])}, {"targets": np.array([1, 2])},
        {"targets": np.array([2, 2])},
        {"origin": np.full((2, 2), -1)}, {"origin": np.array([[0, 0], [18, 0]])},
        {"stride": 6}, {"stride": 2**62},
    ],
)  # fmt: skip
def test_matches_of_a_scene_lie_in_it(changes):
    frame = dataclasses.replace(make_frame(1, (5, 7)), origin=np.zeros((2, 2), np.int64))
    assert frame.fits(3, (20, 13))  # 7 columns and 5 rows of 3 px, just
    assert not frame.fits(3, (20, 12))
    assert not dataclasses.replace(frame, **changes).fits(3, (20, 13))


@pytest.mark.parametrize("name", ["targets", "origin", "flow", "state"])
@pytest.mark.parametrize(
    "changed", [lambda a: a.astype(float), lambda a: a[:1], lambda a: a[..., None]]
)
def test_arrays_of_other_types_and_shapes_are_refused(tmp_path, name, changed):
    write_flow(tmp_path / "0.npz", make_frame(), 40)
    arrays, meta = read_archive(tmp_path / "0.npz")
    write_archive(tmp_path / "0.npz", arrays | {name: changed(arrays[name])}, meta)
    with pytest.raises(FlowError, match=r"0\.npz is damaged"):
        read_flow(tmp_path / "0.npz")


def test_an_index_of_format_1_is_read(tmp_path):
    folder = make_scene(tmp_path / "scene")
    write_json(folder / "scene.json", of_format_1())
    assert SceneStore.open(folder).index == make_index()
    write_json(folder / "scene.json", of_format_1(pairs=[[0]]))
    with pytest.raises(SceneError, match=r"scene\.json is damaged"):
        SceneStore.open(folder)


def test_pairs_are_all_those_of_the_gaps():
    index = make_index(n_frames=5, gaps=[1, 3])
    expected = [(i, j) for i in range(5) for j in range(5) if abs(i - j) in (1, 3)]
    assert [(i, j) for i in range(5) for j in index.targets(i)] == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 99},
        {"size": [1, 2, 3]},
        {"times": [0.0]},
        {"gaps": ["a"]},
        {"gaps": [0, 1]},
        {"gaps": [2]},
        {"coverage": [0.5]},
    ],
)
def test_damaged_index_is_refused(tmp_path, changes):
    folder = make_scene(tmp_path / "scene")
    make_index(**changes).save(folder)
    with pytest.raises(SceneError, match=r"scene\.json"):
        SceneStore.open(folder)
