"""Many settings on one cache: what to try, trying it without repeating anything, what came out."""

from basket.sweep.leaderboard import Leaderboard, read_leaderboard
from basket.sweep.runner import SweepResult, run_settings
from basket.sweep.setting import Setting
from basket.sweep.space import HeadSpace, Range, Search, Space, read_space, space_from_flags

__all__ = [
    "HeadSpace",
    "Leaderboard",
    "Range",
    "Search",
    "Setting",
    "Space",
    "SweepResult",
    "read_leaderboard",
    "read_space",
    "run_settings",
    "space_from_flags",
]
