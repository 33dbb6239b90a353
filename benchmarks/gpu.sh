#!/usr/bin/env bash
# The measurements that need a GPU. Put the output, with date and hardware, into docs/benchmarks.md.
#   benchmarks/gpu.sh [python]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
date -u +%F
echo "== forward: clips/s, share of the measured bf16 peak, bf16 against float32"
"$python" benchmarks/gpu_forward.py
echo "== pipeline: share of the slower stage, two backbones, the usual loop"
"$python" benchmarks/pipeline.py --seconds 120 --reels 16 --segments 34
