"""Write one page of HTML about the last run: how good the model is, what to mend, where everything comes from."""

import argparse
import logging
from pathlib import Path

from stages.files import opened
from stages.reporting.page import render
from stages.reporting.sources import read_sources
from stages.runtime.command import run

log = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.report", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    return parser.parse_args()


def main() -> None:
    """Read what the stages have left behind and write the page."""
    arguments = parse_arguments()
    page = render(read_sources()).encode()
    with opened(arguments.output) as file:
        file.write(page)
    log.info("report: %s (%d kB): open it in a browser", arguments.output, len(page) // 1000 + 1)


if __name__ == "__main__":
    run(main, own_arguments=True)
