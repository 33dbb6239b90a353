# Each target makes .venv when it is missing or when the requirements changed, and never twice.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-avx2 test-none test-avx512 test-kernels lint docs package bench soak clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "basket needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,reference,optuna,ray]'
	touch $@

demo: $(READY)  ## simulated reels -> cache -> heads -> report, without network or GPU
	$(BIN)/basket demo

test: $(READY)  ## the test suite
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu and not soak" $(PYTEST_ARGS)

# As other processors compute: without AVX-512 (avx2), and without any vector unit (none).
test-avx2: export ATEN_CPU_CAPABILITY = avx2
test-avx2: export ONEDNN_MAX_CPU_ISA = AVX2
test-avx2: export OPENBLAS_CORETYPE = Haswell
test-none: export ATEN_CPU_CAPABILITY = default
test-none: export ONEDNN_MAX_CPU_ISA = SSE41
test-none: export OPENBLAS_CORETYPE = Nehalem
test-none: export OMP_NUM_THREADS = 2
test-avx512: export OPENBLAS_CORETYPE = SKYLAKEX
test-avx2 test-none test-avx512:
	$(MAKE) test

test-kernels: test-avx2 test-none $(if $(shell grep -m1 avx512f /proc/cpuinfo),test-avx512)  ## the suite as other processors compute

lint: $(READY)  ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## the documentation site, in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

package: $(READY)  ## wheel and sdist, built and tested as installed (FULL=1: with its dependencies)
	FULL=$(FULL) .ci/package $(BIN)/python

bench: $(READY)  ## the measurements that need no GPU, each as a ratio from one run
	@for script in $$(grep -lE '^# bench: cpu' benchmarks/*.py); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

soak: $(READY)  ## the long versions of the crash and corruption tests
	$(BIN)/python -m pytest -m soak --timeout 0 -o faulthandler_timeout=0 $(PYTEST_ARGS)

clean:  ## remove the environment and caches (never data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
