"""Fit a scene: ``train.py --config FILE --scene DIR``. Same as ``omnimotion train``."""

import sys

from omnimotion.cli import run

if __name__ == "__main__":
    run(["train", *sys.argv[1:]])
