# `make` lists what there is to do. Works with GNU make 3.81 (macOS) and newer.

VENV = .venv
PORT = 8787
BIN = $(VENV)/bin

.PHONY: help run test lint format requirements clean setup

help:
	@echo 'make run           serve Ratchet on http://127.0.0.1:$(PORT) until Ctrl-C'
	@echo '                   PORT=9000 another port; KEEP=1 keep the state; VERBOSE=1 show the log lines'
	@echo 'make test          run the tests; ARGS="-k refresh -x" goes to pytest'
	@echo 'make lint          ruff, mypy and cfn-lint'
	@echo 'make format        let ruff put the code in order'
	@echo 'make requirements  pin the dependencies again; UPGRADE=1 takes the newest versions'
	@echo 'make clean         remove what all of these leave behind, kept state included'
	@echo
	@echo 'They set up $(VENV) when needed. PYTHON=... chooses the interpreter, VENV=... another place.'

run: setup
	@exec $(BIN)/ratchet local --port $(PORT) $(if $(filter-out 0,$(KEEP)),--keep) $(if $(filter-out 0,$(VERBOSE)),--verbose)

test: setup
	@$(BIN)/pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

COMPILE = UV_CUSTOM_COMPILE_COMMAND='make requirements' $(BIN)/uv pip compile --quiet \
	--no-python-downloads --generate-hashes $(if $(UPGRADE),--upgrade)

# The Lambda runtime brings boto3: an override that never applies takes it out of the layer.
requirements: setup
	$(COMPILE) --universal --python-version 3.11 --fork-strategy fewest \
	  --no-emit-package ratchet --no-emit-package ratchet-cli \
	  requirements/dev.in --output-file requirements/dev.txt
	echo "boto3 ; python_version < '3'" | \
	$(COMPILE) --python-version 3.13 --python-platform aarch64-manylinux_2_28 --no-annotate \
	  --constraint requirements/dev.txt --override - \
	  layers/ratchet/pyproject.toml --output-file layers/ratchet/requirements.txt

clean:
	rm -rf .venv .venv-* .ratchet .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@VENV='$(VENV)' PYTHON='$(PYTHON)' scripts/setup.sh
