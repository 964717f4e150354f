# `make` lists what there is to do. Works with GNU make 3.81 (macOS) and newer.

VENV = .venv
PORT = 8787
BIN = $(VENV)/bin

.PHONY: help item-fixtures run test stack sam-local races model engine faults garbage fuzz-api fuzz-parser lean bench peers bench-peers bench-sweep bench-scale browser screenshots clients lint format requirements openapi licences audit build sbom clean setup

help:
	@echo 'make run           serve Ratchet on http://127.0.0.1:$(PORT) until Ctrl-C'
	@echo '                   PORT=9000 another port; KEEP=1 keep the state; VERBOSE=1 show the log lines;'
	@echo '                   CLAIMS=claims.py a function of yours that adds claims'
	@echo 'make test          run the tests; ARGS="-k refresh -x" goes to pytest'
	@echo 'make stack         build with sam build, deploy into the emulator with sam deploy, test that; ARGS='
	@echo '                   SERVE=1 leaves it deployed until Ctrl-C instead; needs python3.13 (PYTHON313=)'
	@echo 'make sam-local     write what `sam local` needs of a running `make run` (docs/local.md)'
	@echo 'make races         race for the same session from 8 processes; ROUNDS=3000 SEED='
	@echo 'make engine        the store and rotation suites and the races on another DynamoDB; ENDPOINT=http://...'
	@echo 'make faults        no fault, kill or outage signs anyone out; SEED='
	@echo 'make garbage       no refresh token that is none costs anything or breaks anything; COUNT=200000 SEED='
	@echo 'make fuzz-api      every answer is one that docs/openapi.yaml describes; EXAMPLES=200 SEED='
	@echo 'make fuzz-parser   let Atheris look for a hole in the parser; SECONDS=60 SEED='
	@echo 'make model         play rotation against a model, check its specification with Spin; EXAMPLES=2000 SEED='
	@echo 'make lean          refreshes, faults and kills once more, with the lean transport'
	@echo 'make bench         what docs/performance.md says, measured on this machine; ONLY=warm QUICK=1'
	@echo 'make bench-peers   Ratchet beside other token services, for as long as you like; ARGS="--rounds 20"; needs Node.js, npm'
	@echo 'make bench-sweep   what a sweep costs in a small and in a large table; SESSIONS=1000000 DUE=10000 ROUNDS=5 SEED='
	@echo 'make bench-scale   what so many sessions cost and where the limits lie, simulated; OPTIONS=--help'
	@echo 'make browser       the module for pages and the session page, in Chromium; needs chromium, Node.js 20, npm'
	@echo 'make screenshots   take the pictures of docs/sessions-page.md anew'
	@echo 'make clients       ratchet_client in 50 processes at once, lost answers, an outage, kills; PROCESSES= SEED='
	@echo 'make item-fixtures write the items of a new schema version (docs/upgrading.md); VERSION=v2'
	@echo 'make lint          ruff, mypy and cfn-lint; looks for secrets'
	@echo 'make format        let ruff put the code in order'
	@echo 'make openapi       make what GET /openapi.json serves of docs/openapi.yaml'
	@echo 'make requirements  pin the dependencies again; UPGRADE=1 takes the newest versions'
	@echo 'make audit         ask PyPI which of the pinned dependencies have known vulnerabilities'
	@echo 'make build         sam build, and what the built layers hold (CycloneDX) in .aws-sam/sbom'
	@echo 'make licences      make docs/licences.md of what the layers ship'
	@echo 'make clean         remove what all of these leave behind, kept state included'
	@echo
	@echo 'They set up $(VENV) when needed. PYTHON=... chooses the interpreter, VENV=... another place.'

run: setup
	@exec $(BIN)/ratchet local --port $(PORT) $(if $(filter-out 0,$(KEEP)),--keep) $(if $(filter-out 0,$(VERBOSE)),--verbose) $(if $(CLAIMS),--parameter 'ClaimsFunction=$(CLAIMS)')

test: setup
	@$(BIN)/pytest $(ARGS)

