# From nothing: `make demo`, `make test`. Needs python3 >= 3.11 with venv, make and git; installs into .venv only.
PYTHON ?= python3
# Test processes; each computes with one thread.
WORKERS ?= 2
# Of the soak of `make faults`.
MINUTES ?= 60
BIN := .venv/bin
READY := .venv/ready
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-slow test-all test-browser faults check docs clean

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' $(MAKEFILE_LIST)

demo: $(READY)  ## lose plasticity and regain it, in one to three minutes
	$(BIN)/lopgym demo

test: $(READY)  ## the fast tests, six minutes on two cores
	$(PYTEST) -m "not slow and not browser and not matrix"

test-slow: $(READY)  ## what `make test` leaves out: minutes of training, large products
	$(PYTEST) -m "slow and not browser and not matrix"

test-all: test test-slow  ## both, under thirty minutes

test-browser: $(READY)  ## TensorBoard in a real browser; needs chromium
	@command -v chromium > /dev/null || { echo "chromium is missing: apt-get install chromium"; exit 1; }
	$(PYTEST) -n 0 -m browser

faults: $(READY)  ## break runs in every way we know, one line for each: an hour and more; MINUTES=5 for the shortest soak
	SOAK_MINUTES=$(MINUTES) $(PYTEST) --dist worksteal -m fault --faults

check: $(READY)  ## format, lint, types, generated docs fresh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy docs examples benchmarks
	$(BIN)/python docs/generate.py --check

docs: $(READY)  ## write the generated tables again
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/contact_sheet.py

clean:  ## back to the checkout; runs are kept
	rm -rf .venv build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Torch goes first and alone, at the tested version: a torch that is in .venv already, such as the CPU build, stays.
$(READY): pyproject.toml constraints.txt
	@test ! -f src/lopgym/envs || { echo "this checkout has no symbolic links: git config core.symlinks true, then check out again; or install the wheel"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lopgym needs Python 3.11 or newer, for instance: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
