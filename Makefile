# Every target sets up what it needs in .venv; a second call finds it there.
#   make train [RECIPE=baseline] [DATA=folder|sketches] [ARGS='--epochs 5']
#   make test  [ARGS='-k resume']
#   make check
#   make bench [ARGS='--only ours keras']      training throughput of several frameworks, 10 min
#   make results RECIPE=fast93 [SEEDS='0 1 2'] a row of docs/RESULTS.md; trains missing seeds
#   make speedrun                              training time to accuracy, hours; resumes
#   make settings                              docs/guide/settings.md from the settings' models
#   make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= baseline
SEEDS ?= 0 1 2
DATA ?=
ARGS ?=

# The official files lie beside some checkouts; a person's own setting goes first.
SHARED := $(abspath ../shared/fashion-mnist)
ifeq ($(origin FASHIONCNN_DATA),undefined)
ifneq ($(wildcard $(SHARED)/train-images-idx3-ubyte*),)
export FASHIONCNN_DATA := $(SHARED)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help train test check format bench results speedrun settings clean

help:
	@sed -n '1,9s/^# \{0,1\}//p' Makefile

train: $(VENV)/.train
	@$(BIN)/fashioncnn train $(RECIPE) $(if $(DATA),--data '$(DATA)') $(ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal --cov --cov-report=term $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.train
	$(BIN)/python benchmarks/bench.py $(ARGS)

results: $(VENV)/.train
	$(BIN)/python benchmarks/seeds.py $(RECIPE) --seeds $(SEEDS)
	@$(BIN)/python benchmarks/results_table.py

speedrun: $(VENV)/.train
	$(BIN)/python benchmarks/speedrun.py $(ARGS)

settings: $(VENV)/.train
	$(BIN)/python -m fashioncnn.settings_reference > docs/guide/settings.md

format: $(VENV)/.dev
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "$(PYTHON): Python 3.11 or newer is needed; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first, so that its pin decides, and no other package's wish for a newer one.
$(VENV)/.train: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "setting up $(VENV) with torch and what it needs, once; a minute or two …" >&2
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
