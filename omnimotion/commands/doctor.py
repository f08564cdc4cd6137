"""``omnimotion doctor``: what this machine has, and what is missing."""

import json
from argparse import Namespace
from pathlib import Path

from omnimotion.config import Parser

SUMMARY = "check the installation and the machine"


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--folder", type=Path, default=Path("."), metavar="DIR",
                        help="where scenes would be written")  # fmt: skip


def main(args: Namespace) -> int:
    """Run the command; exit code 1 when a check failed."""
    from omnimotion.doctor import format_report, is_ready, report

    findings = report(args.folder)
    print(json.dumps(findings, indent=2) if args.json else format_report(findings))
    return 0 if is_ready(findings) else 1
