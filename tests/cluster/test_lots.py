"""Who is handed out when, and whom the death of an actor is held against."""

import sys

import pytest

from basket.cli import run
from basket.errors import BasketError, MissingDependencyError, UsageError
from basket.extract.ray_cluster import Layout, import_ray, layout
from basket.extract.ray_lots import NODE_LOSSES, Lot, Lots

IDS = [f"{index}.mp4" for index in range(100)]


def all_of(lots):
    found = []
    while lots:
        found.append(lots.next())
    return found


def test_lots_hold_each_video_once_and_shrink_towards_the_end():
    found = all_of(Lots(IDS, actors=2, workers=1))
    assert [name for lot in found for name in lot.video_ids] == IDS
    sizes = [len(lot.video_ids) for lot in found]
    assert sizes == sorted(sizes, reverse=True)
    assert (max(sizes), min(sizes)) == (8, 1)


def test_of_a_dead_actors_lot_only_what_it_was_decoding_is_suspected():
    lots = Lots(IDS[:4], actors=1, workers=8)
    lot = lots.next()
    assert lot == Lot(("0.mp4", "1.mp4"))
    assert lots.lost(lot, done={"0.mp4"}, begun={"1.mp4"}) == []
    assert all_of(lots) == [Lot(("2.mp4",)), Lot(("3.mp4",)), Lot(("1.mp4",), alone=True)]


def test_a_video_is_given_up_when_it_kills_twice_alone_and_not_before():
    lots = Lots(["bad.mp4"], actors=1, workers=1)
    for deaths in range(3):
        lot = lots.next()
        assert lot.alone == (deaths > 0)
        given_up = lots.lost(lot, done=(), begun={"bad.mp4"})
    assert given_up == ["bad.mp4"]
    assert not lots
    assert "killed its actor 2 times" in lots.why_given_up("bad.mp4")


def test_the_loss_of_a_node_is_held_against_nobody_but_not_for_ever():
    lots = Lots(["here.mp4"], actors=1, workers=1)
    for _ in range(NODE_LOSSES):
        lot = lots.next()
        assert not lot.alone
        assert lots.lost(lot, done=(), begun={"here.mp4"}, node_is_gone=True) == []
    lot = lots.next()
    assert lot.alone
    assert lots.lost(lot, done=(), begun=(), node_is_gone=True) == ["here.mp4"]
    assert "nodes were lost" in lots.why_given_up("here.mp4")


def test_deaths_without_end_are_the_nodes_fault():
    lots = Lots(IDS, actors=1, workers=1)
    with pytest.raises(BasketError, match="it is the nodes, not the videos"):
        for _ in range(100):
            lots.lost(lots.next(), done=(), begun=())
    # A single finished video between them, and they are not.
    lots = Lots(IDS, actors=1, workers=1)
    for _ in range(30):
        lot = lots.next()
        lots.lost(lot, done=set(lot.video_ids[:1]), begun=())


def test_a_cluster_is_divided_by_gpus_or_by_cores():
    gpu_nodes = [{"CPU": 32.0, "GPU": 4.0}] * 2
    assert layout(gpu_nodes, device="auto") == Layout(8, 8, 1)
    assert layout(gpu_nodes, device="cpu", workers=16) == Layout(4, 16, 0)
    assert layout([{"CPU": 2.0}], device="auto", workers=1) == Layout(2, 1, 0)
    # Nodes that are yet to come.
    assert layout([{}], device="cuda", actors=3, workers=8) == Layout(3, 8, 1)


@pytest.mark.parametrize(
    ("device", "workers", "said"),
    [
        ("cuda", None, "there are 0 GPUs"),
        ("auto", 8, "8 cores for an actor"),
        ("cuda:1", None, "Ray chooses the GPU"),
    ],
)
def test_a_cluster_that_cannot_hold_an_actor(device, workers, said):
    with pytest.raises(UsageError, match=said):
        layout([{"CPU": 4.0}], device=device, workers=workers)


def test_without_ray_it_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'basket\[ray\]'"):
        import_ray()


def test_options_of_ray_go_with_ray(tmp_path, capsys):
    reel = tmp_path / "reel.mp4"
    reel.touch()
    where = ["--model", "motion", "--cache", str(tmp_path / "cache")]
    assert run(["extract", str(reel), *where, "--actors", "2"]) == 2
    assert "go with --engine ray" in capsys.readouterr().err
