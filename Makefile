# Every target sets up what it needs in .venv; a second call finds it there.
#   make train [RECIPE=baseline] [DATA=folder|sketches] [ARGS='--epochs 5']
#   make test  [ARGS='-k resume']              fast tests; all of them with coverage
#   make test-slow                             the tests marked slow
#   make check                                 format, lint, types, import contracts
#   make browser                               Chromium and axe-core for tests of the page, as root
#   make postgres                              PostgreSQL for tests of shared searches, as root
#   make sanitize                              the C kernels under ASan and UBSan
#   make bench [ARGS='--only ours keras']      training throughput of several frameworks, 10 min
#   make busy [ARGS=--quick]                   threads beside busy processes, 25 to 45 min; resumes
#   make results RECIPE=fast93 [SEEDS='0 1 2'] a row of docs/RESULTS.md; trains missing seeds
#   make speedrun                              training time to accuracy, hours; resumes
#   make photo DATA=clothing-dataset-small/train  the bundled model photo, from photo-zero-shot
#   make torture [ARGS='--minutes 10']         kills, damaged files, limits: before a release, an hour
#   make gpu DATA=folder [OUT=gpu-results]     tests and trainings on a GPU, 9 minutes
#   make licenses                              licences of all packages that are needed
#   make settings                              docs/guide/settings.md from the settings' models
#   make docs                                  the documentation as a site, in site/
#   make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
RECIPE ?= baseline
SEEDS ?= 0 1 2
DATA ?=
OUT ?= gpu-results
ARGS ?=
SOURCES := src tests benchmarks notebooks docs/mkdocs_hooks.py

# Official files next to the checkout are used unless the variable is set.
SHARED := $(abspath ../shared/fashion-mnist)
ifeq ($(origin FASHIONCNN_DATA),undefined)
ifneq ($(wildcard $(SHARED)/train-images-idx3-ubyte*),)
export FASHIONCNN_DATA := $(SHARED)
endif
endif

# Container images often set it; each of the thousand processes of the tests, and each measured one,
# would then compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help train test test-slow check browser chromium postgres sanitize gpu format bench busy results speedrun photo torture settings docs licenses clean

help:
	@sed -n '1,19s/^# \{0,1\}//p' Makefile

train: $(VENV)/.train
	@$(BIN)/fashioncnn train $(RECIPE) $(if $(DATA),--data '$(DATA)') $(ARGS)

# Modules that only run with a component that is missing here are not counted.
test: $(VENV)/.dev
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -m 'not slow' \
	  $(or $(ARGS),--cov --cov-report= --cov-fail-under=0)
	$(if $(ARGS),,$(BIN)/coverage report --omit "$$($(BIN)/python -m tests.not_tested)")

# One process more than cores, because many of these tests wait for other processes.
test-slow: $(VENV)/.dev
	$(BIN)/pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist worksteal -m slow \
	  $(or $(ARGS),$$(grep -rl --include="test_*.py" mark.slow tests))

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# axe-core is only used by tests, and not part of the package.
browser: chromium $(VENV)/node_modules/axe-core

chromium:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

# The server is not started; each test run starts its own with the programs of the package.
postgres:
	@test -n "$$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" || command -v initdb >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq postgresql; }

$(VENV)/node_modules/axe-core: $(VENV)/.venv
	npm install --silent --no-audit --no-fund --no-save --prefix $(VENV) axe-core@4.14.1

# --capture=sys leaves the reports of the sanitizers on stderr.
sanitize: $(VENV)/.dev
	FASHIONCNN_SANITIZE=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libubsan.so)" \
	$(BIN)/pytest -p no:cacheprovider --capture=sys tests/kernels $(ARGS)

bench: $(VENV)/.train
	$(BIN)/python benchmarks/bench.py $(ARGS)

busy: $(VENV)/.train
	$(BIN)/python benchmarks/busy.py $(ARGS)

results: $(VENV)/.train
	$(BIN)/python benchmarks/seeds.py $(RECIPE) --seeds $(SEEDS)
	@$(BIN)/python benchmarks/results_table.py

speedrun: $(VENV)/.train
	$(BIN)/python benchmarks/speedrun.py $(ARGS)

photo: $(VENV)/.train
	$(BIN)/python benchmarks/photo.py '$(DATA)' --seeds $(SEEDS) --models runs/photo
	$(BIN)/python benchmarks/photo.py --bundle runs/photo

torture: $(VENV)/.dev
	$(BIN)/python benchmarks/torture.py $(ARGS)

gpu: $(VENV)/.train
	$(BIN)/python benchmarks/gpu.py --data '$(or $(DATA),$(FASHIONCNN_DATA))' --out '$(OUT)' $(ARGS)

settings: $(VENV)/.train
	$(BIN)/python -m fashioncnn.settings_reference > docs/guide/settings.md

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

licenses: $(VENV)/.dev
	@$(BIN)/python benchmarks/licenses.py $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf $(VENV) build dist site .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "$(PYTHON): Python 3.11 or newer is needed; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first, so that its pinned version is installed and not a newer one for another package.
$(VENV)/.train: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "installing torch and other packages in $(VENV), once; takes a minute or two …" >&2
	$(INSTALL) torch
	$(INSTALL) -e '.[train]'
	@touch $@

# Contains those of .train.
$(VENV)/.dev: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "installing torch and packages for development in $(VENV), once; takes minutes …" >&2
	$(INSTALL) torch
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.train $@
