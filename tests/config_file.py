"""``configs/default.txt``, made from the settings themselves: run this file to write it."""

import dataclasses
import textwrap
from pathlib import Path

from omnimotion.config import Config

PATH = Path(__file__).parents[1] / "configs" / "default.txt"
HEADER = """\
# Every setting with its default, on a CPU and on a GPU. A key is also a flag of train.py:
# --key value. Lengths ("px") are in pixels of a frame whose longer side is 256, whatever the
# clip's size.
# This file is generated from omnimotion/config.py by `make configs`.
"""


def documented_defaults():
    """The text of the file."""
    lines = [HEADER]
    config = Config()
    for group in dataclasses.fields(config):
        owner = getattr(config, group.name)
        lines.append(f"\n# {'-' * 4} {group.name}: {owner.__doc__} {'-' * 4}\n")
        lines += [_entry(field, getattr(owner, field.name)) for field in dataclasses.fields(owner)]
    return "\n".join(lines)


def _entry(field, value):
    meta = field.metadata
    text = meta["help"]
    if meta["choices"]:
        text += f"; one of {', '.join(meta['choices'])}"
    elif meta["low"] is not None:
        text += f"; {meta['low']:g} to {meta['high']:.12g}"
    if isinstance(value, bool):
        value = str(value).lower()
    setting = f"{field.name} = {value}" if value != "" else f"# {field.name} = 10m"
    return "\n".join(textwrap.wrap(text, 97, initial_indent="# ", subsequent_indent="# ")) + (
        f"\n{setting}\n"
    )


if __name__ == "__main__":
    PATH.write_text(documented_defaults(), encoding="utf-8")
