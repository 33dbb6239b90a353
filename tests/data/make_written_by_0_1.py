"""Write ``written-by-0.1``: what basket left on disk at commit e85f402, small.

Run once, with that commit on the path, in an empty folder; kept to show how the files came to be.
Everything is read and written by relative paths.
"""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from basket.extract.backbones.random_weights import save_random

SKILLS = ("Steals", "Fouls", "Impact")
HEADS = {
    "prior": (),
    "ridge": (),
    "cumulative": (),
    "mlp": ("hidden=2", "epochs=5"),
    "gbdt": ("rounds=4", "leaves=3"),
    "attention": ("epochs=3",),
    "prompts": (),
}
BANK = """\
Steals:
  good: [a player steals the ball]
  bad: [a player is dribbled past]
Fouls:
  good: [a player defends cleanly]
  bad: [a player fouls]
Impact:
  good: [a player decides the game]
  bad: [a player stands apart]
"""
SLOWFAST = """\
backbone: slowfast/r50
extractor: a made-up one
plan: {window_s: 2.0, stride_s: 2.0}
streams: {pooled: 4}
id_suffix: .mp4
"""


def basket(*arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    """Run a command; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "basket", *arguments, "--cache", "cache"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode in ok, (arguments, done.returncode)
    return done.stdout


def picture(index: int, levels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """A picture whose motion and colours tell the levels a little."""
    rgb = np.roll(noise // 2, index * int(levels[0]), axis=1)
    rgb[: 4 * int(levels[1]) + 4] //= 2
    rgb[:, : 6 * int(levels[2]) + 4, 0] = 200
    return rgb


def draw(path: Path, player: int, levels: np.ndarray, frames: int, *, sizes=((48, 32),)) -> None:
    """Pictures at 10 per second, as one stream per size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(player).integers(0, 256, size=(32, 48, 3), dtype=np.uint8)
    options = {"crf": "35", "threads": "1"}
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10, options=options) for _ in sizes]
        for stream, (width, height) in zip(streams, sizes, strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base, stream.gop_size = Fraction(1, 10), 10
        for index in range(frames):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(index, levels, noise), format="rgb24")
                frame = frame.reformat(width=stream.width, height=stream.height)
                frame.pts, frame.time_base = index, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())


