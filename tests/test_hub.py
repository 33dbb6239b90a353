"""Caches and runs to a hub and back, over the real protocol, to a stand-in on this machine."""

import dataclasses
import itertools
import json
import shutil
from types import SimpleNamespace

import pytest
from small_league import make_small_league
from stand_in_hub import StandInHub, running_hub

import basket
from basket.cache import FeatureSetSpec, VideoRow, open_cache
from basket.cli import run as run_command
from basket.errors import HubError, IdentityError, IntegrityError, UsageError
from basket.hub.cards import cache_card, run_card
from basket.hub.transfer import staging_beside


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # A loaded machine answers late; the default of ten seconds would be a race.
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 120)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 120)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", StandInHub.token)
    monkeypatch.chdir(tmp_path)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        close_session()
        yield running
        close_session()


def same_features(one, other):
    first, second = open_cache(one)["motion"], open_cache(other)["motion"]
    assert first.video_ids == second.video_ids
    assert dict(first.failed) == dict(second.failed)
    ids = first.video_ids
    assert (first.ragged(ids).values == second.ragged(ids).values).all()


def test_a_cache_comes_back_as_it_was_pushed(hub, league, tmp_path):
    pushed = basket.push_cache(league.cache, "me/features")
    repo = hub.repos["datasets/me/features"]
    assert repo.private
    assert pushed.sent == sum(name.endswith(".h5") for name in repo.files) == hub.uploads() > 1
    assert pushed.revision == repo.head
    assert not any("manifest" in name or "pooled/" in name for name in repo.files)
    told = []
    pulled = basket.pull_cache(
        "me/features", tmp_path / "c", tell=lambda done, total: told.append((done, total))
    )
    assert (pulled.sent, pulled.already_there) == (pushed.sent, 0)
    assert told[-1][0] == told[-1][1]
    same_features(league.cache, tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_push_sends_and_a_pull_fetches_only_what_is_new(hub, league, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(league.cache, mine)
    basket.push_cache(mine, "me/features")
    basket.pull_cache("me/features", tmp_path / "theirs")
    feature_set = open_cache(mine)["motion"]
    before, asked = hub.uploads(), len(hub.downloads())
    with feature_set.writer() as writer:
        writer.add(VideoRow("new.mp4"), feature_set.read(feature_set.video_ids[0]))
    pushed = basket.push_cache(mine, "me/features")
    assert pushed.sent == hub.uploads() - before == 1
    pulled = basket.pull_cache("me/features", tmp_path / "theirs")
    fetched = hub.downloads()[asked:]
    assert pulled.sent == sum(name.endswith(".h5") for name in fetched) == 1
    same_features(mine, tmp_path / "theirs")


def test_an_interrupted_push_goes_on_behind_its_last_commit(hub, league, monkeypatch, tmp_path):
    monkeypatch.setattr("basket.hub.client._COMMIT_FILES", 1)
    shards = list((league.cache).glob("*/shards/*.h5"))
    hub.fail_on = f"PUT /lfs/{sorted(path.stem for path in shards)[-1]}"
    with pytest.raises(HubError, match="run the same command again"):
        basket.push_cache(league.cache, "me/features")
    there = sum(name.endswith(".h5") for name in hub.repos["datasets/me/features"].files)
    assert there < len(shards)
    with pytest.raises(HubError, match=r"no pushed cache: it has no cache\.json"):
        basket.pull_cache("me/features", tmp_path / "c")
    hub.fail_on = ""
    assert basket.push_cache(league.cache, "me/features").sent == len(shards) - there
    basket.pull_cache("me/features", tmp_path / "c")
    same_features(league.cache, tmp_path / "c")


def test_an_interrupted_pull_goes_on(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    names = [name for name in hub.repos["datasets/me/features"].files if name.endswith(".h5")]
    hub.fail_on = f"GET .*{names[-1]}"
    with pytest.raises(HubError):
        basket.pull_cache("me/features", tmp_path / "c")
    assert not (tmp_path / "c").exists()
    hub.fail_on, hub.requests = "", []
    basket.pull_cache("me/features", tmp_path / "c")
    assert len([name for name in hub.downloads() if name.endswith(".h5")]) < len(names)
    same_features(league.cache, tmp_path / "c")


def test_damaged_shards_never_enter_a_cache(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    repo = hub.repos["datasets/me/features"]
    name = next(name for name in repo.files if name.endswith(".h5"))
    whole = repo.files[name]
    repo.files[name] = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(IntegrityError, match="nothing of it was put into the cache"):
        basket.pull_cache("me/features", tmp_path / "c")
    assert not (tmp_path / "c").exists()
    repo.commit({name: whole})
    basket.pull_cache("me/features", tmp_path / "c")
    same_features(league.cache, tmp_path / "c")


def test_what_another_pull_left_behind_is_not_put_into_the_cache(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    other = tmp_path / "other"
    shutil.copytree(league.cache, other)
    feature_set = open_cache(other)["motion"]
    before = set((feature_set.path / "shards").iterdir())
    with feature_set.writer() as writer:
        writer.add(VideoRow("foreign.mp4"), feature_set.read(feature_set.video_ids[0]))
    (left,) = set((feature_set.path / "shards").iterdir()) - before
    shards = staging_beside(tmp_path / "c") / feature_set.name / "shards"
    shards.mkdir(parents=True)
    shutil.copy(left, shards)
    (shards / f"{'0' * 64}.h5").write_bytes(b"half of one")
    basket.pull_cache("me/features", tmp_path / "c")
    same_features(league.cache, tmp_path / "c")


def test_a_shard_that_is_damaged_here_is_fetched_again(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    basket.pull_cache("me/features", tmp_path / "c")
    folder = open_cache(tmp_path / "c")["motion"].path
    path = sorted((folder / "shards").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert basket.pull_cache("me/features", tmp_path / "c").sent == 1
    same_features(league.cache, tmp_path / "c")
    assert [each.name.partition(".")[0] for each in (folder / "aside").iterdir()] == [path.stem]


@pytest.mark.parametrize("circle", [True, False])
def test_a_list_of_files_that_never_ends_is_given_up(hub, league, tmp_path, monkeypatch, circle):
    basket.push_cache(league.cache, "me/features")
    monkeypatch.setattr("basket.hub.client._MAX_LISTED", 1000)

    def tree(*_args, **_options):
        for count in itertools.count():
            yield SimpleNamespace(path=f"{count % 7 if circle else count}.h5", size=1)

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_tree", tree)
    with pytest.raises(HubError, match="lists files without end"):
        basket.pull_cache("me/features", tmp_path / "c")


def test_only_files_of_known_names_are_fetched(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    repo = hub.repos["datasets/me/features"]
    name = next(name for name in repo.files if name.endswith("feature_set.json"))
    folder = name.partition("/")[0]
    odd = [f"{folder}/shards/../../evil.h5", f"{folder}/evil.py", ".hidden/feature_set.json"]
    repo.commit(dict.fromkeys(odd, b"import os"))
    basket.pull_cache("me/features", tmp_path / "c")
    assert not set(odd) & set(hub.downloads())
    same_features(league.cache, tmp_path / "c")


def test_another_identity_under_the_same_name_is_refused(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    name = open_cache(league.cache)["motion"].name
    theirs = open_cache(tmp_path / "c", create=True)
    other = FeatureSetSpec("other", "other", {}, {}, {"pooled": 2})
    theirs.feature_set(other)
    (theirs.path / other.folder_name).rename(theirs.path / name)
    with pytest.raises(IdentityError, match="another identity"):
        basket.pull_cache("me/features", tmp_path / "c")


def test_one_feature_set_of_several_is_pulled_and_an_unknown_one_is_named(hub, league, tmp_path):
    basket.push_cache(league.cache, "me/features")
    with pytest.raises(UsageError, match="no feature set 'videomae'; it has: motion"):
        basket.pull_cache("me/features", tmp_path / "c", names=["videomae"])
    basket.pull_cache("me/features", tmp_path / "c", names=["mot"])
    same_features(league.cache, tmp_path / "c")


def test_the_page_tells_of_all_that_was_pushed_before(hub, league, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(league.cache, mine)
    motion = open_cache(mine)["motion"]
    spec = dataclasses.replace(motion.spec, family="other", backbone="other")
    other = open_cache(mine).feature_set(spec)
    with other.writer() as writer:
        writer.add(motion.row(motion.video_ids[0]), motion.read(motion.video_ids[0]))
    basket.push_cache(mine, "me/features", names=["motion"])
    basket.push_cache(mine, "me/features", names=["other"])
    page = hub.repos["datasets/me/features"].files["README.md"].decode()
    assert f"| {motion.name} | motion | pooled 5 | 60 | 1 |" in page
    assert f"| {other.name} | other | pooled 5 | 1 | 0 |" in page
    shutil.rmtree(other.path)
    basket.push_cache(mine, "me/features", names=["motion"])
    page = hub.repos["datasets/me/features"].files["README.md"].decode()
    assert f"Pushed from elsewhere: {other.name}." in page


def test_a_cache_with_damage_is_not_pushed(hub, league, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(league.cache, mine)
    shard = next(mine.glob("*/shards/*.h5"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="basket cache repair"):
        basket.push_cache(mine, "me/features")
    assert hub.requests == []


def test_a_public_repository_needs_the_word(hub, league):
    basket.push_cache(league.cache, "me/open", public=True)
    assert not hub.repos["datasets/me/open"].private
    with pytest.raises(UsageError, match="--public"):
        basket.push_cache(league.cache, "me/open")


def test_a_run_comes_back_and_predicts_the_same(hub, fitted, league, tmp_path):
    basket.push_run(fitted.path, "me/ridge")
    card = hub.repos["models/me/ridge"].files["README.md"].decode()
    assert "library_name: basket" in card
    assert "| val | 12 | 12 |" in card
    assert fitted.feature_sets[0].spec.digest in card
    basket.pull_run("me/ridge", tmp_path / "runs" / "theirs")
    theirs = basket.load_run(tmp_path / "runs" / "theirs")
    X = open_cache(league.cache)["motion"].to_numpy(pool="mean+std")
    assert (theirs.predict_proba(X) == fitted.predict_proba(X)).all()
    assert {path.name for path in theirs.path.iterdir()} == {*fitted.config["files"], "run.json"}
    with pytest.raises(UsageError, match="exists already"):
        basket.pull_run("me/ridge", tmp_path / "runs" / "theirs")


def test_a_changed_run_is_not_put_into_place(hub, fitted, tmp_path):
    basket.push_run(fitted.path, "me/ridge")
    repo = hub.repos["models/me/ridge"]
    repo.commit({"metrics.json": b"{}"})
    with pytest.raises(IntegrityError, match="not put into place"):
        basket.pull_run("me/ridge", tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_lists_a_foreign_file_sends_nothing(hub, fitted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(fitted.path, copy)
    document = json.loads((copy / "run.json").read_text())
    document["files"]["../secret.txt"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="which no run has"):
        basket.push_run(copy, "me/ridge")
    assert hub.requests == []


def test_a_revision_pins_what_is_pulled(hub, fitted, tmp_path):
    first = basket.push_run(fitted.path, "me/ridge").revision
    hub.repos["models/me/ridge"].commit({"metrics.json": b"{}"})
    pulled = basket.pull_run("me/ridge", tmp_path / "r", revision=first)
    assert pulled.revision == first
    with pytest.raises(HubError, match="no such revision"):
        basket.pull_run("me/ridge", tmp_path / "s", revision="0" * 40)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["cache", "pull", "me/nothing"], 1, "no repository me/nothing"),
        (["run", "pull", "me/nothing"], 1, "no repository me/nothing"),
        (["run", "pull", "not a/name/at all"], 2, "no name of a repository"),
        (["run", "push", "nowhere", "me/x"], 2, "nowhere is no run folder"),
        (["cache", "push", "me/x", "--cache", "nowhere"], 2, "no cache at nowhere"),
    ],
)
def test_mistakes_end_in_one_sentence(hub, capsys, arguments, code, sentence):
    assert run_command(arguments) == code
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "Traceback" not in said


def test_a_wrong_token_and_a_hub_that_is_away_are_told(hub, league, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "a-bad-one")
    arguments = ["cache", "push", "me/x", "--cache", str(league.cache), "-q"]
    assert run_command(arguments) == 1
    assert "HF_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert run_command(arguments) == 1
    assert "cannot be reached" in " ".join(capsys.readouterr().err.split())


def test_the_commands_push_and_pull(hub, league, fitted, capsys):
    assert run_command(["cache", "push", "me/f", "--cache", str(league.cache), "--json"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert (pushed["what"], pushed["public"]) == ("push", False)
    assert run_command(["cache", "pull", "me/f", "--cache", "here", "-q"]) == 0
    assert f"fetched ({pushed['size_bytes'] / 1000:.1f} kB)" in capsys.readouterr().out
    assert run_command(["run", "push", str(fitted.path), "me/r", "--public", "-q"]) == 0
    assert "Everybody may see it." in capsys.readouterr().out
    assert run_command(["run", "pull", "me/r", "-q"]) == 0
    assert basket.load_run("runs/r").skills == fitted.skills


def test_cards_tell_simulated_players_and_random_weights(tmp_path, fitted):
    league = make_small_league(tmp_path, random_weights=True)
    found = basket.list_cache(league.cache).feature_sets[0]
    spec = open_cache(league.cache)["motion"].spec
    assert "Random weights" in cache_card("me/x", [(spec, found)])
    text = run_card("me/x", fitted)
    assert "Simulated" not in text
    fitted.config["simulated"], before = True, fitted.config["simulated"]
    try:
        assert "Simulated players" in run_card("me/x", fitted)
    finally:
        fitted.config["simulated"] = before
