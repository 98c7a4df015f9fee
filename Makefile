# Everything is installed into .venv by the project's own files, in the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

PEERS := .venv-peers

.PHONY: setup compare test check format bench bench-quick bench-peers clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "glassfit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt pip
	$(PIP) install --quiet -c constraints.txt --editable '.[compare]' --group test --group tools --group bench
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

bench-quick: setup  ## what fits cost, in under 5 minutes; nothing else should run meanwhile
	$(BIN)/python -m bench --quick

bench: setup  ## the same at length: every engine, costs told apart, plots, pytest-benchmark
	$(BIN)/python -m bench
	$(BIN)/python -m pytest bench --benchmark-enable --benchmark-json=build/bench/pytest.json

bench-peers: setup $(PEERS)/.installed  ## the same fit in other frameworks
	$(BIN)/python -m bench.peers

$(PEERS)/.installed: bench/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r $<
	@touch $@

clean:  ## remove everything that was built or installed
	rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
