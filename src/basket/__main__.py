"""``python -m basket`` and the ``basket`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; deliberate errors end in one message and their exit code."""
    from basket.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
