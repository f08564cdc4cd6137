"""Readers of ground truth: what they give, what they refuse, and that pickles cannot run code."""

import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from processes import experiment

from omnimotion.errors import ConfigError, InputError
from omnimotion.ground_truth import GroundTruth, raster_to_pixel, read_ground_truth, read_tapvid
from omnimotion.restricted_pickle import load_plain_pickle

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no test videos: ../shared/data")


def make_truth(visible, known=None, queries=None):
    visible = np.array(visible, bool)
    tracks = np.arange(visible.size * 2, dtype=float).reshape(*visible.shape, 2)
    known = np.ones_like(visible) if known is None else np.array(known, bool)
    return GroundTruth("clip", (64, 48), tracks, visible, known, True, queries)


def write_clip(folder, n_frames=3, **changes):
    (folder / "frames").mkdir(parents=True)
    cv2.imwrite(str(folder / "frames" / "00000.png"), np.zeros((48, 64, 3), np.uint8))
    arrays = {
        "queries": np.array([[0, 1, 2], [1, 3, 4]], np.float32),
        "tracks": np.zeros((2, n_frames, 2), np.float32),
        "visible": np.ones((2, n_frames), bool),
        "known": np.ones((2, n_frames), bool),
        "occlusion_labels": np.array(True),
    } | changes
    np.savez(folder / "gt.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


def test_strided_asks_each_track_visible_in_every_fifth_frame():
    visible = np.zeros((2, 12))
    visible[0, [0, 3, 10]] = 1
    visible[1, [5, 10]] = 1
    queries = make_truth(visible).select("strided")
    assert queries.queries[:, 0].tolist() == [0, 5, 10, 10]
    tracks = make_truth(visible).tracks
    assert queries.queries[:, 1:].tolist() == [
        tracks[0, 0].tolist(),
        tracks[1, 5].tolist(),
        tracks[0, 10].tolist(),
        tracks[1, 10].tolist(),
    ]
    assert queries.span.sum(axis=1).tolist() == [11] * 4
    assert not queries.span[0, 0]


def test_first_asks_at_the_first_visible_frame_and_scores_after_it():
    visible = [[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    queries = make_truth(visible).select("first")
    assert queries.queries[:, 0].tolist() == [2, 0]  # the track that is never seen asks nothing
    assert queries.span.tolist() == [[False] * 3 + [True] * 2, [False] + [True] * 4]


def test_given_scores_every_frame_but_the_querys_where_known():
    known = [[1, 1, 0, 1]]
    truth = make_truth([[1, 1, 0, 0]], known, np.array([[1, 5, 6]], np.float32))
    assert truth.select("given").evaluated.tolist() == [[True, False, False, True]]


def test_a_click_beside_the_frame_is_asked_at_its_border(caplog):
    """One such point would end the evaluation of all clips; its truth stays as it was clicked."""
    truth = make_truth([[1, 1]])
    truth.tracks[0, 0] = (63.6, -2.0)
    for mode, found in (("first", truth.select("first")), ("strided", truth.select("strided"))):
        assert found.queries.tolist() == [[0, 63.5, -0.5]], mode
        assert found.tracks[0, 0].tolist() == [63.6, -2.0]
    assert caplog.messages[0] == (
        "clip: 1 of 1 queries lie beside the frame and are asked at its border"
    )


def test_unusable_modes_are_refused():
    with pytest.raises(ConfigError, match="names no queries"):
        make_truth([[1, 1]]).select("given")
    with pytest.raises(ConfigError, match="'last' is unknown"):
        make_truth([[1, 1]]).select("last")


def test_raster_corners_are_half_a_pixel_outside_the_centres():
    points = raster_to_pixel(np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]), (256, 128))
    assert points.tolist() == [[-0.5, -0.5], [255.5, 127.5], [127.5, 63.5]]


def test_gt_npz_is_read(tmp_path):
    (tmp_path / "a" / "masks").mkdir(parents=True)
    for t in range(3):
        mask = np.zeros((48, 64), np.uint8)
        mask[:4, : t + 1] = 255
        cv2.imwrite(str(tmp_path / "a" / "masks" / f"{t:05d}.png"), mask)
    truth = read_ground_truth(write_clip(tmp_path / "a"))
    assert (truth.name, truth.size, truth.occlusion_labels) == ("a", (64, 48), True)
    assert truth.tracks.shape == (2, 3, 2)
    assert truth.mask_areas.tolist() == [4, 8, 12]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": None}, "known"),
        ({"tracks": np.zeros((2, 3, 3))}, "expected"),
        ({"visible": np.ones((2, 4), bool)}, r"visible \(2, 4\)"),
        ({"queries": np.zeros((3, 3))}, r"queries \(3, 3\)"),
        ({"visible": np.array([[print] * 3] * 2, object)}, "cannot be read"),
        ({"tracks": np.full((2, 3, 2), "x")}, "tracks: is made of"),
        ({"occlusion_labels": np.ones(2, bool)}, r"occlusion_labels \(2,\)"),
    ],
)
def test_a_bad_gt_npz_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        read_ground_truth(write_clip(tmp_path / "clip", **changes))
    assert "gt.npz" in str(caught.value)


