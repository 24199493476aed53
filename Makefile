# The index of our habits. `make help` lists them.
# Everything that is set up lands in .venv and under $(TRIMTAB_CACHE); nothing else is touched.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
TRIMTAB_CACHE ?= $(HOME)/.cache/trimtab
export TRIMTAB_CACHE

BIN := .venv/bin
STAMP := .venv/.ready
SOURCES := operator tests e2e
FAULTS := tests/integration/test_metrics_faults.py
IS_ROOT := $(filter 0,$(shell id -u))

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "trimtab needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12 …" % v[:2])'
	@echo "Installing pinned packages into .venv (about a minute the first time) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

.PHONY: setup
setup: $(STAMP) ## Install the pinned packages into .venv

.PHONY: cluster-binaries
cluster-binaries: $(STAMP) ## Build the local cluster's binaries, once (about 15 minutes cold)
	@PYTHONPATH=e2e $(BIN)/python -m trimtab_e2e.cluster build

.PHONY: test-binaries
test-binaries: cluster-binaries ## Build what the chart's tests need besides: Helm 3, Helm 4, Lua
	@PYTHONPATH=e2e $(BIN)/python -m trimtab_e2e.cluster build --tools

.PHONY: demo
demo: $(STAMP) cluster-binaries ## Show the main job on a real control plane with fake GPU nodes (5 minutes)
	@PYTHONPATH=e2e $(BIN)/python -m trimtab_e2e.demo

.PHONY: test
test: verify lint types test-fast test-integration test-faults test-e2e $(if $(IS_ROOT),e2e-node) ## Everything that CI runs; as root on real nodes too
	@$(if $(IS_ROOT),,echo "== not root: the suite on real nodes (make e2e-node) was NOT run")

.PHONY: test-fast
test-fast: $(STAMP) ## Unit, property and golden tests; no cluster
	@echo "== unit, property and golden tests"
	@$(BIN)/python -m pytest -q tests/unit tests/property tests/golden

.PHONY: test-integration
test-integration: $(STAMP) test-binaries ## Tests against a real API server and a real Prometheus
	@echo "== integration tests (real kube-apiserver, etcd, scheduler, controllers, Prometheus)"
	@$(BIN)/python -m pytest -q tests/integration --ignore=$(FAULTS)

.PHONY: test-faults
test-faults: $(STAMP) cluster-binaries ## Faults of the metrics, one by one, on a cluster of their own
	@echo "== faults of the metrics between a real Prometheus and a running operator"
	@$(BIN)/python -m pytest -q $(FAULTS)

.PHONY: test-e2e
test-e2e: $(STAMP) test-binaries ## The short end-to-end run: the demo's job, judged
	@echo "== short end-to-end run"
	@$(BIN)/python -m pytest -q e2e/tests -m "not long"

.PHONY: e2e
e2e: $(STAMP) cluster-binaries ## All end-to-end tests, the long ones too
	@$(BIN)/python -m pytest -q e2e/tests

.PHONY: e2e-node
e2e-node: $(STAMP) test-binaries ## Install the chart on two real nodes and count lost requests (root; long)
	@echo "== two real nodes: the chart by Helm, real pods, and a client that counts lost requests"
	@$(BIN)/python -m pytest -q -s --durations=12 e2e/tests/test_node.py

.PHONY: e2e-kind
e2e-kind: $(STAMP) ## The short end-to-end run on kind's control plane (Docker and kind; not run by us)
	@TRIMTAB_KIND=1 $(BIN)/python -m pytest -q e2e/tests -m "not long"

.PHONY: lint
lint: $(STAMP) ## Style, and imports that go one way
	@echo "== ruff and import-linter"
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/lint-imports

.PHONY: types
types: $(STAMP) ## Strict type checking
	@echo "== mypy --strict"
	@$(BIN)/mypy $(SOURCES)

.PHONY: fmt
fmt: $(STAMP) ## Format the code
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

.PHONY: generate
generate: $(STAMP) ## Write what is generated: CRDs, the API reference, metrics, engines
	@$(BIN)/trimtab crds write

.PHONY: verify
verify: $(STAMP) ## Fail when something generated is not what the code would write
	@echo "== generated files"
	@$(BIN)/trimtab crds check

.PHONY: docs
docs: $(STAMP) ## Build the pages into site/
	@$(BIN)/mkdocs build --strict --quiet

.PHONY: accuracy
accuracy: $(STAMP) ## Score the performance model against measurements (about 6 minutes)
	@cd tests && $(abspath $(BIN))/python -m bench.accuracy

.PHONY: benchmark
benchmark: $(STAMP) ## Run every policy on every scenario and write docs/benchmark.md
	@cd tests && $(abspath $(BIN))/python -m bench.benchmark $(BENCHMARK)

.PHONY: bench
bench: $(STAMP) ## Print how good and how fast the planner's programme is
	@cd tests && $(abspath $(BIN))/python -m bench.planner

.PHONY: bench-control
bench-control: $(STAMP) ## Hold a policy against fixed fleets and known courses of demand
	@cd tests && $(abspath $(BIN))/python -m bench.control

.PHONY: bench-judge
bench-judge: $(STAMP) ## Judge the planner on an engine and a fleet that share nothing with it
	@cd tests && $(abspath $(BIN))/python -m bench.judge $(JUDGE)

.PHONY: bench-observe
bench-observe: $(STAMP) ## Print what one pass over the metrics costs
	@cd tests && $(abspath $(BIN))/python -m bench.observe

.PHONY: forecast
forecast: $(STAMP) ## Score forecasts against four baselines and write docs/forecast.md
	@cd tests && $(abspath $(BIN))/python -m bench.forecast

.PHONY: mutants
mutants: $(STAMP) ## Put bugs into the planner and count those that its tests see (half an hour)
	@cd tests && $(abspath $(BIN))/python -m bench.mutants

.PHONY: bugs
bugs: $(STAMP) ## Put each bug of docs/contract.md into the operator and see its tests fail (5 minutes)
	@cd tests && $(abspath $(BIN))/python -m bench.faults

.PHONY: requirements
requirements: ## Pin the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/runtime.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra docs pyproject.toml -c requirements/dev.txt -o requirements/docs.txt
	echo hatchling | uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/dev.txt -o requirements/build.txt

.PHONY: clean
clean: ## Remove .venv and caches in this folder; the cluster's binaries stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist site
