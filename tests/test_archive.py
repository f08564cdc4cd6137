"""Claims about the archive format: exact, deterministic, and closed to everything else."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from omnimotion.archive import parse_object, read_members
from omnimotion.errors import CheckpointError
from omnimotion.files import read_archive, write_archive

ARRAYS = {
    "scene/layer.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "scalar": np.float64(2.5),
    "empty": np.zeros((0, 3), np.int16),
    "mask": np.array([True, False]),
}
META = {"format": 1, "kind": "test", "nested": {"a": [1, None]}}


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **options)
    return buffer.getvalue()


def with_header(text, payload=b"\0" * 8):
    header = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + payload


def test_reading_returns_what_was_written(tmp_path):
    write_archive(tmp_path / "a.npz", ARRAYS, META)
    arrays, meta = read_archive(tmp_path / "a.npz")
    assert meta == META
    assert arrays.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == np.asarray(expected).dtype
        assert arrays[name].flags.writeable
        assert arrays[name].flags.aligned


def test_only_the_asked_arrays_are_read(tmp_path):
    path = tmp_path / "a.npz"
    write_archive(path, {"one": np.arange(9), "other": np.full(9, 7)}, {"key": 1})
    arrays, meta = read_archive(path, names={"other", "absent"})
    assert list(arrays) == ["other"]
    assert (arrays["other"] == 7).all()
    assert meta == {"key": 1}


def test_numpy_reads_it_too(tmp_path):
    write_archive(tmp_path / "a.npz", ARRAYS, META)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["fortran"], ARRAYS["fortran"])


def test_equal_contents_give_equal_bytes(tmp_path):
    write_archive(tmp_path / "a", ARRAYS, META)
    backwards = dict(reversed(ARRAYS.items()))
    write_archive(tmp_path / "b", backwards, dict(reversed(META.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "meta"),
    [
        ({"a": np.array([None])}, {}),
        ({"a": np.array([b"bytes"])}, {}),
        ({"../a": np.zeros(1)}, {}),
        ({"": np.zeros(1)}, {}),
        ({"a": np.zeros(1)}, {"x": float("nan")}),
    ],
)
def test_what_an_archive_cannot_hold_is_not_written(tmp_path, arrays, meta):
    with pytest.raises(ValueError, match=r"cannot archive|JSON"):
        write_archive(tmp_path / "a.npz", arrays, meta)
    assert os.listdir(tmp_path) == []


def is_identical(path):
    """Whether the archive reads as written; False when it is refused."""
    try:
        arrays, meta = read_archive(path)
    except CheckpointError:
        return False
    assert meta == META
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], expected)
    return True


def test_every_flipped_bit_is_refused_or_harmless(tmp_path):
    path = tmp_path / "a.npz"
    write_archive(path, ARRAYS, META)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    harmless = 0
    for place in rng.choice(len(data) * 8, 400, replace=False):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        harmless += is_identical(path)
    assert harmless < 150  # dates and versions in zip headers; never a payload


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_archive(path, ARRAYS, META)
    data = path.read_bytes()
    for length in np.linspace(0, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:length])
        assert not is_identical(path)


def test_random_bytes_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_archive(path, ARRAYS, META)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(data)
        start = int(rng.integers(len(data)))
        damaged[start : start + 40] = rng.bytes(40)
        path.write_bytes(damaged)
        is_identical(path)  # raises nothing but CheckpointError


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


META_MEMBER = ("meta.json", b"{}")
F8 = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([("a.npy", npy(np.zeros(2)))], "meta.json is missing"),
        ([META_MEMBER, ("../a.npy", npy(np.zeros(2)))], "unexpected member"),
        ([META_MEMBER, ("/a.npy", npy(np.zeros(2)))], "unexpected member"),
        ([META_MEMBER, (".a.npy", npy(np.zeros(2)))], "unexpected member"),
        ([META_MEMBER, ("a.txt", b"")], "unexpected member"),
        ([META_MEMBER, ("a.npy", b"nothing")], "magic"),
        ([META_MEMBER, ("a.npy", npy(np.zeros(2), version=(2, 0)))], "version 1.0"),
        ([META_MEMBER, ("a.npy", with_header(F8 % "(10000000000,)"))], "bytes, not"),
        ([META_MEMBER, ("a.npy", with_header(F8 % "(-1,)"))], "bytes, not"),
        ([META_MEMBER, ("a.npy", with_header(F8 % "(-1, -1)"))], "shape"),
        ([META_MEMBER, ("a.npy", with_header("__import__('os')"))], "damaged"),
        ([META_MEMBER, ("a.npy", with_header("(" * 5000))], "damaged"),
        ([META_MEMBER, ("a.npy", npy(np.array([None])))], "dtype object"),
        ([("meta.json", b"[]")], "expected an object"),
        ([("meta.json", b'{"a": NaN}')], "NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:Stored array in format")
def test_foreign_members_are_refused(tmp_path, members, text):
    write_zip(tmp_path / "a.npz", members)
    with pytest.raises(CheckpointError, match=text):
        read_archive(tmp_path / "a.npz")


def test_pickles_are_never_loaded(tmp_path):
    canary = tmp_path / "canary"
    array = np.empty(1, object)
    array[0] = Canary(canary)
    for data in (npy(array, allow_pickle=True), pickle.dumps(Canary(canary))):
        write_zip(tmp_path / "a.npz", [META_MEMBER, ("a.npy", data)])
        with pytest.raises(CheckpointError):
            read_archive(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(CheckpointError):
        read_archive(tmp_path / "b.npz")
    assert not canary.exists()


def test_bomb_is_refused_before_it_is_expanded(tmp_path):
    members = [META_MEMBER, ("a.npy", npy(np.zeros(10_000_000)))]
    write_zip(tmp_path / "a.npz", members, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "a.npz").stat().st_size < 200_000
    with pytest.raises(CheckpointError, match="is compressed"):
        read_archive(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_repeated_members_are_refused(tmp_path):
    write_zip(tmp_path / "a.npz", [META_MEMBER, META_MEMBER])
    with pytest.raises(CheckpointError, match="2 members, 1 names"):
        read_archive(tmp_path / "a.npz")


def test_overlapping_members_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_zip(path, [META_MEMBER, ("a.npy", npy(np.zeros(4))), ("b.npy", npy(np.zeros(4)))])
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")  # b.npy's entry: its data at a.npy's place
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 1)
    data[directory + 42 : directory + 46] = data[second + 42 : second + 46]
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="overlaps"):
        read_archive(path)


def test_too_many_members_are_refused(tmp_path):
    write_zip(tmp_path / "a.npz", [META_MEMBER, *((f"{k}.npy", b"") for k in range(10_001))])
    with pytest.raises(CheckpointError, match="10002 members"):
        read_archive(tmp_path / "a.npz")


def test_huge_directory_is_refused_unread(tmp_path):
    (tmp_path / "a.npz").write_bytes(
        b"\0" * 100 + b"PK\x05\x06" + b"\0" * 8 + (1 << 30).to_bytes(4, "little") + b"\0" * 6
    )
    with pytest.raises(CheckpointError, match="directory of"):
        read_archive(tmp_path / "a.npz")


def test_a_member_hidden_by_a_flipped_length_is_missed(tmp_path):
    """The length of a directory entry's comment has no checksum, and swallows the next entry."""
    path = tmp_path / "a.npz"
    write_archive(path, {"a": np.zeros(2), "b": np.ones(2)}, {})
    data = bytearray(path.read_bytes())
    entry, after = (data.find(name, data.find(b"PK\1\2")) - 46 for name in (b"a.npy", b"b.npy"))
    end = data.find(b"PK\5\6")
    assert data[entry : entry + 4] == data[after : after + 4] == b"PK\1\2"
    data[entry + 32] = end - after  # its comment is now all that follows
    path.write_bytes(data)
    assert len(zipfile.ZipFile(path).namelist()) == 2  # of 3
    with pytest.raises(CheckpointError, match="2 members, expected 3"):
        read_archive(path)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 19, "-" + "9" * 400, "9" * 5000])
def test_numbers_that_others_cannot_convert_are_refused(number):
    with pytest.raises(ValueError, match="holds"):
        parse_object(f'{{"step": [{number}]}}'.encode())


def test_numbers_of_64_bits_are_read():
    numbers = [2**63 - 1, -(2**63), 1.5e308, -0.0, 1e-999]
    text = f'{{"a": [{", ".join(map(str, numbers))}]}}'
    assert parse_object(text.encode())["a"] == numbers


@pytest.mark.parametrize(
    ("descr", "shape"), [("<U0", (1 << 40,)), ("<f4", (1 << 40, 0)), ("<f4", (0, 1 << 30))]
)
def test_shapes_of_nothing_are_refused(descr, shape):
    """They take no byte of the file, and all memory of whoever goes through them."""
    member = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("meta.json", "{}")
        archive.writestr("a.npy", member.getvalue())
    with pytest.raises(ValueError, match="of nothing"):
        read_members(file, file.tell())
