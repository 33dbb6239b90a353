"""A rehearsal of BASKET at its full size, with everything real but the videos and the network.

Reels in BASKET's shape (21 leagues, 6 seasons, 20 skills, 234 segments each) go through the real
planning, decode processes, batches, commits, kills, resumption, status, packing, verification,
pooling and fitting; a stand-in decoder and backbone (``rehearsal_stand_ins.py``) take the place of
what needs the data set and a GPU. Every stage runs in a process of its own, whose time and peak
memory are printed, for growing sizes: what is superlinear shows. Then, from the decoding rate that
is measured here on a real H.264 reel and the forward rate that is given, the hours and bytes of a
dense extraction of the whole of BASKET.

Ends with 1 where a stage at full size misses its target. At full size it takes a quarter of an hour
on two cores and 12 GB of disk; ``--clips-per-s`` slows the stand-in backbone down to a real one.

    python benchmarks/rehearsal.py                            # 1,000 videos, a few minutes
    python benchmarks/rehearsal.py --videos 32232 --folder /scratch/rehearsal
"""
# bench: cpu

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rehearsal_stand_ins import CLIPS_PER_S, SEGMENTS, WIDTH, WINDOW_S, write_world

FULL = 32232
FULL_SEGMENTS = 234
SIZES = (1000, 4000, 16000, FULL)
HEADS = ("ridge", "cumulative", "gbdt")
#: At full size: seconds and GB that a stage may take at most.
TARGETS = {
    "planning": (30, 1),
    "status": (30, 1),
    "resume": (30, 1),
    "extraction": (None, 1),
    **{f"fit {head}": (600, 4) for head in HEADS},
}


def main() -> int:
    options = parse()
    if options.stage:
        print(json.dumps(measured(options)))
        return 0
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))
        folder.mkdir(parents=True, exist_ok=True)
        return rehearse(options, folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=FULL_SEGMENTS, help="per reel")
    parser.add_argument("--folder", type=Path, help="kept, and continued; a temporary one if none")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--clips-per-s", type=float, default=0.0, help="of the stand-in; 0: free")
    parser.add_argument(
        "--forward-clips-per-s",
        type=float,
        help="of one GPU, as benchmarks/gpu_forward.py prints it; 1100 is assumed if not given",
    )
    parser.add_argument("--cores-per-gpu", type=int, default=16, help="of the projection")
    parser.add_argument("--decode-cpu-s", type=float, help="per reel; measured if not given")
    parser.add_argument("--heads", nargs="*", default=HEADS, help="to fit; none: --heads alone")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    return parser.parse_args()


def rehearse(options: argparse.Namespace, folder: Path) -> int:
    sizes = [size for size in SIZES if size < options.videos] + [options.videos]
    print(
        f"{options.videos} reels of {options.segments} segments x {WIDTH} float16, "
        f"{options.workers} decode processes; stand-in videos and backbone\n\n"
        f"{'videos':>7}  {'stage':<16}{'s':>9}{'CPU s':>9}{'peak MB':>9}  what"
    )
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for size in sizes:
        stages = ["world", "planning", "killed", "resume planning", "extraction", "resume"]
        stages += ["status", "planning"] if size < options.videos else ["status"]
        if size == options.videos:
            stages += ["pack", "verify", "planning"]
            stages += [f"fit {head}" for head in options.heads]
        for stage in stages:
            result = run_stage(stage, size, options, folder)
            found[stage, size] = result
            print(
                f"{size:>7}  {stage:<16}{result['s']:>9.1f}{result['cpu_s']:>9.1f}"
                f"{result['peak_mb']:>9.0f}  {result['what']}",
                flush=True,
            )
    print_growth(found, sizes)
    print_projection(options)
    return judge(found, options)


