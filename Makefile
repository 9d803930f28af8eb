.PHONY: setup demo test test-bigquery ui check docs bench lock

BIN := .venv/bin
READY := .venv/.ready
PYTHON ?= python3
export DAGSTER_HOME ?= $(CURDIR)/var/dagster

demo: setup ## import the example CRM through Dagster into DuckDB, and show the tables
	@$(BIN)/python -m feed_assets.demo

ui: setup ## the same, and the Dagster UI with schedules and sensors on
	@$(BIN)/python -m feed_assets.demo ui

test: setup ## every test
	$(BIN)/pytest -n 2 --dist loadgroup

test-bigquery: setup ## what both warehouses promise, on a real project: PROJECT=my-project
	FEED_ASSETS_TEST_PROJECT=$(PROJECT) $(BIN)/pytest feed_assets_tests/warehouse -k bigquery

check: setup ## lint, format, types, definitions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/dg check defs

docs: setup ## write docs/attributes.md anew
	$(BIN)/python -m feed_assets_tests.docs.attributes

bench: setup ## measure; PEERS names a Python that has what is compared with
	@mkdir -p var/bench
	$(BIN)/python -m bench.engine var/bench $(if $(PEERS),--polars $(PEERS))
	$(BIN)/python -m bench.memory var/bench
	$(BIN)/python -m bench.history var/bench
	$(BIN)/python -m bench.downloads var/bench
	$(BIN)/python -m bench.backfill var/bench
	$(BIN)/python -m bench.loading var/bench
	$(BIN)/python -m bench.imports var/bench $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python -m bench.exactness var/bench $(if $(PEERS),--peers $(PEERS))

setup: $(READY) $(DAGSTER_HOME)/dagster.yaml ## a .venv with the pinned versions; nothing, the second time

$(READY): requirements.lock pyproject.toml
	@echo "Setting up .venv ..."
	@$(PYTHON) -m venv .venv
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock \
		|| $(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DAGSTER_HOME)/dagster.yaml:
	@mkdir -p $(@D)
	@printf '%s\n' 'telemetry: {enabled: false}' 'nux: {enabled: false}' \
		'concurrency: {pools: {default_limit: 1, granularity: op}}  # one run at a time of each feed' \
		'run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 60}' > $@

lock: ## pins anew what pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --group dev --extra production pyproject.toml --output-file requirements.lock
