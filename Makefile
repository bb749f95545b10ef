# Every target makes .venv by itself. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGE := $(VENV)/.package
STAMP := $(VENV)/.installed

.PHONY: help reference docs demo test test-fast faults messages lint format bench bench-durable bench-imports bench-admin bench-provenance bench-prune bench-requests bench-shards bench-watchers bench-peers picture screenshots clean

help:
	@echo "make demo     crawl the standard library's documentation: one thread, then fifty"
	@echo "make test     the whole suite, on SQLite and on PostgreSQL where there is one"
	@echo "make lint     style, types and import contracts"
	@echo "make reference   the rows about bounds in docs/, from the table in the code"
	@echo "make docs     the pages as a site, into site/; a link that leads nowhere fails"
	@echo "make messages  the texts of the admin into async_commander/locale/, for translators, and compiled"
	@echo "make bench    the contenders side by side, into benchmarks/RESULTS.md"
	@echo "make bench-durable   items that do nothing, and upserts, beside bulk_create"
	@echo "make bench-imports   a million rows of a CSV file, beside django-import-export and a loop by hand"
	@echo "make bench-provenance   recording which run wrote which object, beside two ways by hand"
	@echo "make bench-watchers   a hundred clients watch one run, by one look for all or a query for each"
	@echo "make bench-peers   the job as a plain command, as Celery tasks and as a Scrapy spider"
	@echo "make bench-requests   what a small run in a view costs the event loop that others share"
	@echo "make bench-prune   a million old rows removed beside a run"
	@echo "make bench-shards   one run on one process and in shards, and what fifty workers ask of the database"
	@echo "make faults   the fault tests at their nightly counts"
	@echo "make bench-admin   what the admin's pages ask of a database with ten million rows in its ledger"
	@echo "make picture   the README's picture: a run of the demo in the admin, by a headless Chromium"
	@echo "make screenshots   the admin's pages in a headless Chromium, checked by axe-core, into docs/images/"

$(PACKAGE): pyproject.toml
	@echo "Installing async_commander into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(STAMP): $(PACKAGE)
	@echo "Installing what tests and lint need; that takes a minute or two ..."
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

reference: $(STAMP)
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m tests.project.reference

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "$(BIN)/python -m http.server --directory site --bind 127.0.0.1 8080   shows it, with its search"

messages: $(STAMP)
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m tests.project.messages

demo: $(PACKAGE)
	$(BIN)/python examples/library/demo.py

test: $(STAMP)
	$(BIN)/python -m tests.run

test-fast: $(STAMP)
	$(BIN)/python -m pytest tests/unit tests/integration

faults: $(STAMP)
	FAULTS=night $(BIN)/python -m pytest tests/faults --timeout 3600
	DATABASE=postgres FAULTS=night $(BIN)/python -m pytest tests/faults --timeout 3600

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-durable: $(STAMP)
	$(BIN)/python -m benchmarks.durable --database sqlite
	$(BIN)/python -m benchmarks.durable --database postgres

bench-imports: $(STAMP)
	$(BIN)/python -m benchmarks.imports --database sqlite
	$(BIN)/python -m benchmarks.imports --database postgres

bench-provenance: $(STAMP)
	$(BIN)/python -m benchmarks.provenance --database sqlite
	$(BIN)/python -m benchmarks.provenance --database postgres

bench-watchers: $(STAMP)
	$(BIN)/python -m benchmarks.watchers --database sqlite
	$(BIN)/python -m benchmarks.watchers --database postgres

bench-peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --group peers
	$(BIN)/python -m benchmarks.peers

bench-requests: $(STAMP)
	$(BIN)/python -m benchmarks.requests --database sqlite
	$(BIN)/python -m benchmarks.requests --database postgres

bench-prune: $(STAMP)
	$(BIN)/python -m benchmarks.prune --database sqlite
	$(BIN)/python -m benchmarks.prune --database postgres

bench-shards: $(STAMP)
	$(BIN)/python -m benchmarks.shards --database postgres
	$(BIN)/python -m benchmarks.shards --database sqlite --workers 0

bench-admin: $(STAMP)
	$(BIN)/python -m benchmarks.admin --database sqlite
	$(BIN)/python -m benchmarks.admin --database postgres

picture: $(STAMP)
	$(BIN)/python -m pip install --quiet --group browser
	$(BIN)/python examples/library/picture.py docs/images/demo.png

screenshots: $(STAMP)
	$(BIN)/python -m pip install --quiet --group browser
	rm -rf .axe && mkdir .axe && cd .axe && npm pack --silent axe-core && tar xzf axe-core-*.tgz
	AXE=.axe/package/axe.min.js IMAGES=docs/images $(BIN)/python -m pytest tests/browser --ds tests.browser.settings

clean:
	rm -rf $(VENV) site .axe .mypy_cache .ruff_cache .pytest_cache .hypothesis
