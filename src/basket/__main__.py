"""``python -m basket`` and the ``basket`` command."""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """Run the command line; deliberate errors end in one message and their exit code."""
    from basket.cli import run

    # A person needs the sentence, not the place in somebody's code that it comes from.
    warnings.formatwarning = lambda text, kind, *_: f"{kind.__name__}: {text}\n"
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
