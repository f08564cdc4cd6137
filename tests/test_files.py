"""Claims about files: whole or absent, refused with one line that names the file."""

import errno
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from omnimotion.errors import CheckpointError, ConfigError, FlowError, ResourceError
from omnimotion.files import (
    atomic_folder,
    atomic_path,
    atomic_write,
    free_bytes,
    lock,
    read_archive,
    read_bytes,
    read_json,
    require_free,
    shown,
    write_json,
)
from omnimotion.temporary import remove_stale_temps

ROOT = Path(__file__).parents[1]


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a.bin"
    for data in (b"old", b"new"):
        atomic_write(target, data)
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_failure_in_the_block_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.mp4"
    target.write_bytes(b"old")

    def fail():
        with atomic_path(target) as temp:
            assert temp.suffix == ".mp4"
            assert temp.parent == tmp_path
            temp.write_bytes(b"half")
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        fail()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_written_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    atomic_write(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == usual.stat().st_mode


def test_names_of_255_bytes_and_undecodable_names_work(tmp_path):
    for name in (b"a" * 251 + b".png", b"caf\xe9.png", "ü [x] %03d\n".encode()):
        path = tmp_path / os.fsdecode(name)
        atomic_write(path, name)
        assert read_bytes(path, FlowError) == name
        assert shown(path).encode("utf-8").isascii() or "ü" in shown(path)
        assert "\n" not in shown(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_full_disk_is_a_resource_error_that_names_sizes(tmp_path, code):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail():
        with atomic_path(target, needed_bytes=3_000_000):
            raise OSError(code, "full")

    with pytest.raises(ResourceError, match=r"a\.bin: needed about 3\.0 MB, free [\d.]+ MB"):
        fail()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


DISK_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from omnimotion.errors import ResourceError
from omnimotion.files import read_archive, write_archive
path = Path(sys.argv[1])
write_archive(path, {"a": np.zeros(10)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_archive(path, {"a": np.zeros(100_000)}, {})
except ResourceError as problem:
    assert "needed about 0.8 MB" in str(problem), problem
    assert read_archive(path)[0]["a"].shape == (10,)
    sys.exit(0)
sys.exit("accepted")
"""


def test_real_write_limit_keeps_the_old_archive(tmp_path):
    command = [sys.executable, "-c", DISK_FULL, str(tmp_path / "a.npz")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin"])
def test_bad_folder_is_a_config_error(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cannot write .*a\.bin"):
        atomic_write(tmp_path / name, b"")


WRITE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from omnimotion.files import write_archive
for step in range(1_000_000):
    write_archive(Path(sys.argv[1]), {"w": np.full(50_000, step)}, {"step": step})
"""


def test_killed_writers_never_leave_a_torn_file(tmp_path):
    path = tmp_path / "a.npz"
    for delay_s in (0.01, 0.03, 0.06, 0.1):
        path.unlink(missing_ok=True)
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(path)]
        with subprocess.Popen(command, cwd=ROOT) as writer:
            while not path.exists() and writer.poll() is None:
                time.sleep(0.01)
            time.sleep(delay_s)
            writer.kill()
        arrays, meta = read_archive(path)
        assert np.all(arrays["w"] == meta["step"])
    remove_stale_temps(tmp_path)
    assert os.listdir(tmp_path) == ["a.npz"]


def temp_of_a_dead_process(folder, suffix=""):
    """The name of a temporary file of this machine, whose process has ended."""
    code = (
        "import sys; from pathlib import Path; from omnimotion.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temp: print(temp)"
    )
    command = [sys.executable, "-c", code, str(folder / f"a{suffix}")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (folder / f"a{suffix}").unlink()
    return Path(done.stdout.strip())


def of_another_machine(temp):
    """The same name, as another machine would have given it."""
    product, host, *rest = temp.name.split("-")
    return temp.with_name("-".join([product, host[::-1], *rest]))


def test_stale_temps_of_dead_processes_go_folders_too(tmp_path):
    folder = temp_of_a_dead_process(tmp_path)
    folder.mkdir()
    (folder / "half").write_text("x")
    temp_of_a_dead_process(tmp_path, ".tif").write_text("x")
    (tmp_path / "mine").mkdir()
    remove_stale_temps(tmp_path)
    assert os.listdir(tmp_path) == ["mine"]


def test_temps_of_other_machines_go_after_a_day_without_a_change(tmp_path):
    new = of_another_machine(temp_of_a_dead_process(tmp_path))
    old = of_another_machine(temp_of_a_dead_process(tmp_path))
    new.write_text("being written")
    old.write_text("left behind")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    remove_stale_temps(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_stale_temps_of_living_processes_stay(tmp_path):
    with atomic_path(tmp_path / "a") as temp:
        remove_stale_temps(tmp_path)
        assert temp.exists()


def test_read_bytes_refuses_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    os.symlink("loop", tmp_path / "loop")
    (tmp_path / "large").write_bytes(b"1234")
    for name, text in [
        ("fifo", "not a regular file"),
        ("loop", "no such file"),
        ("missing", "no such file"),
        ("null\0byte", "no such file"),
        (".", "not a regular file"),
    ]:
        with pytest.raises(FlowError, match=text):
            read_bytes(tmp_path / name, FlowError)
    with pytest.raises(FlowError, match=r"large has .* at most"):
        read_bytes(tmp_path / "large", FlowError, max_bytes=3)
    with pytest.raises(FlowError, match="not a regular file"):
        read_bytes(Path("/dev/zero"), FlowError)


def test_growing_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    monkeypatch.setattr("omnimotion.files.regular_size", lambda path, error: 4)
    with pytest.raises(FlowError, match="changed while it was read"):
        read_bytes(path, FlowError)


def test_json_returns_what_was_written(tmp_path):
    obj = {"b": [1, 2.5, None], "a": "caf\udce9 ü"}
    write_json(tmp_path / "a.json", obj)
    assert read_json(tmp_path / "a.json", FlowError) == obj
    assert (tmp_path / "a.json").read_bytes().isascii()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b"{}x", b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe", b"[" * 100_000],
)
def test_damaged_json_is_refused(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(FlowError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json", FlowError)


def test_json_that_was_changed_is_refused_and_that_of_a_person_is_read(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"times": [0.5, 1.5]})
    path.write_text(path.read_text().replace("1.5", "1.7"))
    with pytest.raises(FlowError, match=r"a\.json is damaged: its checksum is another"):
        read_json(path, FlowError)
    path.write_text('{"times": [0.5, 1.7]}')
    assert read_json(path, FlowError) == {"times": [0.5, 1.7]}


def test_json_refuses_to_write_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


def test_require_free_compares_with_the_disk(tmp_path):
    deep = tmp_path / "not" / "yet"
    assert free_bytes(deep) > 0
    require_free(deep, 1, "flow")
    with pytest.raises(ResourceError, match=r"flow needs .* MB in .*yet, .* MB free"):
        require_free(deep, 1 << 60, "flow")


def test_lock_is_exclusive_and_released(tmp_path):
    path = tmp_path / "lock"
    with lock(path), pytest.raises(ConfigError, match="another process uses"), lock(path):
        pass
    with lock(path):
        pass


def test_lock_in_a_missing_folder_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot write"), lock(tmp_path / "no" / "lock"):
        pass


def test_archive_errors_name_the_file(tmp_path):
    path = tmp_path / "step.npz"
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"step\.npz is damaged: no archive, or cut off"):
        read_archive(path)
    with pytest.raises(FlowError, match="no such file"):
        read_archive(tmp_path / "missing", error=FlowError)
    with pytest.raises(CheckpointError, match="at most"):
        read_archive(path, max_bytes=1)


def test_a_folder_is_whole_or_absent(tmp_path):
    with atomic_folder(tmp_path / "a" / "b") as temp:
        (temp / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"
    with suppress(RuntimeError), atomic_folder(tmp_path / "c") as temp:
        (temp / "file").write_text("x")
        raise RuntimeError("halfway")
    assert sorted(os.listdir(tmp_path)) == ["a"]
    with pytest.raises(ConfigError, match="exists"), atomic_folder(tmp_path / "a"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make"), atomic_folder(tmp_path / "file" / "d"):
        pass


def test_a_pipe_is_not_replaced(tmp_path):
    """Nor would a device be, which a name of the user's may be."""
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(ConfigError, match=r"t\.csv is a pipe or a device"):
        atomic_write(tmp_path / "t.csv", b"tracks")
    assert (tmp_path / "t.csv").is_fifo()
    assert os.listdir(tmp_path) == ["t.csv"]
