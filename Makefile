# Everything a user needs: python3 and make. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
KEEP ?=
SEED ?= 1
MINUTES ?= 3
PROFILE ?= single
# Most tests wait for processes; files with few tests are not always the short ones.
PYTEST := -n 3 --dist loadfile --no-loadscope-reorder

# Without compiled files every process would compile its libraries anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test chaos ingest-chaos sinks-chaos bench check format schemas docs alerts-test lock wheelhouse compose-demo compose-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python

# The stamp is newer than the lock exactly when the environment holds what the lock names. pip installs uv, uv the rest;
# where uv cannot reach the package index (it does not read pip's configuration), pip does it all.
$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installing into $(VENV) (first time only)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=..."; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@awk '/^uv==/ {p = 1} p {print; if (!/\\$$/) exit}' requirements.lock > $(VENV)/uv.lock
	@$(PIP) --require-hashes -r $(VENV)/uv.lock
	@$(UV) --require-hashes -r requirements.lock || $(PIP) --require-hashes -r requirements.lock
	@$(UV) --no-deps --no-build-isolation --editable .
	@touch $@

run: $(VENV)/.installed ## the whole pipeline on a real Kafka: a scripted office day, then a ledger (KEEP=1 leaves it up)
	@$(BIN)/tradewind demo $(if $(KEEP),--keep)

test: $(VENV)/.installed ## unit, contract and end-to-end tests (ARGS="-k ...")
	@$(BIN)/python -m pytest $(PYTEST) $(ARGS)

chaos: $(VENV)/.installed ## kill, freeze, stall and cut under load, then compare with an oracle; then sinks-chaos (SEED= MINUTES= PROFILE=single|cluster)
	@$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES) --profile $(PROFILE)
	@$(BIN)/python -m tests.sinks_chaos --seed $(SEED) --store sqlite
	@$(BIN)/python -m tests.sinks_chaos --seed $(SEED) --store postgres

ingest-chaos: $(VENV)/.installed ## kill, mute and fill up what ingest needs, then compare the raw log with what was answered (SEED=)
	@$(BIN)/python -m tests.ingest_chaos --seed $(SEED) $(ARGS)

sinks-chaos: $(VENV)/.installed ## kill sinks, fail ServiceTrade and subscribers, lock accounts out, then compare (SEED= ARGS="--store postgres")
	@$(BIN)/python -m tests.sinks_chaos --seed $(SEED) $(ARGS)

bench: $(VENV)/.installed ## speed, memory, delay and restore, side by side with peers (forty minutes; ARGS="--help")
	@$(BIN)/python -m bench $(ARGS)

check: $(VENV)/.installed ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.installed ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

schemas: $(VENV)/.installed ## write schemas/json and schemas/asyncapi.yaml anew from the dataclasses
	@$(BIN)/python -m schemas.generate

docs: $(VENV)/.installed ## write docs/metrics.md and the Grafana dashboard anew from runtime/metrics.py
	@$(BIN)/python -m runtime.metrics_docs

alerts-test: ## the alert rules against promtool (of Debian's package prometheus): a firing and a quiet case each
	@cd deploy && promtool check config prometheus.yml && promtool check rules alerts.yml && promtool test rules alerts.test.yml

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate

lock: $(VENV)/.installed ## resolve requirements.lock, and what the image takes of it, anew
	@$(LOCK) --group dev -o requirements.lock pyproject.toml
	@$(LOCK) -c requirements.lock --excludes deploy/image.excludes -o deploy/image.lock pyproject.toml
	@echo hatchling | $(LOCK) -c requirements.lock -o deploy/build.lock -

wheelhouse: $(VENV)/.installed ## fetch the image's wheels, for a build without a network (PIP_NO_INDEX=1)
	@cat deploy/build.lock deploy/image.lock > $(VENV)/wheelhouse.lock
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--dest deploy/wheelhouse --requirement $(VENV)/wheelhouse.lock

COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

DEMO = $(COMPOSE) --env-file deploy/demo/compose.env

compose-demo: ## the containers of docker-compose.yml in front of a simulated ServiceTrade: an office day, then a ledger
	@deploy/make-secrets.sh --demo deploy/demo/secrets
	@$(DEMO) build
	@$(DEMO) up --detach
	@$(DEMO) logs --follow --no-log-prefix day
	@exit $$(docker inspect --format '{{.State.ExitCode}}' $$($(DEMO) ps --all --quiet day))

compose-test: $(VENV)/.installed ## on a Docker Engine: bring all up, kill each service, scale, restart Kafka; lost 0 (ARGS="--help")
	@$(BIN)/python -m tests.compose $(ARGS)

clean: ## remove the environment and all local data
	@rm -rf $(VENV) .tradewind .pytest_cache .mypy_cache .ruff_cache .hypothesis
