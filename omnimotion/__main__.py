"""``python -m omnimotion COMMAND``."""

from omnimotion.cli import run

run()
