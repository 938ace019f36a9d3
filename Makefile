# Works with uv if it is on the PATH, else with venv and pip. Everything is installed into .venv, from the lock files.
# VENV=.venv-newest PYTHON=newest is another environment beside it, on the newest Python that is found.
.DEFAULT_GOAL := help
.PHONY: help setup serve test test-core test-long test-faults test-cluster test-clients test-image smoke dist sbom audit check check-alerts openapi recording format bench soak lock clean
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
# The tools of a release, which have nothing in common with the rest.
RELEASE := .venv-release
# Each file whole on one of the processes, which start servers of their own, and in order of name: by number of tests,
# the files with few tests, which take long, would be the last. There are two more processes than cores, up to four,
# because many tests wait for a process that they have started.
PARALLEL := -n $(shell n=$$(( $$(nproc 2>/dev/null || echo 2) + 2 )); echo $$(( n > 4 ? 4 : n ))) --dist loadfile --no-loadscope-reorder
PYTHON ?= python3 python3.11 python3.12 python3.13 python3.14

# What `make test-long` draws its random inputs from; `make test` always uses the same ones.
SEED := $(or $(SEED),$(shell od -An -N3 -tu4 /dev/urandom | tr -d ' '))

# The tests start hundreds of processes. Where this is set, as some containers do, each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# Run it rather than look for it: what a version switcher puts on the PATH may be there and yet fail.
UV := $(shell uv --version 2>/dev/null)
ifdef UV
installer := uv
needed := sys
create = uv venv --quiet --python $(1) $(VENV)
install := uv pip install --quiet --python $(BIN)/python
else
installer := pip
needed := sys, venv, ensurepip
create = $(1) -m venv $(VENV)
# Python compiles what is imported; compiling everything beforehand is a quarter of the installation.
install := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
endif

# PYTHON=newest: of those on the PATH, and those that pyenv keeps beside it, the newest that can make an environment.
ifeq ($(PYTHON),newest)
found := python3.14 python3.13 python3.12 python3.11 $(wildcard $(HOME)/.pyenv/versions/3.1[1-9]*/bin/python3)
override PYTHON := $(shell for python in $(found); do \
	$$python -c 'import $(needed); print(*sys.version_info[:3], sep=".", end=" "); print(sys.executable)' 2>/dev/null; \
	done | sort --version-sort | tail --lines 1 | cut --delimiter ' ' --fields 2)
endif

