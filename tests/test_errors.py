"""The tree of errors: what it says of itself, and how commands end by it."""

import re

from basket import errors


def every_error(kind=errors.BasketError):
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)


def test_the_drawing_of_the_tree_is_the_tree():
    drawn = re.findall(r"^ +[│├└─ ]*(\w+) +(\d+)   ", errors.__doc__, re.MULTILINE)
    assert {name: int(code) for name, code in drawn} == {
        kind.__name__: kind.exit_code
        for kind in every_error()
        if kind.__module__ == "basket.errors"
    }
    assert len(drawn) == len(dict(drawn)) > 10
