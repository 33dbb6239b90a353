"""What the labels say: skills, label tables, data set layout."""

from basket.dataset.labels import (
    MAX_LEVELS,
    LabelTable,
    guess_video_root,
    read_labels,
    read_splits,
    read_tables,
    shared_players,
)
from basket.dataset.layout import (
    SPLIT_FILES,
    TEST_SPLITS,
    BasketFolder,
    find_basket,
    find_splits,
    find_videos,
    is_simulated,
    parse_reel_name,
    player_key,
    require_folder,
    resolve_video,
)
from basket.dataset.skills import GROUPS, LEVEL_NAMES, N_LEVELS, SKILLS, Skill, skill_named

__all__ = [
    "GROUPS",
    "LEVEL_NAMES",
    "MAX_LEVELS",
    "N_LEVELS",
    "SKILLS",
    "SPLIT_FILES",
    "TEST_SPLITS",
    "BasketFolder",
    "LabelTable",
    "Skill",
    "find_basket",
    "find_splits",
    "find_videos",
    "guess_video_root",
    "is_simulated",
    "parse_reel_name",
    "player_key",
    "read_labels",
    "read_splits",
    "read_tables",
    "require_folder",
    "resolve_video",
    "shared_players",
    "skill_named",
]
