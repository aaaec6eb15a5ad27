# Every target does its own set-up: a fresh clone needs Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
CLIENTS_STAMP := tests/clients/node_modules/.package-lock.json
PYTEST := $(BIN)/python -m pytest
# The usual tests write thousands of files and wait for the sync of each: they do that in memory where there is room.
# The longest stay on the disk. What a run that fails leaves behind goes with the next one.
IN_MEMORY := $(shell test -w /dev/shm && test "$$(df -Pm /dev/shm | awk 'NR == 2 {print $$4}')" -ge 6000 && echo /dev/shm)
USUAL := $(if $(IN_MEMORY),PYTEST_DEBUG_TEMPROOT=$(IN_MEMORY)) $(PYTEST) -o tmp_path_retention_count=1
# A library that takes a second to load in each process, and the file of long tests that needs it.
NOT_LOADED := -p no:schemathesis --ignore tests/router/gateway/test_gateway_document.py

.DEFAULT_GOAL := help
# Tests start many processes; without compiled modules each of them would spend a second on compiling.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test test-long clients test-clients test-fast torture load bench bench-m bench-l bench-engine bench-move bench-gateway bench-shapes check check-wheel check-container format proto docs warm clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment with everything needed to develop

$(STAMP): pyproject.toml requirements-dev.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; give one with: make PYTHON=python3.12 ..."; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

$(BENCH_STAMP): $(STAMP) requirements-bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $(BENCH_STAMP)

warm: $(STAMP) ## Compile the kernels into the user's cache (other targets do it when needed)
	@$(BIN)/python -m cdp_router warm

demo: warm ## Start a cluster on real data, ask it twelve questions, stop it
	@$(BIN)/python -m benchmarks.demo

test: warm ## Run all tests but the longest (minutes)
	$(USUAL) -n 3 --dist loadfile --no-loadscope-reorder -m "not long" --ignore tests/clients $(NOT_LOADED)

test-long: warm ## Run the longest: clusters that are killed, moved, damaged, and loaded by many clients (minutes)
	$(PYTEST) -n 2 --dist loadfile -m long

clients: $(CLIENTS_STAMP) ## Install the libraries for Node and browsers that people have (npm)

# Not `npm ci`, which wants the optional packages of all other platforms in the lock file too.
$(CLIENTS_STAMP): tests/clients/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed for these libraries; Node 18 or newer brings it"; exit 1; }
	cd tests/clients && npm install --no-save --no-audit --no-fund --loglevel=error

test-clients: warm clients ## Run these libraries against the gateway; those for browsers where there is a Chromium
	$(PYTEST) -n 2 --dist loadfile -rs tests/clients

test-fast: warm ## Run the tests of store and query layers only
	$(USUAL) -n 2 --dist loadfile tests/store tests/query

torture: warm ## Crash schedules, lives of a cluster on a bad network, damaged files, orders of arrival, kills of real processes: new seeds, SECONDS each (default 600)
	$(BIN)/python -m tests.simulation --seconds $(or $(SECONDS),600)
	$(BIN)/python -m tests.cluster_simulation --seconds $(or $(SECONDS),600)
	$(BIN)/python -m tests.damage --count 2000 --seconds $(or $(SECONDS),600)
	$(BIN)/python -m tests.arrivals --seconds $(or $(SECONDS),600)
	$(BIN)/python -m tests.torture --seconds $(or $(SECONDS),600)

load: warm ## A thousand clients at once, with shards that hang and die (CLIENTS=n for others)
	CDP_LOAD_CLIENTS=$(or $(CLIENTS),1000) $(PYTEST) tests/e2e/test_under_load.py

bench: $(BENCH_STAMP) warm ## Measure us and the peers at scale S (minutes)
	$(BIN)/python -m benchmarks.run --scale S

bench-m: $(BENCH_STAMP) warm ## The same at scale M: 2 M profiles, 50 M events (an hour, 20 GB of memory)
	$(BIN)/python -m benchmarks.run --scale M

bench-l: $(BENCH_STAMP) warm ## The same at scale L: 10 M profiles, 200 M events (hours)
	$(BIN)/python -m benchmarks.run --scale L

bench-engine: $(STAMP) warm ## Milliseconds and bandwidth of the engine on one core with one partition, without sockets
	$(BIN)/python -m benchmarks.engine_rates --scale $(or $(SCALE),S)

bench-move: $(STAMP) warm ## Move partitions under SECONDS (default 30) of ingest and questions; failed and wrong ones must be none
	$(BIN)/python -m benchmarks.moving --seconds $(or $(SECONDS),30)

bench-gateway: $(STAMP) warm ## Events per second through the HTTP gateway, and the delay of its answers; with wrk, where it is installed
	$(BIN)/python -m benchmarks.gateway_load

bench-shapes: $(STAMP) warm ## Unusual shapes at full size (512 rare names, one user with 5 M events), rates of the store
	$(BIN)/python -m benchmarks.shapes
	$(BIN)/python -m benchmarks.store_rates

check: $(STAMP) ## Format, lint, types, import arrows, contract, generated code and pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python proto/generate.py --check
	$(BIN)/python -m docs.generate --check

check-wheel: warm ## Build the wheel, install it in an empty environment, take the first steps of README.md there
	$(BIN)/python -m tests.wheel

check-container: warm ## Take the steps of the Containerfile in a plain chroot, where root can make one
	$(BIN)/python -m tests.container

format: $(STAMP) ## Format the sources and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMP) ## Generate the Python form of proto/
	$(BIN)/python proto/generate.py

docs: $(STAMP) ## Generate the pages of docs/reference that are read from the code
	$(BIN)/python -m docs.generate

clean: ## Remove what was made here, environment and caches; data directories stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
