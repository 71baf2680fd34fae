# make site   measure on this machine and build the site into public/
# make test   the whole test suite
# make check  lint, types, and what the prose says against the numbers
# make bench  speed against TransformerLens, SAELens and dictionary_learning, interleaved
# make load   ten people at once on a demo for two minutes: latency, errors, memory
# make serve  the site with live reload

PYTHON ?= python3
BUDGET ?= 6m
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: site test check bench load serve clean

# A first call measures what the budget allows; a later one only what has changed, until a spec is newer.
MEASURED := .engine/measured-$(BUDGET)

site: $(VENV)/.site
	@$(BIN)/engine build --budget $(BUDGET) $$(test -e $(MEASURED) && test -z "$$(find investigations -name spec.yaml -newer $(MEASURED))" && echo --changed)
	@test -z "$$(ls .engine/runs 2>/dev/null)" || touch $(MEASURED)

test: $(VENV)/.dev
	@echo "== tests: in two processes, a file at a time in each; results end this output"
	@$(BIN)/python -m pytest tests -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check engine tests
	$(BIN)/ruff format --check engine tests
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/engine check

bench: $(VENV)/.dev
	@$(BIN)/python -m tests.bench

load: $(VENV)/.dev
	@$(BIN)/python -m tests.load.demo

serve: $(VENV)/.site
	@$(BIN)/engine serve

$(BIN)/python:
	@echo "== creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.site: pyproject.toml constraints.txt | $(BIN)/python
	@echo "== installing the engine into $(VENV) (some minutes the first time)"
	@$(PIP) -e '.[papers]'
	@touch $@

$(VENV)/.dev: $(VENV)/.site
	@echo "== installing what the tests need"
	@$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf public .engine
