# Everything a checkout can do. Each target sets up what it needs and says what is missing.
SHELL := /bin/sh
BIN := .venv/bin
RESULTS := --junitxml=.cache/results
.DEFAULT_GOAL := help
.PHONY: help setup demo test faults chaos security judges fuzz determinism conformance lint up down clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf '%-14s %s\n' "$$target" "$$text"; done

setup: ## Install everything for development: .venv, Kafka's jars, Redis
	@sh ops/setup/setup.sh dev

demo: ## Run the whole pipeline once on the bundled data and prove the result
	@sh ops/setup/setup.sh worker
	@$(BIN)/bkdms demo

test: setup lint ## Lint, types, import contracts, all tests on a real Kafka and Redis
	$(BIN)/pytest -n auto $(RESULTS)/pure.xml tests/unit tests/property
	$(BIN)/pytest -n 2 --dist loadfile $(RESULTS)/real.xml tests/integration

faults: setup ## Kill every part in whole runs: nothing may be lost, doubled, altered or leaked
	$(BIN)/pytest -m faults $(RESULTS)/whole.xml tests/e2e
	$(BIN)/pytest -m faults -n 2 --dist loadfile $(RESULTS)/faults.xml tests/integration tests/unit tests/property

chaos: setup ## Break parts of a running stack, fixed rounds: nothing may be lost, doubled or altered
	@rm -f .cache/chaos.jsonl
	$(BIN)/bkdms chaos run --seed 4907 --rounds 6 --results .cache/chaos.jsonl \
		--faults kill.kafka,stop.quorum,redis.wiped,step.sign,step.forget,disk.error.node

security: setup ## Attack a running stack of our own, and print what was tried, expected and seen
	$(BIN)/pytest -m security $(RESULTS)/security.xml tests/security

judges: setup ## Let programs of others, built with Go, judge what we export
	$(BIN)/pytest -m judges $(RESULTS)/judges.xml tests/judges

fuzz: setup ## Try all readers on damaged and made-up bytes, guided by coverage, for some minutes
	$(BIN)/python -m tests.fuzz --seconds 5

determinism: setup ## Derive the same bytes under a newer Python, other hash seeds, time zones and locales, and after any fault
	@sh ops/setup/newer_python.sh
	$(BIN)/python -m tests.determinism.run
	.venv-newer/bin/pytest -n auto -p no:cacheprovider tests/unit/test_core_*.py tests/unit/test_*vectors.py tests/property/test_core_*.py
	$(BIN)/pytest -n auto --hypothesis-profile=thorough --timeout=3600 \
		tests/property/test_node_faults.py tests/property/test_consumer_faults.py

conformance: setup ## Write docs/conformance.md with the last results of test, faults and judges
	$(BIN)/python -m ops.conformance

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

up: ## Keep the stack running for exploring
	@sh ops/setup/setup.sh worker
	@$(BIN)/bkdms up

down: ## Stop what `make up` started
	@$(BIN)/bkdms down

clean: ## Remove the environment, Kafka's jars and all caches; data folders stay
	rm -rf .venv .venv-newer .cache dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
