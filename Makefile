# Two commands do all the set-up: `make demo` and `make test`. Everything goes into .venv, nothing is installed elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A newer pip shows the build tool's warnings, which are not for whoever installs.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-arm lint benchmark lock clean help

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/.demo  ## the whole loop on this machine; make demo ARGS="--exit --summary demo.json"
	@$(BIN)/tocsin demo $(ARGS)

test: $(VENV)/.dev  ## every test; make test ARGS="-m 'not slow'" for the quick ones
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

test-arm: $(VENV)/.dev  ## the agent on a Raspberry Pi's processor, emulated; as root, takes minutes
	@TOCSIN_REQUIRE_ARM=$${TOCSIN_REQUIRE_ARM-1} $(BIN)/python -m pytest -m arm tests/arm --record $(ARGS)

lint: $(VENV)/.dev  ## style, types, import layers
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

benchmark: $(VENV)/.dev  ## all benchmarks; make benchmark ARGS="pipeline --json figures.json"
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/.dev  ## resolve the newest dependencies into constraints.txt
	@$(INSTALL) uv && $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate \
		--no-header --all-extras --constraint constraints.in pyproject.toml --upgrade --output-file constraints.txt

clean:  ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache artifacts

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tocsin needs Python 3.11 or newer; name one with make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "No venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): TensorFlow is among it, so this takes a minute or two …"
	@$(INSTALL) --editable '.[hub,sim]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): TensorFlow is among it, so this takes a minute or two …"
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.demo
