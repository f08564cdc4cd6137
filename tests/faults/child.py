"""A process that imports everything once and then forks a child for each experiment.

Importing takes seconds, so the experiments share it. ``python child.py EXPERIMENT WORD...`` prints
one JSON object.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback

import numpy as np
import torch

import preprocess.raft  # noqa: F401  all of these, so that the children need not import them
from omnimotion import cli


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


def kill_until_done(words, kills, seed, longest_s):
    """Run a command again and again, killed after random times, at last left alone.

    The times are drawn log-uniformly, since the first moments of a resume are as likely to break.
    """
    rng = np.random.default_rng(seed)
    killed = 0
    for delay_s in longest_s * 10 ** rng.uniform(-2, 0, kills):
        pid = forked(lambda: cli.main(words))
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)
        code = code_of(pid)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        killed += 1
    return killed, code_of(forked(lambda: cli.main(words)))


def kills(words, kills, seed, longest_s):
    """JSON of a command's words; how many kills hit it, and its exit code at the end."""
    hit, code = kill_until_done(json.loads(words), int(kills), int(seed), float(longest_s))
    return {"killed": hit, "code": code}


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])) + "\n")