# Installed scripts name the folder that they were made in: a clone that was moved or copied installs afresh.
$(shell [ -x $(BIN)/python ] && grep -qsxF "$$(pwd)" $(VENV)/place || rm -f $(VENV)/*.installed $(BIN)/python)

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/dev.installed ## install everything, run nothing
	@:

serve: $(VENV)/runtime.installed ## run the server on http://127.0.0.1:8000, with SQLite unless HANDOVER_DATABASE_URL says otherwise
	@exec $(BIN)/handover serve

test: $(VENV)/dev.installed ## run all tests on all engines; ENGINES="memory sqlite" narrows them
	@ENGINES="$(ENGINES)" SEED= EXAMPLES= $(BIN)/pytest $(PARALLEL)

test-long: $(VENV)/dev.installed ## try many new random inputs for minutes; SEED repeats a run, ENGINES as for test
	@echo "Random inputs from seed $(SEED); to repeat this run: make test-long SEED=$(SEED)"
	@ENGINES="$(ENGINES)" SEED=$(SEED) EXAMPLES=100 $(BIN)/pytest --hypothesis-profile=long --hypothesis-seed=$(SEED) \
		tests/contracts/comparison tests/http/resources/test_pages.py tests/http/documentation/test_fuzzing.py tests/cli/test_killed_parents.py

test-faults: $(VENV)/dev.installed ## record what many clients see on every engine, and cause many faults of all kinds, for minutes; SEEDS="1 2 3"
	@FAULTS=full OPERATIONS=300 SEEDS="$(or $(SEEDS),1 2 3)" ENGINES="$(ENGINES)" $(BIN)/pytest tests/cli/test_histories.py tests/faults \
		tests/cli/serving/test_lost_logs.py tests/deployment/test_nginx.py

test-cluster: $(VENV)/dev.installed ## run through PgBouncer, and on servers that Patroni replaces (needs Debian's patroni, etcd-server, haproxy, pgbouncer)
	@$(BIN)/pytest tests/cluster/through_pgbouncer.py tests/cluster/through_patroni.py

test-clients: $(VENV)/runtime.installed ## generate clients from openapi.json, compile and use them (needs node and npm)
	@$(BIN)/python tests/clients/run.py

check: $(VENV)/dev.installed ## format, lint, types, import rules and the fast tests
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test-core

check-alerts: ## check the alert rules and run their unit tests (needs promtool, which comes with Prometheus)
	@command -v promtool > /dev/null || { echo "make check-alerts needs promtool on the PATH: it comes with Prometheus." >&2; exit 1; }
	@cd deploy/observability && promtool check rules alerts.yml && promtool check config --syntax-only prometheus.yml && \
		promtool test rules alerts.test.yml

test-core: $(VENV)/dev.installed ## run the fast tests, those of the rules and use cases
	@ENGINES=memory $(BIN)/pytest tests/domain tests/application

smoke: $(VENV)/dev.installed ## build the wheel, install it in an empty environment, and hand an item over
	@$(BIN)/python tests/package/smoke.py

dist: $(VENV)/dev.installed $(RELEASE)/installed ## build a wheel and a source distribution, and try both in empty environments, for minutes
	@rm -rf dist
	@$(BIN)/python -m hatchling build --directory dist
	@$(RELEASE)/bin/twine check --strict dist/*
	@$(BIN)/python tests/package/smoke.py dist/*

sbom: $(RELEASE)/installed ## write what a server is made of to build/sbom.json (CycloneDX), from its lock file
	@mkdir -p build
	@PYTHONWARNINGS=ignore $(RELEASE)/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --output-file build/sbom.json requirements.lock
	@echo "Written to build/sbom.json"

audit: $(RELEASE)/installed ## ask for known vulnerabilities of all packages in the lock files (needs the network)
	@$(BIN)/python tests/package/audit.py $(RELEASE)/bin/pip-audit

test-image: $(VENV)/dev.installed ## build the image, run it read-only and hand an item over (needs docker or podman)
	@$(BIN)/python tests/package/image.py

openapi: $(VENV)/runtime.installed ## write the API's document to openapi.json
	@$(BIN)/handover openapi > openapi.json

recording: $(VENV)/dev.installed ## draw the terminal of the README, docs/recording.svg, from a run of its commands
	@PYTHONPATH=. $(BIN)/python scripts/record.py

format: $(VENV)/dev.installed ## format the code, and mend what the linter can
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: $(VENV)/bench.installed ## measure it beside its peers, with wrk; ENGINE=sqlite or mongodb; WHAT=scale, workers, adapters, environments, servers or rest instead
	@PYTHONPATH=. $(BIN)/python -m bench $(or $(WHAT),compare) $(if $(ENGINE),--engine $(ENGINE)) $(OPTIONS)

soak: $(VENV)/bench.installed ## serve a steady load for MINUTES=30 and see whether anything grows; ENGINE=memory, sqlite, postgresql or mongodb, RATE=50
	@PYTHONPATH=. $(BIN)/python -m bench soak --engine $(or $(ENGINE),sqlite) --minutes $(or $(MINUTES),30) --rate $(or $(RATE),50)

lock: $(BIN)/python ## lock the newest packages that go together (needs uv)
	@uv --version >/dev/null 2>&1 || { echo "make lock needs uv on the PATH: install it with 'pip install uv'." >&2; exit 1; }
	@$(call compile,requirements.lock) pyproject.toml --extra mongodb --group build
	@$(call compile,requirements-dev.lock) pyproject.toml --all-extras --group build --group dev --constraint requirements.lock
	@$(call compile,requirements-clients.lock) --group pyproject.toml:clients
	@$(call compile,requirements-bench.lock) --group pyproject.toml:bench --constraint requirements-dev.lock
	@$(call compile,requirements-release.lock) --group pyproject.toml:release

clean: ## remove the environment and all caches, but no data
	@rm -rf .venv .venv-newest .venv-release build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is told the interpreter, or it may download one; --no-emit-index-url, so that a lock file names no host.
compile = echo "Locking $(1) ..."; uv pip compile --quiet --python $(BIN)/python --universal --python-version 3.11 --upgrade \
	--generate-hashes --no-emit-index-url --no-header --output-file $(1)

$(BIN)/python:
	@for name in $(PYTHON); do \
		python=$$($$name -c 'import $(needed); assert sys.version_info >= (3, 11); print(sys.executable)' 2>/dev/null) && break; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Handover needs Python 3.11 or newer with its venv module; tried: $(PYTHON)." >&2; exit 1; \
	fi; \
	rm -rf $(VENV); \
	$(call create,"$$python")

# The environment of development holds that of the server too, at the same versions.
$(VENV)/dev.installed: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(call installed,development environment)
	@touch $(VENV)/runtime.installed

# On top of the environment of development.
$(VENV)/bench.installed: requirements-bench.lock $(VENV)/dev.installed
	@echo "Installing what measuring needs from $< with $(installer) ..."
	@$(install) --require-hashes -r $<
	@touch $@

$(RELEASE)/installed: requirements-release.lock | $(BIN)/python
	@echo "Installing the tools of a release from $< ..."
	@rm -rf $(RELEASE)
	@$(BIN)/python -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/runtime.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(call installed,server)

# No build isolation: that would fetch a build backend anew, past the lock file.
define installed
	@echo "Installing the $(1) from $< with $(installer) ..."
	@[ -n "$(UV)" ] || $(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip >/dev/null
	@$(install) --require-hashes -r $<
	@$(install) --no-deps --no-build-isolation -e .
	@pwd > $(VENV)/place
	@touch $@
endef
