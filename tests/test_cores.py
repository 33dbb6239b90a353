"""Cores to work on: never more than this process may use."""

import os

from basket.cores import usable_cores


def test_what_the_environment_allows_is_the_limit(monkeypatch):
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    assert 1 <= usable_cores() <= os.cpu_count()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert usable_cores() == 1