stack: setup
	@PYTHON313='$(PYTHON313)' scripts/sam.sh
	@exec $(BIN)/python -m tests.deployed $(if $(filter-out 0,$(SERVE)),--serve,$(ARGS))

sam-local: setup
	@$(BIN)/python scripts/sam_local.py

races: setup
	@$(BIN)/python -m tests.engine.races --rounds $(or $(ROUNDS),3000) $(if $(SEED),--seed $(SEED))

STORE = refresh capacity faults sweep sessions revoke
engine: setup
	@test -n '$(ENDPOINT)' || { echo 'Name it: make engine ENDPOINT=http://127.0.0.1:8000'; exit 2; }
	@RATCHET_TEST_ENDPOINT='$(ENDPOINT)' $(BIN)/pytest $(STORE:%=tests/functional/test_%.py) $(ARGS)
	@$(BIN)/python -m tests.engine.races --endpoint '$(ENDPOINT)' --rounds $(or $(ROUNDS),300) $(if $(SEED),--seed $(SEED))

faults: setup
	@$(BIN)/python -m tests.engine.faults $(if $(SEED),--seed $(SEED))

garbage: setup
	@$(BIN)/python -m tests.engine.garbage --count $(or $(COUNT),200000) $(if $(SEED),--seed $(SEED))

fuzz-api: setup
	@$(BIN)/python -m tests.engine.fuzz_api --examples $(or $(EXAMPLES),200) $(if $(SEED),--seed $(SEED))

# Not among the pinned dependencies: on macOS and on arm64 there are no wheels for every Python.
fuzz-parser: setup
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet atheris
	@$(BIN)/python -m tests.engine.fuzz_parser -max_total_time=$(or $(SECONDS),60) $(if $(SEED),-seed=$(SEED))

# What a refresh promises, kept without the SDK, too.
LEAN = $(LEAN_SUITES:%=tests/functional/test_%.py)
LEAN_SUITES = refresh capacity faults throttling reuse
lean: setup
	@RATCHET_TEST_TRANSPORT=lean $(BIN)/pytest $(LEAN) tests/engine/test_faults_everywhere.py $(ARGS)

# Writes bench/results, and with them the tables and pictures of docs/performance.md.
bench: setup $(if $(filter-out side_by_side,$(ONLY)),,peers)
	@npm ci --prefix bench --ignore-scripts --no-audit --no-fund --silent
	@$(BIN)/python -m bench $(ONLY) $(if $(filter-out 0,$(QUICK)),--quick)

# What Ratchet is compared with, in environments of its own.
PEERS = bench/peers
peers: setup
	@npm ci --prefix bench --ignore-scripts --no-audit --no-fund --silent
	@npm ci --prefix $(PEERS) --ignore-scripts --no-audit --no-fund --silent
	@test -x $(PEERS)/.venv-python/bin/python || $(BIN)/python -m venv $(PEERS)/.venv-python
	@$(PEERS)/.venv-python/bin/python -m pip install --disable-pip-version-check --quiet \
	  --require-hashes --requirement $(PEERS)/requirements.txt

bench-peers: peers
	@$(BIN)/python -m bench.side_by_side $(ARGS)

# To a file of its own: what is kept in bench/results is what the pages quote.
bench-sweep: setup
	@npm ci --prefix bench --ignore-scripts --no-audit --no-fund --silent
	@$(BIN)/python -m bench.sweep --sessions $(or $(SESSIONS),1000000) --due $(or $(DUE),10000) \
	  --rounds $(or $(ROUNDS),5) $(if $(SEED),--seed $(SEED)) --result $(or $(RESULT),bench/results/sweep.json)

# A simulation: no table, no AWS. OPTIONS='--refreshes-a-day 24 --preset native' prints yours.
bench-scale: setup
	@$(BIN)/python -m bench.scale $(or $(OPTIONS),--result bench/results/scale.json --page)

browser: setup
	@npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --silent
	@$(BIN)/pytest tests/browser $(ARGS)

