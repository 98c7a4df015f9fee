# Everything is installed into .venv by the project's own files, in the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

PEERS := .venv-peers

# Where bench trains: make bench-quick DEVICE=gpu
DEVICE ?= cpu
BENCH := $(BIN)/python -m bench --device $(DEVICE)

# Kernels that round as on other processors; TensorFlow reads these variables as it is loaded.
PROCESSORS := TF_ENABLE_ONEDNN_OPTS=0 ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2

# Which slow tests `make faults` runs; `make test-slow` runs the others.
FAULTS := tests/instrument/test_broken_rules.py

# A process more than processors: some tests wait for processes of their own.
WORKERS = --numprocesses $(shell $(PYTHON) -c 'import os; print(min(8, os.cpu_count() + 1))') --dist worksteal

.PHONY: setup compare test test-long test-slow test-processors fuzz faults test-keras leaks drift map examples check format docs docs-test bench bench-cold bench-quick bench-page bench-peers clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "glassfit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt pip
	$(PIP) install --quiet -c constraints.txt --editable '.[compare]' --group test --group tools --group callbacks
	@touch $@

compare: setup  ## prove that loop.fit is model.fit on every scenario, and time both
	$(BIN)/python -m compare --json build/compare/report.json

test: setup  ## each scenario under plan "auto", and a sample of everything else, in under 5 minutes
	$(BIN)/python -m pytest $(WORKERS)

test-long: setup  ## the tests marked long: each scenario under plans "step" and "auto", every recipe
	$(BIN)/python -m pytest -m "long and not slow and not docs" $(WORKERS)

test-processors: setup  ## all bit-sensitive tests where kernels round as on other processors
	@failed=; for setting in $(PROCESSORS); do \
		echo "$$setting"; \
		env $$setting $(BIN)/python -m pytest -m bits \
			$(WORKERS) || failed="$$failed $$setting"; \
	done; \
	[ -z "$$failed" ] || { echo "failed under$$failed"; exit 1; }

fuzz: setup  ## 500 random trainings, and 50 random sequences of what users do, under both engines
	$(BIN)/python -m pytest tests/engine/test_fuzz.py tests/engine/test_interleaved.py --hypothesis-profile=fuzz --numprocesses auto

faults: setup  ## each rule that diagnose knows, broken in turn: located, named; no false alarm
	$(BIN)/python -m pytest -m slow $(WORKERS) $(FAULTS)

test-slow: setup  ## mistakes in loops of three styles; larger programs built early; each rung of the tour
	$(BIN)/python -m pytest -m slow $(WORKERS) --ignore $(FAULTS)

test-keras: setup  ## Keras's own tests, on its engine and on ours
	$(BIN)/python tests/support/keras_suite.py

leaks: setup  ## what 1,000 fits leave in a process, under both engines
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python tests/support/leaks.py

drift: setup  ## what another release changes: make drift KERAS=3.15.0
	@test -n "$(KERAS)" || { echo "which release? make drift KERAS=3.15.0"; exit 1; }
	$(PIP) install --quiet --no-deps --upgrade --target build/drift/$(KERAS) keras==$(KERAS)
	PYTHONPATH=build/drift/$(KERAS) $(BIN)/python -m compare.drift $(SCENARIOS)

map: setup  ## docs/map.md, and the lines that links in docs/questions.md lead to
	$(BIN)/python -m compare.release.map

examples: setup  ## run the recipes, each against the same in Keras, and write their table into docs/research.md
	$(BIN)/python -m examples.recipes.table --page docs/research.md

check: setup  ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-docs  ## the site in build/site, and notebooks in build/notebooks
	$(BIN)/python docs/site/pictures.py
	$(BIN)/python docs/site/notebooks.py
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env \
		--conf-dir docs/site --doctree-dir build/doctrees docs build/site

docs-test: docs  ## the site in a browser, every example of the API, every notebook
	$(BIN)/python -m pytest -m docs $(WORKERS)

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt --group docs
	@touch $@

bench-cold: setup  ## what the first fit of a process costs, in 6 to 13 minutes; nothing else should run
	$(BENCH) --cold

bench-quick: setup  ## what warm fits cost, in 8 to 12 minutes; nothing else should run meanwhile
	$(BENCH) --quick

bench: setup  ## the same at length: every engine, costs told apart, plots, pytest-benchmark
	$(BENCH)
	$(if $(filter cpu,$(DEVICE)),CUDA_VISIBLE_DEVICES=-1) $(BIN)/python -m pytest bench \
		--benchmark-enable --benchmark-json=build/bench/pytest.json

bench-page: setup  ## put the figures of build/bench into docs/costs.md and README.md
	$(BIN)/python -m bench.page

bench-peers: setup $(PEERS)/.installed  ## the same fit in other frameworks
	$(BIN)/python -m bench.peers

$(PEERS)/.installed: bench/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r $<
	@touch $@

clean:  ## remove everything that was built or installed
	rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
