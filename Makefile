# The front door. Every target sets up what it needs; `make setup` alone does only that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests of processes wait more than they work: twice as many at a time as there are processors.
JOBS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 1))))

.PHONY: setup demo test lint e2e campaign bench mutants dashboards chart image lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   a simulated foundation: the incident, the alert, the repair (90 s; ARGS='--once --json' unattended)"
	@echo "make test   the tests (ARGS go to pytest)"
	@echo "make lint   linters, types, the house's import contracts"
	@echo "make e2e    the definition, the Roles, the programs and the chart against a real API server (KUBEBUILDER_ASSETS or E2E_KUBECONFIG)"
	@echo "make campaign RUNS=100   what can go wrong, done to real processes, and the guarantees checked"
	@echo "make bench  the measured comparisons"
	@echo "make mutants  small faults that the tests of the verdict and the recogniser must find (an hour and more)"
	@echo "make dashboards  write grafana/dashboards from the Python beside them, and the chart's copies"
	@echo "make chart  copy rules and dashboards into the chart"
	@echo "make image  the container image, by docker (ENGINE=podman: by that)"
	@echo "make setup  only the virtual environment"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(READY)
	@$(BIN)/stager-demo --play $(ARGS)

# The coverage that is asked for is the whole suite's: a part of it (ARGS) is not measured against it.
test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term:skip-covered $(if $(strip $(ARGS)),,--cov-fail-under=90) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process: the API server is started once, and some tests end it.
e2e: $(READY)
	$(BIN)/python -m pytest -n 0 tests/e2e $(ARGS)

campaign: $(READY)
	$(BIN)/python -m tests.campaign --runs $(or $(RUNS),20) $(ARGS)

bench: $(READY)
	$(BIN)/python -m tests.bench $(ARGS)

mutants: $(READY)
	$(BIN)/python -m tests.mutation $(ARGS)

screenshots: $(READY)
	$(BIN)/python -m tests.support.screenshots docs/images
	$(BIN)/python -m tests.support.remediation_screenshots docs/images
	$(BIN)/python -m tests.support.prometheus_screenshots docs/images

dashboards: $(READY)
	$(BIN)/python -m grafana.build
	@$(MAKE) --no-print-directory chart

# Helm reads nothing outside of a chart (its README says why these are no links); a test compares them.
chart:
	cp alerts/rules.yml charts/stager-medic/files/
	cp grafana/dashboards/*.json charts/stager-medic/files/dashboards/

# Docker, Podman or Buildah, whichever ENGINE names.
image:
	$(or $(ENGINE),docker) build --build-arg REVISION="$$(git rev-parse HEAD)" --tag stager-medic .

# Three locks of one set of versions: all that the tests need, what runs in the image, and what builds it.
COMPILE := uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
  --python-version 3.11 --universal

lock:
	$(COMPILE) --extra dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --extra locket --constraint requirements.lock pyproject.toml --output-file requirements-runtime.lock
	$(COMPILE) --group image --constraint requirements.lock --output-file requirements-image.lock

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache
