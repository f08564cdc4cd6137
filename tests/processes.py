"""Running the experiments of `child.py` from a test."""

import atexit
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
CHILD = Path(__file__).with_name("child.py")


@cache
def _server():
    """The process that forks, one for all experiments of this process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, str(CHILD)], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    atexit.register(server.communicate)  # it ends with its stdin
    return server


def experiment(name, *words, timeout=900):
    """What the experiment found, and what was said on stderr."""
    server = _server()
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        pipe = Path(folder, "said")  # a file would be subject to limits on files
        os.mkfifo(pipe)
        reading = beside.submit(pipe.read_text, errors="replace")
        server.stdin.write(json.dumps([name, [*map(str, words)], folder, timeout]) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        said = reading.result()
        assert code == 0, said
        assert "Traceback" not in said, said
        return json.loads(Path(folder, "found.json").read_text()), said