def draw_odd(folder: Path, levels: np.ndarray) -> None:
    """Films of the kinds that this commit decodes wrongly."""
    draw(folder / "ts-lost-packet.ts", 30, levels, 40, sizes=((96, 64),))
    packets = bytearray((folder / "ts-lost-packet.ts").read_bytes())
    first = next(  # a packet of the video's from the middle, not the first of a picture
        at
        for at in range(len(packets) // 376 * 188, len(packets), 188)
        if packets[at + 1] & 0x5F == 1 and packets[at + 2] == 0 and not packets[at + 3] & 0x20
    )
    (folder / "ts-lost-packet.ts").write_bytes(packets[:first] + packets[first + 188 :])

    draw(folder / "ts-mid-gop.ts", 31, levels, 60)
    whole = (folder / "ts-mid-gop.ts").read_bytes()
    (folder / "ts-mid-gop.ts").write_bytes(whole[:376] + whole[len(whole) // 10 // 188 * 188 :])

    draw(folder / "mirrored.mp4", 32, levels, 22)
    film = (folder / "mirrored.mp4").read_bytes()
    matrix = film.index(b"tkhd") + 4 + 4 + 20 + 16
    flip = struct.pack(">9i", -(1 << 16), 0, 0, 0, 1 << 16, 0, 48 << 16, 0, 1 << 30)
    (folder / "mirrored.mp4").write_bytes(film[:matrix] + flip + film[matrix + 36 :])

    draw(folder / "two-streams.mkv", 33, levels, 22, sizes=((48, 32), (96, 64)))
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))


def killed(arguments: list[str], enough: Callable[[], object]) -> None:
    """Start a command and kill it as soon as ``enough()``."""
    command = [sys.executable, "-m", "basket", *arguments]
    child = subprocess.Popen(command, start_new_session=True)
    while child.poll() is None and not enough():
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def main() -> None:
    """Make everything below the current folder."""
    random = np.random.default_rng(7)
    levels = random.integers(0, 5, size=(24, 3))
    names = [f"18-19/NBA/{player}_18_19.mp4" for player in range(24)]
    for player, name in enumerate(names):
        draw(Path("videos") / name, player, levels[player], 22 + 22 * (player % 2))
    draw_odd(Path("videos/odd"), levels[0])
    for split, part in {"train": range(14), "val": range(14, 19), "test": range(19, 24)}.items():
        lines = [f"path,{','.join(SKILLS)}"]
        lines += [f"{names[p]},{','.join(map(str, levels[p]))}" for p in part]
        Path(f"{split}.csv").write_text("\n".join(lines) + "\n")

    sizes = {"hidden_size": 16, "image_size": 32, "heads": 2, "projection_dim": 8}
    save_random("xclip", Path("xclip"), seed=1, **sizes)
    Path("prompts.yaml").write_text(BANK)
    Path("slowfast.yaml").write_text(SLOWFAST)
    values = random.normal(size=(24, 3, 4)) + np.pad(levels, ((0, 0), (0, 1)))[:, np.newaxis]
    np.savez(
        "slowfast.npz",
        video_ids=np.array([Path(name).with_suffix("").as_posix() for name in names]),
        offsets=np.arange(25) * 3,
        pooled=values.reshape(-1, 4).astype(np.float16),
    )

    # No --video-root: ids are relative to the folder that is named.
    basket("extract", "videos", "--model", "motion", ok=(3,))
    labelled = [each for split in ("train", "val", "test") for each in ("--labels", f"{split}.csv")]
    network = ["--model", "xclip", "--weights", "xclip", "--streams", "pooled,prompts"]
    network += ["--prompts", "prompts.yaml"]
    root = ("--video-root", "videos")
    basket("extract", *labelled, *network, *root)
    basket("cache", "import", "slowfast.npz", "--spec", "slowfast.yaml")

    for head, settings in HEADS.items():
        features = {"prompts": "xclip:prompts"}.get(head, "motion:pooled")
        pool = "segments" if head == "attention" else "mean"
        given = [each for value in settings for each in ("--set", value)]
        basket(
            *("fit-head", "--head", head, "--features", features, "--pool", pool),
            *("--train", "train.csv", "--val", "val.csv", "--out", f"fitted/{head}", *given),
        )
    expected = {}
    for head in HEADS:
        told = json.loads(basket("evaluate", f"fitted/{head}", "--test", "test=test.csv", "--json"))
        basket("predict", f"fitted/{head}", "test.csv", *root, "--out", "predicted.json")
        rows = json.loads(Path("predicted.json").read_text())
        expected[head] = {"evaluate": told, "predict": rows}
    Path("predicted.json").unlink()
    Path("expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")

    common = ["--train", "train.csv", "--val", "val.csv"]
    grid = ["sweep", "--features", "motion", "--pool", "mean", "--pool", "mean+std", "--head"]
    grid += ["ridge", "--head", "mlp", "--set", "mlp.hidden=2,3", "--set", "mlp.epochs=60"]
    grid += [*common, "--out", "grid", "--cache", "cache"]
    killed(grid, lambda: len(list(Path("grid/records").glob("*.json"))) >= 2)
    tpe = ["sweep", "--features", "motion", "--head", "ridge", "--set", "ridge.penalties=1,10,100"]
    tpe += ["--pool", "mean", "--search", "optuna", "--budget", "2", *common, "--out", "tpe"]
    basket(*tpe)

    # A second extraction with another window, killed when its first shard is there.
    window = ["extract", "videos/18-19", "--video-root", "videos", "--model", "motion"]
    window += ["--window", "1", "--workers", "1", "--cache", "killed"]
    killed(window, lambda: list(Path("killed").glob("*/attempts/*")))
    shutil.rmtree("xclip")  # its features are kept, its weights are not


if __name__ == "__main__":
    main()
