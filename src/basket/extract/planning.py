"""What an extraction has to do: which feature sets it fills, and which videos they still lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from basket.cache import FeatureSet, FeatureSetSpec
from basket.errors import UsageError
from basket.extract.assembly import stream_at_scale
from basket.extract.backbones.base import Backbone, BackboneSpec
from basket.extract.clips import planned_shapes
from basket.extract.decoding import Job, Source, WantedClips
from basket.extract.outdated import outdated
from basket.extract.segments import SegmentPlan
from basket.extract.source_hash import content_of


def feature_set_spec(spec: BackboneSpec, plan: SegmentPlan) -> FeatureSetSpec:
    """The identity of the features that a backbone yields under a plan."""
    geometry = planned_shapes(spec, plan)[0].geometry
    return FeatureSetSpec(
        family=spec.family,
        backbone=spec.name,
        weights_sha256=spec.weights_sha256,
        preprocessing={
            **spec.preprocessing,
            "frames": spec.frames,
            "geometry": asdict(geometry),
        },
        plan=plan.to_json(),
        streams={
            stream_at_scale(stream, scale): width
            for scale in plan.scales
            for stream, width in spec.streams.items()
        },
        columns={
            stream_at_scale(stream, scale): list(names)
            for scale in plan.scales
            for stream, names in spec.columns.items()
        },
        prompts_sha256=spec.prompts_sha256,
        tokenizer_sha256=spec.tokenizer_sha256,
        notes={
            "checkpoint": spec.checkpoint,
            "revision": spec.revision,
            "licence": spec.licence,
            "random_weights": spec.random_weights,
        },
    )


def identities(specs: Sequence[BackboneSpec], plan: SegmentPlan) -> list[FeatureSetSpec]:
    """The identity of each backbone's features.

    Raises
    ------
    UsageError
        Two are one and the same: every video would be embedded and stored twice.
    """
    found = [feature_set_spec(spec, plan) for spec in specs]
    if len({each.digest for each in found}) < len(found):
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"Two of the models ({names}) are one and the same; name each once")
    return found


def names_apart(specs: Sequence[BackboneSpec], sets: Sequence[FeatureSet]) -> list[str]:
    """What to call each backbone; by its feature set, where two checkpoints have one name."""
    names = [spec.name for spec in specs]
    return [
        name if names.count(name) == 1 else each.name
        for name, each in zip(names, sets, strict=True)
    ]


def plan_jobs(
    sources: Sequence[Source],
    backbones: Sequence[Backbone],
    sets: Sequence[FeatureSet | None],
    *,
    plan: SegmentPlan,
    retry_failed: bool,
    hash_sources: bool = False,
    say: Callable[[str], None] | None = None,
) -> tuple[list[Job], dict[str, str]]:
    """What is left to do, and what failed before and is not tried again.

    Parameters
    ----------
    sources : sequence of Source
    backbones : sequence of Backbone
        Only their ``spec`` is looked at.
    sets : sequence of FeatureSet or None
        One for each backbone; None where there is none yet: everything is to do.
    plan : SegmentPlan
    retry_failed : bool
        Whether what failed before is to do, too.
    hash_sources : bool, default=False
        Whether content decides where its hash is recorded, rather than size and time.
    say : callable, optional
        Receives what became of rows of an earlier basket; without it nothing is written.

    Returns
    -------
    jobs : list of Job
    failed_before : dict of str to str
        Video id to the reason.
    """
    jobs: list[Job] = []
    failed: dict[str, str] = {}
    shapes = [planned_shapes(backbone.spec, plan) for backbone in backbones]
    failed_in = [each.failed if each is not None else {} for each in sets]
    lacking: list[list[int]] = []
    old: dict[str, list[int]] = {}
    for source in sources:
        stamp, video_id = _stamp(source), source.video_id
        content = content_of(source) if hash_sources and not source.refused else None
        lacking.append([])
        for position, each in enumerate(sets):
            if each is None or not each.is_done(
                video_id, *stamp, retry_failed=retry_failed, content=content
            ):
                lacking[-1].append(position)
            elif not each.has_decoding_rules(video_id):
                # What failed by older rules is tried once more.
                is_failed = video_id in failed_in[position]
                (lacking[-1] if is_failed else old.setdefault(video_id, [])).append(position)
    films = [
        (each.video_id, each.path) for each in sources if each.video_id in old and not each.refused
    ]
    changed = outdated(films, [each for each in sets if each is not None], say)
    for source, positions in zip(sources, lacking, strict=True):
        wanted = sorted(positions + (old[source.video_id] if source.video_id in changed else []))
        if wanted:
            clips = tuple(
                WantedClips(position, shape) for position in wanted for shape in shapes[position]
            )
            jobs.append(Job(source, *_stamp(source), clips))
            continue
        reasons = [each[source.video_id] for each in failed_in if source.video_id in each]
        if reasons:
            failed[source.video_id] = f"{reasons[0]} (failed before; --retry-failed tries again)"
    return jobs, failed


def replaced_videos(sets: Sequence[FeatureSet], jobs: Sequence[Job]) -> frozenset[str]:
    """Videos that have features, made from a file that was not as theirs is now."""
    return frozenset(
        job.source.video_id
        for job in jobs
        if any(
            row is not None
            and row.status == "ok"
            and (row.source_bytes, row.source_mtime_ns) != (job.source_bytes, job.source_mtime_ns)
            for row in (sets[each.backbone].rows.get(job.source.video_id) for each in job.wanted)
        )
    )


def attempts_before(feature_set: FeatureSet, jobs: Sequence[Job]) -> dict[str, int]:
    """How often each video was tried before; looked up once, as every commit renews the index."""
    rows = feature_set.rows
    ids = [job.source.video_id for job in jobs]
    return {video_id: rows[video_id].attempts for video_id in ids if video_id in rows}


def _stamp(source: Source) -> tuple[int, int]:
    if source.refused:
        return -1, -1
    try:
        stat = source.path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
