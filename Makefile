# `make demo` and `make test` need Python 3.11+ with its venv module, which Debian and Ubuntu keep in a package of its
# own, and nothing else; everything is installed into .venv/.
# Variables: PYTHON (interpreter to build on), AIRFLOW (which lock of .ci/locks to install), PYTEST_ARGS,
# FUZZ_SECONDS or FUZZ_COUNT, and FUZZ_SEED.

PYTHON ?= python3
AIRFLOW ?= 3.3
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
VENV := .venv/$(AIRFLOW)
BIN := $(VENV)/bin
AUDIT := .venv/audit
LOCK := .ci/locks/airflow-$(AIRFLOW).txt
LOCKS := $(patsubst .ci/locks/airflow-%.in,%,$(wildcard .ci/locks/airflow-*.in))
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
# Package downloads stay inside the clone unless a shared cache is named.
export UV_CACHE_DIR ?= $(CURDIR)/.cache/uv
export npm_config_cache ?= $(CURDIR)/.cache/npm
CLIENTS := sandbox/tests/clients

.PHONY: help setup demo demo-ui quick quick-tests test restarts executors buckets destinations dbt clients lint types docs coverage newest screenshots bench fuzz fuzz-replies audit matrix dist lock lock-uv clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(VENV)/.ready: $(LOCK) .ci/locks/uv.txt pyproject.toml sandbox/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "Python 3.11 or later is needed; %s is %s. Name one with: make PYTHON=python3.11 ..." % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing Airflow $(AIRFLOW) and the provider into $(VENV) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-cache-dir --require-hashes -r .ci/locks/uv.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r $(LOCK)
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e . -e sandbox
	@touch $@

setup: $(VENV)/.ready ## Install everything into .venv/

demo: setup ## Run the main job against the sandbox and show what happened
	@$(BIN)/python -m dev.demo dags_examples

demo-ui: setup ## Leave Airflow and the sandbox running for a person to click
	@$(BIN)/python -m dev.demo dags_examples --ui

# No Airflow command, browser or database of Airflow is needed by these, and each takes seconds.
QUICK := sandbox/tests tests/unit/bitrix24 $(addprefix tests/contract/test_,architecture.py terms.py public_face.py) \
  $(addprefix tests/unit/test_,decorator.py event_loop.py hook.py hook_copies.py invalid_arguments.py moved_portal.py operating.py \
    operators.py progress.py rate_limiter.py reply_bodies.py retry_policy.py samples.py scenarios.py \
    task_log.py trigger.py undone_writes.py) \
  $(addprefix tests/property/test_,set_bound.py waiting.py rotation.py zones.py)

quick: lint types quick-tests ## Check style and types and run the quick tests (about three minutes)

quick-tests: setup ## Run the quick tests alone, on any PYTHON (VENV=.venv/3.3-py3.13 keeps it apart)
	@$(BIN)/python -m pytest -q -n 2 $(QUICK)

test: setup ## Run all tests
	@$(BIN)/python -m pytest -n 3 $(PYTEST_ARGS)

coverage: setup ## Run the tests that are made in one process; fewer than 93 % of lines and branches are an error
	@$(BIN)/python -m pytest -q -n 2 --cov=airflow_provider_b24cal tests/unit tests/property tests/contract tests/faults $(PYTEST_ARGS)

restarts: setup ## Kill and restart Airflow's processes in the middle of the work, and break the demo off (about ten minutes)
	@B24CAL_TEST_RESTARTS=asked $(BIN)/python -m pytest tests/system/test_restarts.py tests/system/test_demo.py $(PYTEST_ARGS)

executors: ## Run the example DAGs on LocalExecutor and CeleryExecutor too (needs PostgreSQL and Redis)
	@$(MAKE) --no-print-directory setup VENV=.venv/executors LOCK=.ci/locks/executors.txt
	@B24CAL_TEST_EXECUTORS=asked .venv/executors/bin/python -m pytest tests/system/test_executors.py $(PYTEST_ARGS)

buckets: ## Write files of attendance to S3 and GCS too, as moto and an emulator play them
	@$(MAKE) --no-print-directory setup VENV=.venv/buckets LOCK=.ci/locks/buckets.txt
	@.venv/buckets/bin/python -m pytest tests/unit/test_buckets.py $(PYTEST_ARGS)

destinations: ## Load rows into DuckDB with dlt, and read files of attendance with DuckDB, pandas and pyarrow
	@$(MAKE) --no-print-directory setup VENV=.venv/destinations LOCK=.ci/locks/destinations.txt
	@.venv/destinations/bin/python -m pytest -q -n 2 tests/unit/test_dlt.py tests/unit/test_other_databases.py \
	  tests/unit/test_read_files.py $(PYTEST_ARGS)

# Without looking for dependencies: the lock has all, and pip does not find mashumaro[msgpack] in the line of mashumaro.
.venv/dbt/.ready: .ci/locks/dbt.txt
	@$(PYTHON) -m venv --clear .venv/dbt
	@.venv/dbt/bin/python -m pip install -qq --disable-pip-version-check --no-cache-dir --no-deps --require-hashes -r $<
	@touch $@

dbt: setup .venv/dbt/.ready ## Write the dbt files of docs/dbt anew, and let dbt build them (needs PostgreSQL)
	@$(BIN)/python -m dev.dbt_project
	@B24CAL_TEST_DBT=.venv/dbt/bin/dbt $(BIN)/python -m pytest -q tests/unit/test_dbt.py $(PYTEST_ARGS)

$(CLIENTS)/node_modules/.package-lock.json: $(CLIENTS)/package-lock.json
	@npm ci --prefix $(CLIENTS) --loglevel error

