# Each target sets up .venv first when it is missing, incomplete, or older than the pins.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python that starts and is new enough; another one: make PYTHON=/path/to/python3 demo
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
RUN := .venv/bin/python

.PHONY: help setup demo test test-slurm chaos lint docs clean

help: ## show this list
	@echo "DaAIR Lab. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo "Everything else: .venv/bin/python run.py --help (after make setup)"

setup: .venv/.ok ## create or renew .venv; the other targets do it by themselves

demo: .venv/.ok ## a small study on embedded images: three networks, their table and figures (some minutes)
	@$(RUN) run.py experiment=demo
	@echo "next:  open runs/demo/report.html in a browser"
	@echo "       source .venv/bin/activate"
	@for run in runs/demo/rank4-*/seed0; do \
		echo "       python run.py task=restore checkpoint=$$run input=IMAGE_OR_DIR output=DIR"; done
	@echo "       on real photographs: docs/data.md"

test: .venv/.ok ## run all tests (minutes); make test ARGS="-k config" runs some
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -q -n 2 --durations=10 $(ARGS)

test-slurm: .venv/.ok ## run sweeps on a Slurm cluster that this machine plays; installs Slurm if root (minutes)
	@tests/slurm/install.sh
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -q tests/slurm --durations=10 $(ARGS)

chaos: .venv/.ok ## kill processes of small sweeps at random; make chaos MINUTES=30 adds to experiments/reliability/chaos.csv
	@OMP_NUM_THREADS=1 $(RUN) experiments/reliability/chaos.py $(or $(MINUTES),30) $(SEED)

lint: .venv/.ok ## check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

docs: .venv/.ok ## write docs/config.md (all config keys, from conf/) and docs/api.md (from docstrings)
	@$(RUN) docs/make_config.py
	@$(RUN) docs/make_api.py

clean: ## remove caches and build products; keeps .venv and runs
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: a set-up that was interrupted is done again. What a training imports is compiled once here,
# whatever the environment says of it; pip would compile all of PyTorch, which takes a minute.
.venv/.ok: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed (with venv); none was found. make PYTHON=/path/to/python3" >&2; exit 1; }
	@rm -f $@
	@echo "Setting up .venv (PyTorch and the rest, about 6 GB): a few minutes the first time, seconds when little changed ..."
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@.venv/bin/python -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@PYTHONDONTWRITEBYTECODE= $(RUN) -c 'import daair.engine.train, daair.tasks.study_files, daair.tasks.restore'
	@touch $@
