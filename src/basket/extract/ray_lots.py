"""Which video is handed out when, and what the death of an actor means for it. No Ray in here.

Lots are large while there is plenty to do and small at the end, so that nobody waits for somebody
else's last lot. Videos that an actor was decoding when it died are tried again one by one, after
all others; one that kills its actor twice when it is alone there is given up. The end of a whole
node counts for nobody, but a video is not carried from node to node for ever either.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from basket.errors import BasketError

ALONE_DEATHS = 2
NODE_LOSSES = 5
_DEATHS_WITHOUT_A_VIDEO = 12
_LOT_PER_WORKER = 8


@dataclass(frozen=True)
class Lot:
    """Videos for one actor.

    Parameters
    ----------
    video_ids : tuple of str
    alone : bool
        A single suspect, on its own on purpose.
    """

    video_ids: tuple[str, ...]
    alone: bool = False


class Lots:
    """The videos that are still to be handed out.

    Parameters
    ----------
    video_ids : iterable of str
    actors : int
    workers : int
        Videos that an actor decodes at once.
    """

    def __init__(self, video_ids: Iterable[str], *, actors: int, workers: int) -> None:
        self._todo = collections.deque(video_ids)
        self._suspects: collections.deque[str] = collections.deque()
        self._actors, self._largest = actors, _LOT_PER_WORKER * workers
        self._deaths: collections.Counter[str] = collections.Counter()
        self._losses: collections.Counter[str] = collections.Counter()
        self._deaths_in_a_row = 0

    def __bool__(self) -> bool:
        return bool(self._todo or self._suspects)

    def next(self) -> Lot:
        """The next lot; there must be one.

        Raises
        ------
        IndexError
            Nothing is left.
        """
        if not self._todo:
            return Lot((self._suspects.popleft(),), alone=True)
        share = -(-len(self._todo) // (2 * self._actors))
        size = max(1, min(share, self._largest))
        return Lot(tuple(self._todo.popleft() for _ in range(min(size, len(self._todo)))))

    def finished(self) -> None:
        """An actor has come to the end of a lot."""
        self._deaths_in_a_row = 0

    def lost(
        self,
        lot: Lot,
        *,
        done: Collection[str],
        begun: Collection[str],
        node_is_gone: bool = False,
    ) -> list[str]:
        """An actor died on a lot: queue what it leaves.

        Parameters
        ----------
        lot : Lot
        done : collection of str
            Videos of it that are committed.
        begun : collection of str
            Videos that the actor was decoding.
        node_is_gone : bool
            The whole node is, so that it was no video's doing.

        Returns
        -------
        list of str
            Videos that are given up.

        Raises
        ------
        BasketError
            Actors die one after the other without finishing a single video.
        """
        left = [video_id for video_id in lot.video_ids if video_id not in done]
        if len(left) < len(lot.video_ids):
            self._deaths_in_a_row = 0
        if not node_is_gone:
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row >= max(_DEATHS_WITHOUT_A_VIDEO, 3 * self._actors):
                raise BasketError(
                    f"{self._deaths_in_a_row} actors died in a row and no video was finished in "
                    "between: it is the nodes, not the videos (memory? drivers?). What was "
                    "finished is committed; look at Ray's logs, then run the same command again"
                )
        given_up = []
        for video_id in left:
            if node_is_gone:
                self._losses[video_id] += 1
                if lot.alone and self._losses[video_id] >= NODE_LOSSES:
                    given_up.append(video_id)
                    continue
            elif lot.alone:
                self._deaths[video_id] += 1
                if self._deaths[video_id] >= ALONE_DEATHS:
                    given_up.append(video_id)
                    continue
            suspect = lot.alone or (not node_is_gone and video_id in begun)
            # At the front: what is tried again soon leaves the fewest open ends.
            if self._losses[video_id] >= NODE_LOSSES or suspect:
                self._suspects.append(video_id)
            else:
                self._todo.appendleft(video_id)
        return given_up

    def why_given_up(self, video_id: str) -> str:
        """The reason to record, for a person."""
        if self._deaths[video_id] >= ALONE_DEATHS:
            return (
                f"quarantined: it killed its actor {self._deaths[video_id]} times when tried alone "
                "(a damaged file or a bug of the decoder)"
            )
        return (
            f"quarantined: {self._losses[video_id]} nodes were lost while it was tried; "
            "--retry-failed tries it again"
        )