clients: setup $(CLIENTS)/node_modules/.package-lock.json ## Let clients that others wrote use the sandbox (needs npm, curl and a Chromium)
	@command -v curl >/dev/null || { echo "curl is not installed" >&2; exit 1; }
	@$(BIN)/python -c 'from tests.system.browser import find_chromium as find; raise SystemExit(find()[1] or 0)'
	@$(BIN)/python -m pytest -q sandbox/tests/test_clients.py sandbox/tests/test_official_sdk.py \
	  tests/system/test_browser_fetch.py $(PYTEST_ARGS)

lint: setup ## Check style, formatting, and the forge's workflows where their checkers install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYTHON=$(PYTHON) .ci/workflows

types: setup ## Check types
	@$(BIN)/python -m mypy
	@$(BIN)/python -m mypy --config-file tests/mypy.ini

docs: setup ## Build the documentation into docs/_build/html, warnings are errors
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

dist: setup ## Build wheels and sdists of both packages into dist/ and check them (RELEASE=1 refuses what is not ready)
	@rm -rf dist
	@test -z "$(RELEASE)" || $(BIN)/python .ci/release.py
	@for source in . sandbox; do $(BIN)/python -m build --no-isolation --outdir dist $$source >/dev/null || exit 1; done
	@$(BIN)/python -m twine check --strict dist/*

# Outside of the clone's folders, so that nothing but what is installed can be imported.
newest: dist ## Install both wheels, extras and the newest of everything into a fresh environment, and run the demo there
	@rm -rf .venv/newest .cache/newest
	@$(PYTHON) -m venv .venv/newest
	@VIRTUAL_ENV=.venv/newest $(BIN)/uv pip install --quiet "$$(ls dist/airflow_provider_b24cal-*.whl)[parquet,redis,sandbox,sql]" \
	  dist/bitrix24_sandbox-*.whl
	@VIRTUAL_ENV=.venv/newest $(BIN)/uv pip check
	@mkdir -p .cache/newest && cp -r dev dags_examples .cache/newest/
	@cd .cache/newest && ../../.venv/newest/bin/python -m dev.demo dags_examples

screenshots: setup ## Make the documentation's pictures anew, and pictures of it in docs/_build (needs a Chromium)
	@$(BIN)/python -m pytest -n 0 -q $(filter-out %_docs.py,$(wildcard tests/system/test_browser_*.py)) --pictures docs/_static
	@mkdir -p docs/_build
	@$(BIN)/python -m pytest -n 0 -q tests/system/test_browser_docs.py --pictures docs/_build

bench: setup ## Run the benchmarks (about half an hour)
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

fuzz: fuzz-replies ## Look for new counterexamples of the properties too (FUZZ_SECONDS=60 or FUZZ_COUNT, FUZZ_SEED=1)
	@B24CAL_TEST_PROPERTIES=searching $(BIN)/python -m pytest -q -n 2 tests/property --hypothesis-seed $(FUZZ_SEED)

fuzz-replies: setup ## Throw random and mutated replies at their reader (the same variables)
	@$(BIN)/python -m tests.fuzz.replies $(if $(FUZZ_COUNT),--count $(FUZZ_COUNT),--seconds $(FUZZ_SECONDS)) --seed $(FUZZ_SEED)

$(AUDIT)/.ready: .ci/locks/audit.txt
	@$(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check --no-cache-dir --require-hashes -r $<
	@touch $@

audit: $(AUDIT)/.ready ## Look the pinned packages up among published vulnerabilities, where that can be done
	@$(AUDIT)/bin/python .ci/audit.py $(AUDIT)/bin/pip-audit .ci/locks/*.txt

matrix: ## Run all tests on every Airflow that has a lock and every Python found that it supports (AIRFLOWS="2.11 3.3" PYTHONS=3.11 for some)
	@PYTHONS="$(PYTHONS)" $(PYTHON) .ci/matrix $(AIRFLOWS)

lock: lock-uv $(LOCKS:%=lock-%) lock-executors lock-destinations lock-buckets lock-dbt ## Resolve the locks anew (lock-3.3 for one of them)

lock-uv: setup
	@$(COMPILE) .ci/locks/uv.in -o .ci/locks/uv.txt
	@$(COMPILE) .ci/locks/audit.in -o .ci/locks/audit.txt
	@$(COMPILE) .ci/locks/zizmor.in -o .ci/locks/zizmor.txt
	@$(COMPILE) .ci/locks/actionlint.in -o .ci/locks/actionlint.txt

# Airflow caps few of its dependencies, and newer ones break its older versions: each lock but the default one
# is resolved as of the day that its .in file names. What is pinned already stays, as far as it fits.
lock-%: setup
	@set -- --group dev; as_of=$$(sed -n 's/^# As of //p' .ci/locks/airflow-$*.in); \
	  test -z "$$as_of" || set -- --group test --exclude-newer "$$as_of"; \
	  $(COMPILE) pyproject.toml sandbox/pyproject.toml "$$@" -c .ci/locks/airflow-$*.in -o .ci/locks/airflow-$*.txt

lock-executors lock-destinations: lock-%: lock-3.3
	@$(COMPILE) pyproject.toml sandbox/pyproject.toml .ci/locks/$*.in --group test -c .ci/locks/airflow-3.3.txt \
	  -o .ci/locks/$*.txt

lock-dbt: setup
	@$(COMPILE) .ci/locks/dbt.in -o .ci/locks/dbt.txt

lock-buckets: setup
	@$(filter-out --universal,$(COMPILE)) pyproject.toml sandbox/pyproject.toml .ci/locks/buckets.in --group test \
	  -o .ci/locks/buckets.txt

clean: ## Remove everything that make has made
	@rm -rf .venv .cache dist docs/_build $(CLIENTS)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