def test_a_missing_or_cut_gt_npz_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gt\.npz"):
        read_ground_truth(tmp_path)
    path = write_clip(tmp_path / "clip") / "gt.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read"):
        read_ground_truth(tmp_path / "clip")
    with pytest.raises(InputError, match=r"no such folder: .*nosuch; expected one with gt\.npz"):
        read_ground_truth(tmp_path / "nosuch")


def tapvid_clip(rng, n_frames=4, size=(16, 12)):
    width, height = size
    return {
        "video": rng.integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8),
        "points": rng.random((5, n_frames, 2), dtype=np.float32),
        "occluded": rng.random((5, n_frames)) < 0.3,
    }


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("layout", [dict, list])
def test_tapvid_pickles_are_read(tmp_path, protocol, layout):
    clip = tapvid_clip(np.random.default_rng(0))
    clip["points"] = np.asfortranarray(clip["points"])
    path = tmp_path / "tapvid.pkl"
    path.write_bytes(pickle.dumps({"goat": clip} if layout is dict else [clip], protocol))
    (read,) = read_tapvid(path)
    assert read.truth.name == ("goat" if layout is dict else "tapvid_0000")
    assert read.truth.size == (16, 12)
    np.testing.assert_array_equal(read.frames, clip["video"])
    np.testing.assert_array_equal(read.truth.visible, ~clip["occluded"])
    np.testing.assert_array_equal(read.truth.tracks, clip["points"].astype(float) * [16, 12] - 0.5)


@pytest.mark.parametrize("as_array", [False, True])
def test_kinetics_frames_of_jpeg_bytes_are_decoded_as_rgb(tmp_path, as_array):
    clip = tapvid_clip(np.random.default_rng(0))
    red = np.zeros((12, 16, 3), np.uint8)
    red[..., 2] = 255  # BGR, as OpenCV writes
    jpeg = cv2.imencode(".jpg", red)[1].tobytes()
    clip["video"] = np.array([jpeg] * 4, object) if as_array else [jpeg] * 4
    path = tmp_path / "0000_of_0010.pkl"
    path.write_bytes(pickle.dumps([clip]))
    (read,) = read_tapvid(path)
    assert read.frames.shape == (4, 12, 16, 3)
    assert np.abs(read.frames[0, 5, 5].astype(int) - [255, 0, 0]).max() < 5


