.PHONY: setup demo ui dev test test-unit test-bigquery test-contract check docs bench lock

BIN := .venv/bin
DAGSTER_HOME ?= $(CURDIR)/var/dagster
export DAGSTER_HOME
unexport PYTHONDONTWRITEBYTECODE # or each process compiles thousands of modules, for seconds

demo: setup ## import the example CRM through Dagster into DuckDB, and show the tables
	@$(BIN)/python -m feed_assets.demo

ui: setup ## the same, and the example in the Dagster UI
	@$(BIN)/python -m feed_assets.demo ui

dev: setup ## the Dagster UI with your own feeds; PORT=3001, say
	@$(BIN)/dg dev $(if $(PORT),--port $(PORT))

test: setup ## every test; the first time, installs a browser and compiles the SQL analyzer
	@$(BIN)/python -m feed_assets_tests.support.dagster.browser
	@$(BIN)/python -m feed_assets_tests.support.bigquery.zetasql_module
	$(BIN)/pytest -n 2 --dist loadgroup

test-unit: setup ## the tests that start no process, no emulator and no Dagster
	$(BIN)/pytest -n 2 -p feed_assets_tests.support.unit_layer -m "not process" feed_assets_tests/unit

test-bigquery: setup ## the first hour on a real project: PROJECT=my-project, and BUCKET, POLICY_TAG
	@$(BIN)/python -m feed_assets_tests.first_hour $(PROJECT) \
		$(if $(LOCATION),--location $(LOCATION)) $(if $(DATASET),--dataset $(DATASET)) \
		$(if $(BUCKET),--bucket $(BUCKET)) $(if $(POLICY_TAG),--policy-tag $(POLICY_TAG))

test-contract: setup ## what both warehouses promise, on a real project: PROJECT=my-project
	FEED_ASSETS_TEST_PROJECT=$(PROJECT) $(BIN)/pytest feed_assets_tests/warehouses -k bigquery

check: setup ## lint, format, types, definitions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/dg check defs

docs: setup ## write docs/attributes.md anew
	$(BIN)/python -m feed_assets_tests.system.docs.attributes

bench: setup ## measure; PEERS names a Python that has what is compared with
	@mkdir -p var/bench
	$(BIN)/python -m bench.engine var/bench $(if $(PEERS),--polars $(PEERS))
	$(BIN)/python -m bench.memory var/bench
	$(BIN)/python -m bench.cliffs var/bench
	$(BIN)/python -m bench.history var/bench
	$(BIN)/python -m bench.downloads var/bench
	$(BIN)/python -m bench.backfill var/bench
	$(BIN)/python -m bench.loading var/bench
	$(BIN)/python -m bench.latency var/bench $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python -m bench.imports var/bench $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python -m bench.exactness var/bench $(if $(PEERS),--peers $(PEERS))

setup: ## a .venv with the pinned packages; the second time, nothing
	@sh setup.sh

lock: ## pins anew what pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --group dev --all-extras pyproject.toml --output-file requirements.lock
