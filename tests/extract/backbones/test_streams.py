"""What users ask for, expanded to names."""

import pytest

from basket.errors import UsageError
from basket.extract.backbones.streams import (
    expand_streams,
    layer_index,
    streams_for,
    tubelet_index,
)


@pytest.mark.parametrize(
    ("requested", "names"),
    [
        (["pooled"], ("pooled",)),
        (["pooled", "pooled"], ("pooled",)),
        (["layers:-4,-3"], ("layer-4", "layer-3")),
        (["layers:-4", "-3", "pooled"], ("layer-4", "layer-3", "pooled")),
        (["layer-1", "tubelets"], ("layer-1", "tubelet0", "tubelet1")),
        (["tubelet1"], ("tubelet1",)),
    ],
)
def test_expansion(requested, names):
    assert expand_streams(requested, model="m", layers=4, time_steps=2) == names


@pytest.mark.parametrize(
    "wrong",
    ["layer-5", "layers:0", "layers:1", "layers:-1,", "tubelet2", "prompts", "", "-3", "layer-x"],
)
def test_what_the_model_does_not_have_is_refused(wrong):
    with pytest.raises(UsageError, match=r"'layer-1' .*'layer-4', 'tubelet0' to 'tubelet1'"):
        expand_streams([wrong], model="m", layers=4, time_steps=2)


def test_a_model_with_one_stream_says_so():
    for wrong in ("layers:-1", "tubelets"):
        with pytest.raises(UsageError, match=r"offers 'pooled'$"):
            expand_streams([wrong], model="m")
    with pytest.raises(UsageError, match="no stream"):
        expand_streams([], model="m")


def test_names_tell_their_index():
    assert (layer_index("layer-4"), layer_index("tubelet4")) == (-4, None)
    assert (tubelet_index("tubelet4"), tubelet_index("pooled")) == (4, None)


def test_a_model_s_own_streams_are_offered():
    assert expand_streams(["prompts"], model="m", others=("prompts",)) == ("prompts",)
    with pytest.raises(UsageError, match=r"offers 'pooled', 'prompts'$"):
        expand_streams(["prompt"], model="m", others=("prompts",))


@pytest.mark.parametrize(
    ("requested", "by_model"),
    [
        ([], {"videomae": ("pooled",), "motion": ("pooled",)}),
        (["pooled"], {"videomae": ("pooled",), "motion": ("pooled",)}),
        (["motion=colour"], {"videomae": ("pooled",), "motion": ("colour",)}),
        (
            ["pooled", "motion=colour", "videomae=layers:-4,-3"],
            {"videomae": ("pooled", "layers:-4,-3"), "motion": ("pooled", "colour")},
        ),
        # As a comma-separated option arrives.
        (
            ["videomae=layers:-4", "-3", "pooled"],
            {"videomae": ("layers:-4", "-3", "pooled"), "motion": ("pooled",)},
        ),
        (["layers:-2", "-1"], {"videomae": ("layers:-2", "-1"), "motion": ("layers:-2", "-1")}),
    ],
)
def test_streams_of_several_models(requested, by_model):
    assert streams_for(requested, ["videomae", "motion"]) == by_model


def test_streams_for_a_model_that_is_not_there():
    with pytest.raises(UsageError, match=r"'videomea', which is not among .* mean 'videomae'"):
        streams_for(["videomea=pooled"], ["videomae", "motion"])
    assert streams_for(["a/b=pooled"], ["a/b"]) == {"a/b": ("pooled",)}
