"""Every registered family keeps the contract."""

import pytest

from basket.extract.backbones import BACKBONES, load_backbone
from basket.extract.backbones.contract import BackboneContract

#: Family to the streams that are tried.
STREAMS = {
    "motion": ("pooled", "colour"),
    "videomae": ("pooled", "layers:-1,-2", "tubelets"),
    "xclip": ("pooled", "prompts"),
    "vjepa2": ("pooled", "layers:-1,-2", "tubelets"),
    "timesformer": ("pooled", "layers:-1,-2", "tubelets"),
    "vivit": ("pooled", "layers:-1,-2", "tubelets"),
    "clip": ("pooled", "layers:-1,-2", "tubelets"),
    "siglip2": ("pooled", "layers:-1,-2", "tubelets"),
    "dinov2": ("pooled", "layers:-1,-2", "tubelets"),
}


def test_no_family_is_left_out():
    assert set(BACKBONES) == set(STREAMS)


@pytest.mark.parametrize("family", STREAMS)
class TestFamilies(BackboneContract):
    clips_per_test = 3

    @pytest.fixture(autouse=True)
    def load(self, family, loaded):
        self.backbone = loaded(family, STREAMS[family])
        self.tolerance = 0 if family == "motion" else 1e-5

    def make_backbone(self):
        return self.backbone


class TestVideoMAESelfSupervised(BackboneContract):
    @pytest.fixture(autouse=True)
    def load(self, checkpoints):
        self.folder = checkpoints["ssl"]

    def make_backbone(self):
        return load_backbone("videomae", weights=self.folder)


def test_a_backbone_that_breaks_the_contract_is_caught(loaded):
    good = loaded("motion", ("pooled",))

    class Leaky:
        """Its rows depend on their neighbours."""

        spec = good.spec

        def embed(self, clips):
            rows = good.embed(clips)["pooled"]
            return {"pooled": rows + rows.sum()}

    class Contract(BackboneContract):
        def make_backbone(self):
            return Leaky()

    with pytest.raises(AssertionError, match="stream pooled"):
        Contract().test_a_row_depends_on_its_clip_alone()
