"""The command line: parse the options, make one call of workflows, show what it returns.

No logic lives here. Heavy modules are imported inside the commands, so that ``--help`` is instant.
"""

from basket.cli.main import app, run

__all__ = ["app", "run"]
