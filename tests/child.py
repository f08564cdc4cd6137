"""A process that imports everything once and then forks a child for each experiment.

Importing takes seconds, so the experiments share it, and their commands with them: ``serve``.
"""

import hashlib
import importlib
import json
import os
import resource
import runpy
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch

from omnimotion import cli, ground_truth, health, plots, runs
from omnimotion.checkpoint import checkpoints
from omnimotion.errors import InputError

for each in ("commands.query", "commands.train", "edits", "evaluation", "fused.step", "restarts"):
    importlib.import_module(f"omnimotion.{each}")  # so that the children need not import them
for each in ("compute", "raft"):
    importlib.import_module(f"preprocess.{each}")


def forked(work):
    """Run `work` in a child process; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        code = work() or 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 99
    os._exit(code)


def code_of(pid):
    """How a child ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_until_done(words, delays, watched):
    """Run a command, killed after each of some delays, until it ends; then once more, left alone.

    How many kills hit it, its code at the end, and what the watched files were after the kills.
    """
    killed, seen = 0, set()
    for cpu_s in delays:
        code = killed_after(forked(lambda: cli.main(words)), cpu_s)
        seen |= {digest(path) for path in watched}
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        killed += 1
    return killed, code_of(forked(lambda: cli.main(words))), seen


def killed_after(pid, cpu_s):
    """Kill a child when it has had so much CPU time, however busy the machine is; how it ended."""
    clock = (~pid << 3) | 2  # Linux: that of all threads of another process
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while os.waitid(os.P_PID, pid, ended) is None and time.clock_gettime(clock) < cpu_s:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    return code_of(pid)


def kills(words, kills, seed, longest_s, watched="[]"):
    """Runs of a command, its words as JSON, until so many kills hit them; {} is a run's number.

    The kills and the code of each, and SHA-256 of what the watched files ever were. Delays, in
    CPU time, are drawn log-uniformly: the first moments of a resume are as likely to break. One
    that is drawn too long hits nothing and does not count. Reports have no charts and hardly a
    pixel, else most kills would hit what draws them.
    """
    plain_reports()
    rng = np.random.default_rng(int(seed))
    left, found, seen = int(kills), [], set()
    while left > 0:
        assert len(found) <= 20 + 4 * int(kills), "hardly anything was killed"
        numbered = [word.replace("{}", str(len(found))) for word in json.loads(words)]
        delays = float(longest_s) * 10 ** rng.uniform(-2, 0, left)
        killed, code, more = kill_until_done(numbered, delays, json.loads(watched))
        found.append([killed, code])
        seen |= more
        left -= killed
    return {"runs": found, "seen": sorted(seen)}


def plain_reports():
    plots._png, health.PIXELS = lambda figure: b"", 512


def together(words, count):
    """The exit codes of a command in several processes, which know of each other as torchrun's."""
    plain_reports()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    known = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def work(rank):
        os.environ.update(known | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        return cli.main(json.loads(words))

    return [code_of(pid) for pid in [forked(lambda k=k: work(k)) for k in range(int(count))]]


def signalled(words, number, run):
    """How ``train.py`` ends that gets a signal once its run has a checkpoint."""
    sys.argv = ["train.py", *json.loads(words)]
    script = str(Path(__file__).parents[1] / "train.py")
    pid = forked(lambda: runpy.run_path(script, run_name="__main__") and 0)
    while not checkpoints(Path(run)):
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        time.sleep(0.005)
    os.kill(pid, int(number))
    return code_of(pid)


def pickle_mb(path):
    """By how many MB reading a pickle that is refused raises the peak; None where it is read."""

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak()
    try:
        list(ground_truth.read_tapvid(Path(path)))
    except InputError:
        return (peak() - before) * 1024 / 1e6
    return None


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def limited(words, size):
    """A command that may not write files of more than `size` bytes."""

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
        return cli.main(words)

    return code_of(forked(work))


def full_disk(commands):
    """Exit code of each command [words, size] under its limit."""
    return [limited(words, size) for words, size in json.loads(commands)]


def peak_mb(words):
    """Exit code of a command, and the most memory that it had."""
    _, status, used = os.wait4(forked(lambda: cli.main(words)), 0)
    return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024 / 1e6


def memory(commands):
    """Exit code of each command, and its peak of memory in MB above that of ``--help``."""
    _, idle = peak_mb(["--help"])
    return [[code, round(mb - idle)] for code, mb in map(peak_mb, json.loads(commands))]


def kept(name, words, folder, longest_s):
    """An experiment: what it finds goes to a file of a folder, what is said to a pipe there."""
    signal.alarm(longest_s)
    for descriptor, path in enumerate((os.devnull, os.devnull, f"{folder}/said")):
        os.dup2(os.open(path, os.O_WRONLY if descriptor else os.O_RDONLY), descriptor)
    Path(folder, "found.json").write_text(json.dumps(globals()[name](*words)))


def serve():
    """Experiments, a line of JSON on stdin each; a line with the exit code of each that ends."""
    set_threads = runs.set_threads
    runs.set_threads = lambda threads: set_threads(threads or 1)
    torch.set_num_threads(1)
    for line in sys.stdin:
        words = json.loads(line)
        sys.stdout.write(f"{code_of(forked(lambda words=words: kept(*words)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
