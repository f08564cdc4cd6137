"""Row 33, outside the fit: a signal leaves nothing half written and tells its code."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import ROOT

WRITES = """
import sys, time
from pathlib import Path
from omnimotion import cli
from omnimotion.files import atomic_folder, atomic_path

def main(words):
    folder = Path(words[0])
    with atomic_path(folder / "a.npy") as temp, atomic_folder(folder / "maps") as maps:
        temp.write_bytes(bytes(1000))
        (maps / "0.flo").write_bytes(bytes(1000))
        print("ready", flush=True)
        for _ in range(600):  # a signal just before a sleep is heeded after it
            time.sleep(0.1)

cli.main = main
cli.run(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_33_a_signal_leaves_no_temporary_file(tmp_path, number):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 2
        began = time.monotonic()
        process.send_signal(number)
        code = process.wait(timeout=10)
    assert time.monotonic() - began < 5
    assert not any(tmp_path.iterdir())
    if number == signal.SIGTERM:
        assert code == 128 + signal.SIGTERM