def run_stage(stage: str, size: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One stage in a process of its own; the stage ``killed`` is an extraction that is killed."""
    command = [sys.executable, __file__, "--videos", str(size), "--folder", str(folder)]
    command += ["--workers", str(options.workers)]
    command += ["--stage", "extraction" if stage == "killed" else stage]
    here = str(Path(__file__).parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
        SEGMENTS: str(options.segments),
        CLIPS_PER_S: str(options.clips_per_s),
    }
    start_s = time.monotonic()
    if stage == "killed":  # what it leaves behind is what is rehearsed, not worth a warning
        environment["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    if stage == "killed":
        return killed(process, size, folder, start_s)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the stage {stage} ended with {process.returncode}")
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def killed(
    process: subprocess.Popen[str], size: int, folder: Path, start_s: float
) -> dict[str, Any]:
    """Kill an extraction when it has published a few shards."""
    before = n_shards(folder)
    while process.poll() is None and n_shards(folder) < before + max(2, size // 64):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return {
        "s": time.monotonic() - start_s,
        "cpu_s": 0.0,
        "peak_mb": 0.0,
        "what": f"killed with {n_shards(folder) - before} new shards",
    }


def n_shards(folder: Path) -> int:
    return len(list((folder / "cache").glob("stand-in*/shards/*.h5")))


# -- the stages, each in a process of its own ------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run one stage here, and say what it took."""
    stage, _, argument = options.stage.partition(" ")
    work = STAGES[stage]
    start_s = time.monotonic()
    what = work(options, argument)
    used = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "s": time.monotonic() - start_s,
        "cpu_s": sum(each.ru_utime + each.ru_stime for each in (used, children)),
        "peak_mb": used.ru_maxrss / 1024,
        "what": what,
    }


def world(options: argparse.Namespace, _: str) -> str:
    write_world(options.folder, options.videos)
    return "files and label files"


def label_files(options: argparse.Namespace) -> list[Path]:
    folder = options.folder / f"labels-{options.videos}"
    return [folder / f"{split}.csv" for split in ("train", "val", "test")]


def find(options: argparse.Namespace) -> Any:
    from basket.extract.sources import find_sources

    return find_sources(labels=label_files(options), video_root=options.folder / "videos")


def planning(options: argparse.Namespace, _: str) -> str:
    from rehearsal_stand_ins import StandIn

    from basket.cache import open_cache
    from basket.extract.planning import feature_set_spec, plan_jobs

    cache = open_cache(options.folder / "cache", create=True)
    sets = [cache.feature_set(feature_set_spec(StandIn.spec, plan()))]
    jobs, _failed = plan_jobs(find(options), [StandIn()], sets, plan=plan(), retry_failed=False)
    return f"{len(jobs)} to do, {len(sets[0].snapshot.shards)} shards known"


def plan() -> Any:
    from basket.extract.segments import SegmentPlan

    return SegmentPlan(window_s=WINDOW_S)


def extraction(options: argparse.Namespace, _: str) -> str:
    from basket.extract.engines import run_extraction
    from basket.extract.recipe import BackboneRecipe

    summary = run_extraction(
        find(options),
        recipe=BackboneRecipe(("rehearsal_stand_ins:StandIn",), precision="fp32"),
        plan=plan(),
        cache=options.folder / "cache",
        decoder="rehearsal_stand_ins:open_stand_in",
        workers=options.workers,
        batch_size=256,
    )
    rate = summary.clips / summary.elapsed_s if summary.elapsed_s else 0.0
    waited = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in summary.seconds.items())
    return (
        f"{summary.done} done, {summary.already_there} there, {len(summary.failed)} failed; "
        f"{rate:.0f} clips/s; waited for {waited} s"
    )


def status(options: argparse.Namespace, _: str) -> str:
    from basket.workflows import list_cache

    (found,) = list_cache(options.folder / "cache", labels=label_files(options)).feature_sets
    return (
        f"{found.done} done, {len(found.missing or ())} missing, {found.shards} shards, "
        f"{found.size_bytes / 1e9:.2f} GB"
    )


def pack(options: argparse.Namespace, _: str) -> str:
    from basket.workflows import pack_cache

    (report,) = pack_cache(options.folder / "cache", delete=True)
    return f"{report.merged} shards into {report.made}"


def verify(options: argparse.Namespace, _: str) -> str:
    from basket.workflows import verify_cache

    (report,) = verify_cache(options.folder / "cache")
    return f"{report.ok} videos, {len(report.problems)} problems"


def fit(options: argparse.Namespace, head: str) -> str:
    from basket.workflows import fit_head

    train, val, _ = label_files(options)
    with tempfile.TemporaryDirectory() as folder:
        run = fit_head(
            cache=options.folder / "cache",
            train=train,
            val=val,
            video_root=options.folder / "videos",
            head=head,
            out=Path(folder) / "run",
        )
        return f"{run.config['train']['n_videos']} training videos, mean+std"


