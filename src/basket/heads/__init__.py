"""Features to skill levels: pooling, ordinal heads, decision rules, run folders.

Importing this package imports no learner: heads are looked up by name in :data:`HEADS`.
"""

from basket.heads.table import HEADS, make_head

__all__ = ["HEADS", "make_head"]
