"""What a person sees. ``output`` is the only module that prints; the others make what it prints.

One file of tables and sentences for each topic, imported by the commands that show them.
"""

from basket.console.output import Output, print_error

__all__ = ["Output", "print_error"]
