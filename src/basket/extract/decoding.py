"""One video to decode: the job, and what there is to say about it, message by message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.errors import MissingDependencyError, VideoError
from basket.extract.clips import Clip, ClipShape, read_clips, segments_of
from basket.extract.decode import OpenDecoder, VideoInfo
from basket.extract.segments import Segment, SegmentPlan


@dataclass(frozen=True, slots=True)
class Source:
    """A video to extract: its id in the cache, and where the file is.

    ``refused`` says why the file must not be opened, where that was seen before.
    """

    video_id: str
    path: Path
    refused: str = ""


@dataclass(frozen=True, slots=True)
class WantedClips:
    """The clips that one backbone wants at one scale.

    Parameters
    ----------
    backbone : int
        Position in the list of backbones.
    shape : ClipShape
    """

    backbone: int
    shape: ClipShape


@dataclass(frozen=True, slots=True)
class Job:
    """One video to decode, and for whom.

    Parameters
    ----------
    source : Source
    source_bytes, source_mtime_ns : int
        Stamp of the file when the job was planned (-1 where it is missing).
    wanted : tuple of WantedClips
    """

    source: Source
    source_bytes: int
    source_mtime_ns: int
    wanted: tuple[WantedClips, ...]


@dataclass(frozen=True)
class Opened:
    """First message of a video that opens."""

    job: Job
    info: VideoInfo
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Batch:
    """Some clips of one video for one backbone at one scale.

    Parameters
    ----------
    segments : ndarray, int64, (n,)
        Which segments they are.
    pixels : ndarray, uint8, (n, C, T, H, W, 3)
    """

    job: Job
    wanted: WantedClips
    segments: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Finished:
    """Last message of a video; ``reason`` says why it failed, empty when it did not."""

    job: Job
    reason: str = ""


Message = Opened | Batch | Finished


def decode_job(
    job: Job, open_video: OpenDecoder, *, plan: SegmentPlan, batch_size: int
) -> Iterator[Message]:
    """Everything there is to say about one video, ending with :class:`Finished`.

    A video that cannot be decoded ends with a reason, whatever went wrong: one strange file must
    not end the extraction of thousands.

    Raises
    ------
    MissingDependencyError
        The decoder is not installed: no video would fare better.
    """
    if job.source.refused:
        yield Finished(job, job.source.refused)
        return
    try:
        with open_video(job.source.path) as video:
            segments = segments_of(plan, video)
            yield Opened(job, video.info, segments)
            waiting: list[list[Clip]] = [[] for _ in job.wanted]
            for clip in read_clips(video, segments, [each.shape for each in job.wanted]):
                waiting[clip.shape].append(clip)
                if len(waiting[clip.shape]) == batch_size:
                    yield _batch(job, waiting[clip.shape])
                    waiting[clip.shape] = []
            yield from (_batch(job, clips) for clips in waiting if clips)
    except VideoError as error:
        yield Finished(job, str(error))
    except MissingDependencyError:
        raise
    except MemoryError:
        yield Finished(job, "decoding it needs more memory than a worker may use")
    except Exception as error:  # noqa: BLE001 - becomes the reason of a failed row
        yield Finished(job, f"the decoder failed in an unexpected way: {error!r}")
    else:
        yield Finished(job)


def _batch(job: Job, clips: Sequence[Clip]) -> Batch:
    return Batch(
        job=job,
        wanted=job.wanted[clips[0].shape],
        segments=np.array([clip.segment for clip in clips], dtype=np.int64),
        pixels=np.stack([clip.pixels for clip in clips]),
    )
