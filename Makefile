# Everything is installed into .venv by the project's own files, in the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup compare test check format bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "glassfit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt pip
	$(PIP) install --quiet -c constraints.txt --editable '.[compare]' --group test --group tools
	@touch $@

compare: setup  ## prove that loop.fit is model.fit on every scenario, and time both
	$(BIN)/python -m compare --json build/compare/report.json

test: setup  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

check: setup  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## time fits with pytest-benchmark; nothing else should run meanwhile
	mkdir -p build/bench
	$(BIN)/python -m pytest bench --benchmark-enable --benchmark-json=build/bench/report.json

clean:  ## remove everything that was built or installed
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
