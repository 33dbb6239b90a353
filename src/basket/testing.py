"""Contract tests for what other packages register: subclass one, and pytest does the rest.

Each class lists in its docstring what a subclass provides::

    from basket.testing import BackboneContract

    class TestBrightness(BackboneContract):
        def make_backbone(self):
            return Brightness()
"""

from basket.extract.backbones.contract import BackboneContract
from basket.extract.decode.contract import DecoderContract

__all__ = ["BackboneContract", "DecoderContract"]
