# Two commands to start with:
#   make demo    install, render the example clip, preprocess, fit, query and score it
#   make test    install, then ruff, mypy and the tests
# Another interpreter: make demo PYTHON=python3.12. Another place for packages: VENV=folder.

SHELL := /bin/sh
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c "$(IS_NEW_ENOUGH)" 2>/dev/null && echo $$each && break; done)
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
RUN := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint loop configs overview clean

help:
	@sed -n '/^# Two/,/^$$/s/^# \{0,1\}//p' Makefile

# One virtual environment; a stamp says that this pyproject.toml is installed in it.
$(VENV)/installed: pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c "$(IS_NEW_ENOUGH)" || { \
	  echo "error: Python 3.11 or newer is needed: install it, or give PYTHON=/path/to/python3.11"; \
	  exit 2; }
	@test -x $(RUN) && $(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make virtual environments: install its venv module"; \
	  echo "       (Debian, Ubuntu: apt install python3-venv), or give PYTHON=..."; exit 2; }
	@echo "installing into $(VENV); PyTorch is large, so this takes a few minutes ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: $(VENV)/installed
	@rm -rf $(DEMO)
	$(BIN)/omnimotion demo $(DEMO)/clip --seed 5 --size 256x192
	$(RUN) preprocess.py $(DEMO)/clip/frames --scene $(DEMO)/scene --flow dis
	$(RUN) train.py --config configs/demo.txt --scene $(DEMO)/scene
	$(RUN) query.py --scene $(DEMO)/scene --grid 16 --frame 18 \
	  --out $(DEMO)/tracks.npz --video $(DEMO)/overlay.mp4
	$(BIN)/omnimotion evaluate $(DEMO)/clip --scene $(DEMO)/scene --out $(DEMO)/scores.md
	@echo
	@echo "scores:   $(DEMO)/scores.md"
	@echo "tracks:   $(DEMO)/tracks.npz"
	@echo "pictures: $(DEMO)/scene/runs/default/previews"
	@echo "overlay:  $(DEMO)/overlay.mp4   <- watch this one"

lint: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# The loop of a step, compiled: half a minute or more, which each process of the tests would take.
loop: $(VENV)/installed-dev
	@$(RUN) -m omnimotion.kernels.ahead

# A process per core: the tests do not disturb one another. The checks before have one core each.
test: $(VENV)/installed-dev
	@$(MAKE) --no-print-directory --jobs 2 lint loop
	$(RUN) -m pytest -rfEs -m "not slow and not gpu" -n auto --maxprocesses 4 --dist worksteal

test-slow: $(VENV)/installed-dev
	$(RUN) -m pytest -rfEs -m "slow or gpu"

# configs/default.txt from the settings in omnimotion/config.py
configs: $(VENV)/installed
	$(RUN) tests/config_file.py

# docs/overview.png, the picture of the README, from the example clip
overview: demo
	$(RUN) docs/overview.py $(DEMO)/scene docs/overview.png

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
