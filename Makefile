# Two commands matter to a newcomer: `make demo` and `make test`. Each builds its own virtual environment from
# a pinned, hashed lock file and needs only Python (>= 3.11) with its venv module, and make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
FAULT  ?= bad-deploy
JSON   ?=
ROUNDS ?= 5
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test unit integration check format lock schemas bench clean

demo: $(VENV)/.runtime          ## break a real service, watch it be mitigated (FAULT=none: the quiet control)
	$(BIN)/python -m examples.demo --fault $(FAULT)

test: $(VENV)/.dev              ## all tests that this machine can run
	$(BIN)/pytest

unit: $(VENV)/.dev              ## the tests that need no broker, under a minute
	$(BIN)/pytest -m "not integration and not kafka and not golden and not data"

integration: $(VENV)/.dev
	$(BIN)/pytest -m "integration or kafka"

check: $(VENV)/.dev             ## lint, formatting, types, folder rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: $(VENV)/.dev              ## re-pin both lock files (hashes, no addresses)
	cd requirements && UV="../$(BIN)/uv" sh lock.sh

schemas: $(VENV)/.runtime       ## JSON Schema files and the AsyncAPI document
	$(BIN)/reflexarc schemas --out docs/schemas

bench: $(VENV)/.dev .build/peers/.installed  ## beside other engines on Apache Kafka, latency, scale, replays (JSON=FILE, ROUNDS=5)
	$(BIN)/python -m benchmarks --all --docs --rounds $(ROUNDS) $(if $(JSON),--json $(JSON))

clean:
	rm -rf $(VENV) .build

# The stamps make a second run instant and a changed lock rebuild the environment. --no-compile halves the
# first start: Python compiles the few modules it imports, not all of them.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("ReflexArc needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-compile --require-hashes -r requirements/runtime.lock
	$(BIN)/pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	$(BIN)/pip install --quiet --no-compile --require-hashes -r requirements/dev.lock
	@touch $@

# The other engines never share an environment with the product: each pins a Kafka client of its own.
.build/peers/.installed: requirements/peers.lock
	$(PYTHON) -m venv .build/peers
	.build/peers/bin/pip install --quiet --require-hashes -r requirements/peers.lock
	@touch $@
