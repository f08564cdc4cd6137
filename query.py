"""Track points: ``query.py --scene DIR --points SPEC``. Same as ``omnimotion query``."""

import sys

from omnimotion.cli import run

if __name__ == "__main__":
    run(["query", *sys.argv[1:]])