screenshots: setup
	@npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --silent
	@$(BIN)/python -m tests.browser.screenshots

clients: setup
	@$(BIN)/python -m tests.clients.numbers --processes $(or $(PROCESSES),50) $(if $(SEED),--seed $(SEED))

# Never again for a version that has been released: docs/upgrading.md, "Changing an item".
item-fixtures: setup
	@test -n '$(VERSION)' || { echo 'Name it: make item-fixtures VERSION=v2'; exit 2; }
	@ITEM_FIXTURES='$(VERSION)' $(BIN)/pytest tests/functional/test_upgrades.py -k shape -q
	@test -e tests/fixtures/items/$(VERSION)/others/secrets.json || \
	  echo "Add tests/fixtures/items/$(VERSION)/others/secrets.json by hand, from the version before."

model: setup
	@$(BIN)/python -m tests.engine.model --examples $(or $(EXAMPLES),2000) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.engine.spin

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint --include-checks I --regions ALL_REGIONS -- template.yaml
	$(BIN)/python scripts/find_secrets.py

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# docs/ is not deployed, and the functions have no YAML.
openapi: setup
	@$(BIN)/python -c 'import json, sys, yaml; \
	  json.dump(yaml.safe_load(sys.stdin), sys.stdout, indent=1); print()' \
	  <docs/openapi.yaml >layers/ratchet/ratchet/openapi.json

COMPILE = UV_CUSTOM_COMPILE_COMMAND='make requirements' $(BIN)/uv pip compile --quiet \
	--no-python-downloads --generate-hashes $(if $(UPGRADE),--upgrade)

# The Lambda runtime brings boto3: an override that never applies takes it out of the first layer.
requirements: setup
	$(COMPILE) --universal --python-version 3.11 --fork-strategy fewest \
	  --no-emit-package ratchet --no-emit-package ratchet-client --no-emit-package ratchet-verify \
	  --no-emit-package ratchet-cli \
	  requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) --universal --python-version 3.11 --fork-strategy fewest \
	  $(PEERS)/requirements.in --output-file $(PEERS)/requirements.txt
	$(COMPILE) --universal --python-version 3.11 --fork-strategy fewest --no-annotate \
	  --constraint requirements/dev.txt \
	  requirements/audit.in --output-file requirements/audit.txt
	for name in sam lambda; do \
	  $(COMPILE) --universal --python-version 3.13 \
	    requirements/$$name.in --output-file requirements/$$name.txt || exit; \
	done
	echo "boto3 ; python_version < '3'" | \
	$(COMPILE) --python-version 3.13 --python-platform aarch64-manylinux_2_28 --no-annotate \
	  --constraint requirements/dev.txt --override - \
	  layers/ratchet/pyproject.toml --output-file layers/ratchet/requirements.txt
	$(COMPILE) --python-version 3.13 --python-platform aarch64-manylinux_2_28 --no-annotate \
	  --constraint requirements/dev.txt \
	  layers/ratchet_verify/pyproject.toml --output-file layers/ratchet_verify/requirements.txt

licences: setup
	@$(BIN)/python scripts/licences.py >docs/licences.md

# Tools in an environment of their own: what they need shall not decide what the tests run with.
AUDIT = .venv-audit
$(AUDIT)/set-up: requirements/audit.txt | setup
	@$(BIN)/python -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

audit: $(AUDIT)/set-up
	@$(AUDIT)/bin/python scripts/audit.py

build: $(AUDIT)/set-up
	@PYTHON313='$(PYTHON313)' scripts/sam.sh
	@PATH="$$(.venv-sam/bin/python -c 'import sys; print(sys.base_prefix)')/bin:$$PATH" \
	  SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam build
	@scripts/sbom.sh

sbom: $(AUDIT)/set-up
	@scripts/sbom.sh

clean:
	rm -rf tests/browser/node_modules bench/node_modules bench/peers/node_modules bench/peers/.venv-python .venv .venv-* .ratchet .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@VENV='$(VENV)' PYTHON='$(PYTHON)' scripts/setup.sh
