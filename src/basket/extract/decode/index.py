"""What a file holds, from its packets alone: every frame's timestamp, and which are key frames.

Nothing is decoded: 0.2 s for a nine-minute reel. Every back end decides from this one table which
frame is on display at an instant, so that all of them show the same frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.errors import VideoError
from basket.extract.decode.base import check_regular_file
from basket.extract.decode.formats import TAKEN, is_encrypted, why_not_opened
from basket.extract.decode.timeline import CUT, FrameTable, lay_out

if TYPE_CHECKING:
    import av.container
    import av.video

# Playlists and network protocols can make FFmpeg read other files or hosts: neither is a video.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,"
    "h264,hevc,m4v,mpegvideo",
}

#: What the first box of a picture in the container of MP4 says.
_STILL_BRANDS = frozenset(["avif", "heic", "heix", "mif1"])

#: Where FFmpeg marks a packet as corrupt only because the file ends inside it. Elsewhere the mark
#: is a hole, behind which the recording goes on.
_CUT_WHERE_CORRUPT = frozenset(["mov,mp4,m4a,3gp,3g2,mj2", "avi", "flv"])

#: Containers that record nothing of their end, so that a cut shows only in the last picture.
_OPEN_ENDED = frozenset(["mpegts", "mpeg", "asf", "ogg"])

#: FFmpeg's flag of containers whose clock may jump (AVFMT_TS_DISCONT).
CLOCK_MAY_JUMP = 0x0200


@contextmanager
def open_stream(
    path: Path,
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """Open a regular local file with FFmpeg and choose its video stream.

    Raises
    ------
    VideoError
        Not a video, or damaged; also what goes wrong while the file is open.
    """
    import av

    check_regular_file(path)
    try:
        # Absolute and with its protocol: no file name can be mistaken for a URL.
        container = av.open(f"file:{path.absolute()}", options=_OPTIONS)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"not a readable video: {why_not_opened(path, _reason(error))}") from error
    with container:
        stream = choose_stream(container)
        if stream is None and container.streams.audio:
            raise VideoError("it holds sound and no video stream")
        if stream is None:
            raise VideoError(f"no video stream: {why_not_opened(path, 'it has none')}")
        _check_kind(path, container, stream)
        try:
            yield container, stream
        except av.InvalidDataError as error:
            raise VideoError(f"damaged: {_reason(error)}") from error
        except av.FFmpegError as error:
            raise VideoError(f"FFmpeg cannot read or decode it: {_reason(error)}") from error


def choose_stream(
    container: av.container.InputContainer,
) -> av.video.stream.VideoStream | None:
    """Choose the video stream that the ``ffmpeg`` program takes where it is not told.

    One with packets comes before one without, then one marked as default, then the largest picture,
    then the first; a cover picture only where there is nothing else.
    """

    def score(stream: av.video.stream.VideoStream) -> int:
        codec: Any = stream.codec_context  # None where no codec is known, whatever PyAV's hints say
        disposition = stream.disposition
        if disposition & disposition.attached_pic:
            return 1
        if codec is None:
            return 0
        is_default = bool(disposition & disposition.default)
        # Only a stream whose packets were seen has a pixel format.
        return int(
            codec.width * codec.height
            + 100_000_000 * (codec.pix_fmt is not None)
            + 5_000_000 * is_default
        )

    return max(container.streams.video, key=score, default=None)


def _check_kind(
    path: Path, container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> None:
    """Refuse what is no video, or none that can be decoded, whatever its packets look like."""
    if stream.disposition & stream.disposition.attached_pic:
        raise VideoError("it holds sound and a cover picture, and no video")
    if container.metadata.get("major_brand", "") in _STILL_BRANDS:
        raise VideoError(f"it is a still picture (AVIF or HEIF); taken are videos in {TAKEN}")
    if stream.codec_context is None:
        raise VideoError("no codec of this FFmpeg decodes its video; re-encode it (as H.264)")
    if stream.codec_context.pix_fmt is None and is_encrypted(path):
        raise VideoError("its pictures are encrypted; decrypt it with its key first")


def scan_packets(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> FrameTable:
    """Read the timestamp of every frame from its packet, without decoding.

    Raises
    ------
    VideoError
        No packets, or packets without timestamps.
    """
    import av

    name = container.format.name
    recorder = name if container.format.flags & CLOCK_MAY_JUMP else ""
    packets, lost = list[tuple[int, ...]](), list[int]()
    begins_with_key, note, others = None, "", 0
    try:
        for packet in container.demux(stream):
            if begins_with_key is None:
                begins_with_key = packet.is_keyframe
            if packet.size == 0 or packet.is_discard:
                others += packet.dts is not None  # the last one, which ends the stream, has none
                continue
            if packet.is_corrupt:
                if name in _CUT_WHERE_CORRUPT:
                    note = CUT
                    break
                # The parser hands a frame out when it sees the next one, with the mark of that.
                lost.append(len(packets) + (name == "mpegts"))
            pts = packet.dts if packet.pts is None else packet.pts
            dts = packet.pts if packet.dts is None else packet.dts
            about = packet.duration or 0, packet.is_keyframe, packet.pos or 0
            packets.append((pts or 0, dts or 0, *about, packet.pts is not None))
    except av.FFmpegError as error:
        note = f"truncated: reading stops early ({_reason(error)})"
    # Program streams are marked where the file ends alone: only their last frame is incomplete.
    if lost and (lost[-1] == len(packets) - 1 or name == "mpeg"):
        note, lost = CUT, lost[:-1] if name != "mpeg" else []
        del packets[-1]
    if not packets or stream.time_base is None:
        raise VideoError(
            "it has no frames: an initialisation segment without its fragments, or a recording or "
            "download that was cut off"
        )
    rate = stream.average_rate
    table = lay_out(packets, lost, stream.time_base, rate=rate, recorder=recorder)
    if table.clock and not table.sought_by_decoding_time:
        raise VideoError(f"{table.remarks[0]}; re-encode it (ffmpeg -i in out.mp4)")
    said = [f"{remark}, which is not counted as time" for remark in table.remarks]
    index = getattr(stream, "index_entries", ()) if stream.frames and name[:3] == "mov" else ()
    if index:  # the file's own word: a damaged key frame is still one
        begins_with_key = index[0].is_keyframe
    is_headless = not begins_with_key and table.lead > 0
    note = note or (
        "" if recorder else _promises_more(container, stream, len(index), table, others)
    )
    return replace(
        table,
        remarks=tuple([note, *said] if note else said),
        lead=table.lead if is_headless or (packets[0][3] and not others) else 0,
        is_headless=is_headless,
        doubtful=table.doubtful if name in _OPEN_ENDED or not container.duration else (),
        ends_where_corrupt=name in _CUT_WHERE_CORRUPT,
    )


def _promises_more(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    indexed: int,
    table: FrameTable,
    others: int,
) -> str:
    """Tell where the header promises more than the file holds.

    Edit lists leave frames out of FFmpeg's index (``indexed``) which the file's own count has;
    ``others`` are packets that are read and not shown.
    """
    import av

    held, promised = len(table.pts) + others, indexed or stream.frames
    # AVI counts the ticks of its clock, which may be finer than the pictures.
    held = max(held, int(table.pts[-1]) + 1) if container.format.name == "avi" else held
    if promised > held:
        return f"truncated: the file promises {promised} frames and holds {held}"
    # Matroska counts from 0, however late the pictures begin; others from the first picture.
    end_s = table.duration_s + max(0.0, float(table.pts[0] * table.seconds_per_tick))
    promised_s = (container.duration or 0) / av.time_base
    slack_s = max(1.0, 0.05 * table.duration_s)
    several = len(container.streams.video) > 1  # another one may last longer
    if (
        promised
        or several
        or promised_s <= end_s + slack_s
        or _ends_s(container) >= promised_s - slack_s
    ):
        return ""
    return f"truncated: the file promises {promised_s:.1f} s, its pictures end {end_s:.1f} s"


def _ends_s(container: av.container.InputContainer) -> float:
    """When the last sound ends: it may go on where the pictures do not."""
    sounds, end_s = container.streams.audio, 0.0
    if sounds:
        container.seek(0)
        for packet in container.demux(*sounds):
            if packet.pts is not None and packet.time_base is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end_s


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without the number and the file name."""
    return str(getattr(error, "strerror", None) or error)