STAGES: dict[str, Callable[[argparse.Namespace, str], str]] = {
    "world": world,
    "planning": planning,
    "resume": lambda options, argument: (planning if argument else extraction)(options, ""),
    "extraction": extraction,
    "status": status,
    "pack": pack,
    "verify": verify,
    "fit": fit,
}


# -- what it adds up to ----------------------------------------------------------------------------


def print_growth(found: dict[tuple[str, int], dict[str, Any]], sizes: list[int]) -> None:
    """Milliseconds per video at each size: a row that grows is superlinear."""
    if len(sizes) < 2:
        return
    print("\nms per video" + "".join(f"{size:>10}" for size in sizes))
    for stage in ("world", "planning", "resume", "status"):
        cells = [1000 * found[stage, size]["s"] / size for size in sizes]
        print(f"{stage:<12}" + "".join(f"{cell:>10.2f}" for cell in cells))


def print_projection(options: argparse.Namespace) -> None:
    decode_s = options.decode_cpu_s or decode_cpu_s()
    forward = options.forward_clips_per_s or 1100.0
    source = "given" if options.forward_clips_per_s else "ASSUMED, not measured"
    how = "given" if options.decode_cpu_s else "measured now"
    clips = FULL * FULL_SEGMENTS
    print(
        f"\nThe whole of BASKET, dense: {FULL} reels, {clips / 1e6:.2f} M segments, "
        f"{clips * WIDTH * 2 / 1e9:.1f} GB per stream of {WIDTH}\n"
        f"decode {decode_s:.1f} CPU s per reel ({how}); forward {forward:.0f} clips/s per GPU "
        f"({source}); {options.cores_per_gpu} cores per GPU\n"
        f"{'GPUs':>5}{'decode h':>10}{'forward h':>11}{'hours':>8}"
    )
    for gpus in (1, 8, 64):
        decode_h = FULL * decode_s / (gpus * options.cores_per_gpu) / 3600
        forward_h = clips / (gpus * forward) / 3600
        print(f"{gpus:>5}{decode_h:>10.2f}{forward_h:>11.2f}{max(decode_h, forward_h):>8.2f}")


def decode_cpu_s() -> float:
    """CPU seconds to decode one reel densely for VideoMAE, on one core: 16 frames of 224 pixels."""
    from reel import reel

    from basket.extract.backbones.base import BackboneSpec, FrameGeometry
    from basket.extract.clips import planned_shapes
    from basket.extract.decode import DECODERS
    from basket.extract.decoding import Job, Source, WantedClips, decode_job

    length_s = 60.0
    spec = BackboneSpec("x", "x", 16, FrameGeometry(224, 224), {"pooled": WIDTH})
    shapes = tuple(WantedClips(0, shape) for shape in planned_shapes(spec, plan()))
    path = reel(length_s)
    job = Job(Source("reel", path), -1, -1, shapes)
    start_s = time.process_time()
    for _ in decode_job(job, DECODERS["pyav"], plan=plan(), batch_size=8):
        pass
    return (time.process_time() - start_s) / length_s * FULL_SEGMENTS * WINDOW_S


def judge(found: dict[tuple[str, int], dict[str, Any]], options: argparse.Namespace) -> int:
    """The targets beside what was reached; 1 where one is missed at full size."""
    missed = 0
    at_full_size = options.videos >= FULL and options.segments >= FULL_SEGMENTS
    print("\nTargets at full size" + ("" if at_full_size else " (this was a smaller one)"))
    for stage, (most_s, most_gb) in TARGETS.items():
        if (result := found.get((stage, options.videos))) is None:
            continue
        seconds, gigabytes = result["s"], result["peak_mb"] / 1024
        within = (most_s is None or seconds <= most_s) and gigabytes <= most_gb
        missed += not within
        at_most = "" if most_s is None else f" (at most {most_s} s)"
        print(
            f"{'ok    ' if within else 'MISSED'} {stage:<16} {seconds:.1f} s{at_most}, "
            f"{gigabytes:.2f} GB (at most {most_gb})"
        )
    return int(bool(missed) and at_full_size)


if __name__ == "__main__":
    sys.exit(main())
