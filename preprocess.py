"""Compute the flow of a video: ``preprocess.py VIDEO``. Same as ``omnimotion preprocess``."""

import sys

from omnimotion.cli import run

if __name__ == "__main__":
    run(["preprocess", *sys.argv[1:]])
