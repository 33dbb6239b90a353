"""Finding feature sets in a cache folder, and what is said when there is no such thing."""

import json
from pathlib import Path

import pytest

from basket.cache import FeatureSetSpec, VideoFeatures, open_cache
from basket.cache.durable import make_room_for
from basket.errors import (
    CacheError,
    FormatVersionError,
    IdentityError,
    IntegrityError,
    NotThereError,
    UsageError,
)


def test_a_new_cache_says_what_it_is(tmp_path):
    cache = open_cache(tmp_path / "a" / "cache", create=True)
    assert json.loads((cache.path / "cache.json").read_text()) == {
        "format": "basket-cache",
        "version": 1,
    }
    assert cache.feature_sets == ()
    assert open_cache(str(cache.path)).feature_sets == ()
    assert open_cache(cache.path, create=True).feature_sets == ()
    with pytest.raises(UsageError, match="no feature sets yet"):
        cache["motion"]


def test_what_is_no_cache_is_told_in_a_sentence(tmp_path):
    with pytest.raises(NotThereError, match="There is no cache at"):
        open_cache(tmp_path / "absent")
    with pytest.raises(NotThereError, match=r"no cache\.json"):
        open_cache(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(NotThereError, match="not empty"):
        open_cache(tmp_path, create=True)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(NotThereError):
        open_cache(file)
    with pytest.raises(NotThereError, match="is not a folder"):
        open_cache(file, create=True)


def test_a_folder_that_the_system_refuses_is_told_in_a_sentence(tmp_path, monkeypatch):
    def refuses(*_args, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuses)
    with pytest.raises(CacheError, match="new cannot be made: Read-only file system"):
        make_room_for(tmp_path / "new" / "x.csv")
    with pytest.raises(CacheError, match="cannot be made"):
        open_cache(tmp_path / "new", create=True)


def test_a_folder_left_by_a_process_that_died_while_making_it_is_taken_over(tmp_path):
    (tmp_path / ".cache.json.123.tmp").write_text("{")
    assert open_cache(tmp_path, create=True).feature_sets == ()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"format": "basket-cache", "version": 2}', FormatVersionError, "version 2"),
        ('{"format": "other", "version": 1}', CacheError, "'other'"),
        ('{"format": "basket-cache"', IntegrityError, "damaged"),
        ("[]", IntegrityError, "damaged"),
        ('{"format": "basket-cache"}', IntegrityError, "version"),
    ],
)
def test_other_formats_and_versions_are_told(tmp_path, text, error, message):
    (tmp_path / "cache.json").write_text(text)
    for create in (False, True):
        with pytest.raises(error, match=message):
            open_cache(tmp_path, create=create)


def test_feature_sets_are_found_by_name_backbone_family_or_beginning(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    motion = cache.feature_set(making.spec())
    base = cache.feature_set(making.spec(family="videomae", backbone="videomae/base-k400"))
    large = cache.feature_set(
        making.spec(family="videomae", backbone="videomae/large-k400", weights_sha256="ab")
    )
    assert cache.feature_sets == tuple(sorted([motion.name, base.name, large.name]))
    for name, expected in [
        (base.name, base),
        ("motion", motion),
        ("videomae/base-k400", base),
        ("videomae-l", large),
    ]:
        assert cache[name].path == expected.path
        assert cache[name].spec == expected.spec
    with pytest.raises(UsageError, match=r"any of 2.*videomae-base.*videomae-large"):
        cache["videomae"]
    with pytest.raises(UsageError, match=r"did you mean 'motion'.*It has: motion"):
        cache["motoin"]
    with pytest.raises(UsageError, match="It has"):
        cache["zzz"]


def test_an_identity_is_found_whatever_its_folder_is_called(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    made = cache.feature_set(making.spec())
    making.fill(made, ["a"])
    made.path.rename(tmp_path / "my favourite")
    found = cache.feature_set(making.spec())
    assert found.name == "my favourite"
    assert found.video_ids == ("a",)
    renamed = making.spec(backbone="motion/v2", notes={"licence": "MIT"})
    assert cache.feature_set(renamed).name == "my favourite"


def test_another_identity_is_another_feature_set(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    first = cache.feature_set(making.spec())
    other = cache.feature_set(making.spec(plan={"name": "dense", "window_s": 2}))
    assert first.name != other.name
    assert len(cache.feature_sets) == 2


def test_a_folder_of_another_identity_is_refused_and_the_difference_told(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    spec = making.spec()
    theirs = making.spec(weights_sha256="feed", preprocessing={"size": 224})
    cache.feature_set(theirs).path.rename(tmp_path / spec.folder_name)
    with pytest.raises(IdentityError, match=r"weights_sha256: '' here, 'feed' there") as caught:
        cache.feature_set(spec)
    assert "preprocessing.size: None here, 224 there" in str(caught.value)


def test_a_missing_identity_is_made_only_when_wanted(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    with pytest.raises(CacheError, match=r"no features of motion.*basket extract"):
        cache.feature_set(making.spec(), create=False)
    assert cache.feature_sets == ()
    made = cache.feature_set(making.spec())
    assert FeatureSetSpec.from_json((made.path / "feature_set.json").read_text()) == made.spec


def test_a_folder_without_its_specification_is_completed(tmp_path, making):
    """A process that died between the folder and the file leaves this."""
    cache = open_cache(tmp_path, create=True)
    (tmp_path / making.spec().folder_name).mkdir()
    assert cache.feature_sets == ()
    assert cache.feature_set(making.spec()).video_ids == ()


def test_a_changed_specification_is_refused(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    made = cache.feature_set(making.spec())
    path = made.path / "feature_set.json"
    text = path.read_text()
    path.write_text(text.replace('"name": "dense"', '"name": "count"'))
    for attempt in (lambda: cache[made.name], lambda: cache.feature_set(making.spec())):
        with pytest.raises(IntegrityError, match="changed after it was written"):
            attempt()
    path.write_text(text.replace('"version": 1', '"version": 9'))
    with pytest.raises(FormatVersionError):
        cache[made.name]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(IntegrityError):
        cache[made.name]


def test_a_shard_in_the_folder_of_another_identity_is_never_mixed_in(tmp_path, making):
    cache = open_cache(tmp_path, create=True)
    ours, theirs = cache.feature_set(making.spec()), cache.feature_set(making.spec(plan={"n": 2}))
    making.fill(ours, ["a"])
    making.fill(theirs, ["b"])
    (shard,) = (theirs.path / "shards").iterdir()
    shard.rename(ours.path / "shards" / shard.name)
    ours.refresh()
    assert "moved here" in ours.damaged[shard.name]
    assert not ours.is_done("b", 1000, 5)
    with pytest.raises(IntegrityError, match=shard.name):
        ours.video_ids  # noqa: B018 - the property raises


def test_features_for_another_feature_set_are_not_taken(feature_set, making):
    features = making.features("a", streams={"pooled": 7, "layer-4": 3})
    with pytest.raises(CacheError, match=r"pooled.*expected floating values of shape \(3, 6\)"):
        feature_set.writer().add(making.row("a"), features)
    fewer = VideoFeatures({}, features.start_s, features.end_s, features.frames_valid)
    with pytest.raises(CacheError, match="its feature set is made of"):
        feature_set.writer().add(making.row("a"), fewer)
