"""Caches and runs on a model hub: pushed bit by bit, checked before anything pulled is used.

A cache becomes a data set repository, a run a model repository; both are private unless made public
on purpose. Shards never change and are named by their bytes, so that a push sends what the
repository lacks, and a pull fetches what the cache lacks. What arrives is a stranger's: only files
of known names are fetched, every shard is compared with its name and read to the last value, every
file of a run with its hash, and nothing of it is ever executed. The access token comes from
``HF_TOKEN`` or the login of ``huggingface_hub``.
"""

from basket.hub.caches import pull_cache, push_cache
from basket.hub.runs import pull_run, push_run
from basket.hub.transfer import Transfer

__all__ = ["Transfer", "pull_cache", "pull_run", "push_cache", "push_run"]