class RunsCode:
    """Unpickled with `pickle.load` this makes the canary file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def dump_attacks(canary):
    clip = tapvid_clip(np.random.default_rng(0))
    yield "a call", pickle.dumps(RunsCode(canary))
    yield "inside a clip", pickle.dumps({"goat": clip | {"video": RunsCode(canary)}})
    yield "inside an array", pickle.dumps([clip | {"video": np.array([RunsCode(canary)])}])
    yield "os.system", b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    yield "builtins", b"cbuiltins\neval\n(S'1'\ntR."
    yield "through an allowed module", b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93."
    yield "encodings import", b"c_codecs\nencode\n(Vx\nVrot13\ntR."


@pytest.mark.parametrize("number", range(7))
def test_a_pickle_cannot_run_code(tmp_path, number):
    canary = tmp_path / "canary"
    name, attack = list(dump_attacks(canary))[number]
    path = tmp_path / "evil.pkl"
    path.write_bytes(attack)
    with pytest.raises(InputError, match=r"evil\.pkl"):
        list(read_tapvid(path))
    assert not canary.exists(), name


def bombs():
    """Pickles of few bytes that ask for much memory or time."""
    yield b"\x80\x02cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR."  # 2 GiB of zeros
    yield b"\x80\x02]r\xff\xff\xff\x0f."  # remembered as object 2^28: a table of 4 GiB
    yield b"\x80\x05\x96" + (1 << 36).to_bytes(8, "little") + b"."  # a bytearray of 64 GiB
    yield b"\x80\x04\x95" + (1 << 36).to_bytes(8, "little") + b"]."  # a frame of 64 GiB
    nested = [0]
    for _ in range(7):
        nested = [nested] * 1000
    yield pickle.dumps(nested)  # the same list in a list, 10^21 times
    array = np.zeros(1 << 18, np.uint8)
    yield pickle.dumps([array] * 5000, 2)  # as text, of which each use would make bytes


@pytest.mark.parametrize("number", range(6))
def test_a_small_pickle_takes_little_memory(tmp_path, number):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(list(bombs())[number])
    mb, said = experiment("pickle_mb", path, timeout=120)
    assert said == ""
    assert mb is not None, "it was read"
    assert mb <= 200


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_bytearrays_are_read(tmp_path, protocol):
    path = tmp_path / "plain.pkl"
    plain = {"a": bytearray(b"\xff\0b"), "b": bytearray(), "c": [b"x", "y", 1.5, None]}
    path.write_bytes(pickle.dumps(plain, protocol))
    assert load_plain_pickle(path) == plain


def test_the_canary_would_sing(tmp_path):
    """The attack is real: the plain unpickler does run it."""
    canary = tmp_path / "canary"
    pickle.load(io.BytesIO(next(dump_attacks(canary))[1]))
    assert canary.exists()


def test_damaged_pickles_are_refused_whatever_the_byte(tmp_path):
    clip = tapvid_clip(np.random.default_rng(0), n_frames=1, size=(2, 2))
    good = pickle.dumps({"goat": clip}, 4)
    rng = np.random.default_rng(1)
    path = tmp_path / "cut.pkl"
    for position in rng.integers(0, len(good), 150):
        flipped = bytearray(good)
        flipped[position] ^= 1 << int(rng.integers(8))
        for damaged in (good[:position], bytes(flipped)):
            path.write_bytes(damaged)
            try:
                list(read_tapvid(path))
            except InputError as error:
                assert "cut.pkl" in str(error)  # noqa: PT017 -- a flip in pixels may pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": np.zeros((4, 12, 16), np.uint8)}, "video"),
        ({"points": np.zeros((5, 3, 2), np.float32)}, r"points \(5, 3, 2\)"),
        ({"occluded": np.zeros((5, 9), bool)}, r"occluded \(5, 9\)"),
        ({"video": [b"no jpeg"] * 4}, "damaged"),
        ({"points": [[["x"] * 2] * 4] * 5}, "points: is made of"),
        ({"points": [[0.5], [0.5, 0.5]]}, "points: "),
        ({"video": np.zeros((4, 12, 16, 3), "datetime64[s]")}, "cannot|not a readable"),
    ],
)
def test_a_clip_of_the_wrong_shape_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "davis.pkl"
    path.write_bytes(pickle.dumps({"goat": tapvid_clip(np.random.default_rng(0)) | change}))
    with pytest.raises(InputError, match=message):
        list(read_tapvid(path))


def test_a_container_within_itself_is_refused(tmp_path):
    nested = []
    nested.append(nested)
    path = tmp_path / "nested.pkl"
    path.write_bytes(pickle.dumps(nested))
    with pytest.raises(InputError, match="nested deeper"):
        list(read_tapvid(path))


@needs_data
def test_the_test_videos_are_read():
    truth = read_ground_truth(DATA / "badja_camel")
    assert (truth.size, truth.occlusion_labels) == ((854, 480), False)
    assert truth.mask_areas is not None
    assert truth.mask_areas.shape == (90,)


@pytest.mark.parametrize("name", ["../up", "/abs", ".hidden", "a/b", "", "..", "a\nb", "a" * 300])
def test_a_clip_whose_name_is_no_folder_is_refused(tmp_path, name):
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps({name: tapvid_clip(np.random.default_rng(0))}))
    with pytest.raises(InputError, match="expected letters, digits"):
        list(read_tapvid(path))
