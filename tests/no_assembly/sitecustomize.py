"""On ``PYTHONPATH``, switches FFmpeg's assembly off in this process and all that it starts."""

import ctypes
from importlib.util import find_spec
from pathlib import Path

spec = find_spec("av")
if spec is not None and spec.origin is not None:
    # Wheels of PyAV bring FFmpeg's libraries along; a build against the system's has none here.
    for library in (Path(spec.origin).parents[1] / "av.libs").glob("libavutil*"):
        ctypes.CDLL(str(library)).av_force_cpu_flags(0)
