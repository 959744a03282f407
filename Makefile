# Each target sets up its own virtual environment in .venv; nothing needs to be installed beforehand but Python.

PYTHON ?= python3
unexport PYTHONDONTWRITEBYTECODE # what one command has compiled, the next ones need not compile again
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps
# Files with the listed hashes only, and no code of a package runs while it is installed: wheels only.
LOCKED := $(PIP) --require-hashes --only-binary :all: --no-compile
# What pip would do on one core; some packages hold files that are no Python of today. Developers' packages are compiled
# when they are imported first: most of their modules never are.
COMPILED := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --benchmark-skip
DENSE_VERDICTS := tests/benchmark/evaluation/fast/test_attacked.py::test_the_verdicts_after_each_attack_are_those_of_the_package
PROJECT := $(PIP) --no-build-isolation -e .

# A stamp says that an installation went through to its end. Its name holds the checksum of what was asked for: times
# of files do not show that an environment was made for other ones, as when a whole folder is copied or restored.
checksum = $(shell cat $(1) | cksum | cut -d ' ' -f 1)
REQUIREMENTS := pyproject.toml constraints.txt constraints-torch.txt constraints-torch-cpu.txt
INSTALLED := $(VENV)/.installed-$(call checksum,$(REQUIREMENTS))
INSTALLED_DEV := $(VENV)/.installed-dev-$(call checksum,$(REQUIREMENTS) constraints-dev.txt)

.PHONY: install install-dev run test test-slow lint types pytest pytest-dense docs bench format leaderboard leaderboard-check lock clean

install: $(INSTALLED)  ## The environment: what the benchmark needs.

install-dev: $(INSTALLED_DEV)  ## The environment, with what tests, linters and the documentation need.

run: $(INSTALLED)  ## The quickstart: about ten minutes on two cores; called again, only what is missing. ARGS=... adds options.
	$(BIN)/python -m benchmark run quickstart $(ARGS)

test: lint types pytest  ## Everything a change must pass.

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED_DEV)
	$(BIN)/mypy

# One torch thread per worker: more would only fight over the cores.
pytest: $(INSTALLED_DEV)  ## The tests and the examples in docstrings.
	$(PYTEST) -m "not slow" --doctest-modules methods benchmark tests

# numba is an extra: networks with few weights are attacked, and masks coded, without it as well, with the same results.
pytest-dense: $(INSTALLED_DEV)  ## The tests of what numba compiles, without it.
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m "not slow" tests/methods/sparse tests/methods/test_layers.py \
		tests/methods/test_sparse_attack.py tests/benchmark/evaluation/fast/test_sparse.py \
		tests/benchmark/artifact/test_rans.py $(DENSE_VERDICTS)

test-slow: $(INSTALLED_DEV)  ## The tests marked as slow: long trainings, kills, whole grids.
	$(PYTEST) -m slow $$(grep -rl --include='test_*.py' 'mark.slow' tests)

# What is published: the boards, and the documentation below them. -W: a warning, such as a dead link, is an error.
docs: $(INSTALLED_DEV)  ## The documentation, its notebook executed: build/pages/docs/index.html
	rm -rf build/pages build/docs build/doctrees
	$(BIN)/python -m sphinx -W --keep-going --quiet -d build/doctrees docs build/docs
	mkdir -p build/pages
	tar -C leaderboards --exclude ./work -cf - . | tar -C build/pages -xf -
	mv build/docs build/pages/docs

bench: $(INSTALLED_DEV)  ## Timings, one at a time, on an otherwise idle machine.
	$(BIN)/python -m pytest -p no:xdist --benchmark-only tests/benchmarks

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

leaderboard: $(INSTALLED)  ## Write the pages in leaderboards/ and docs/demo/ from their records.
	$(BIN)/python -m benchmark leaderboard
	$(BIN)/python -m benchmark leaderboard --out docs/demo

leaderboard-check: $(INSTALLED)  ## Fail if one of these pages differs from its records.
	$(BIN)/python -m benchmark leaderboard --check
	$(BIN)/python -m benchmark leaderboard --check --out docs/demo

lock: $(INSTALLED_DEV)  ## Write constraints*.txt: exact versions and hashes. LOCK=--upgrade takes newer ones.
	$(BIN)/python .ci/lock.py $(LOCK)

clean:  ## Remove the environment and all caches; results in runs/ and leaderboards/ stay.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .coverage
	find benchmark methods tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED):
	@rm -f $(VENV)/.installed*
	$(venv)
	@$(torch) & torch=$$!; $(LOCKED) -r constraints.txt && wait $$torch
	$(PROJECT)
	@$(COMPILED)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@rm -f $(VENV)/.installed-dev*
	$(LOCKED) -r constraints-dev.txt
	@touch $@

# The CPU build of torch if pip finds one where it is set up to look, else the usual one: on Linux with CUDA, gigabytes.
# It is unpacked beside the other packages, with which it shares no file.
define torch
{ $(LOCKED) -r constraints-torch-cpu.txt 2>/dev/null || { \
	echo "pip finds no CPU build of torch: installing the usual one" && $(LOCKED) -r constraints-torch.txt; \
}; }
endef

# Makes the environment unless there is one that works (not half made, not left behind by another Python).
define venv
@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: Python 3.11 or newer is needed, and $(PYTHON) is missing or older;" \
			"name another one, as in: make PYTHON=python3.12" >&2; \
		exit 1; \
	}; \
	echo "making $(VENV)" && $(PYTHON) -m venv --clear $(VENV); \
}
endef
