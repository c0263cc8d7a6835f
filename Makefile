# Everything runs inside .venv, which `make setup` builds with the tested versions of constraints.txt.
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
BOTH   := -n 2 --dist loadfile
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.del-audit-setup
OUT    ?= out/smollm2-reviews

.DEFAULT_GOAL := help
.PHONY: help setup certify serve-demo test test-all browser vllm clients docs bench lint mutants gate-mutants weights clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Builds .venv once; again when pyproject.toml or constraints.txt changes.

$(STAMP): pyproject.toml constraints.txt
	@echo "setup: installing the tested versions into $(VENV) (the first time one to five minutes, and 2.3 GB on the disk)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,proved,dp,ray,serve,notebooks,docs]'
	@touch $@

certify: setup ## Certifies examples/smollm2-reviews.yaml; fails unless the verdict is certified.
	@$(BIN)/del-audit certify examples/smollm2-reviews.yaml --out $(OUT)

serve-demo: setup ## Shows a chat on this machine: server, proxy, what crossed the wire, and the answer.
	@$(BIN)/python examples/serve_demo.py

test: setup ## Runs the tests, without the slow ones.
	@$(BIN)/python -m pytest -q -m "not slow" $(BOTH)

test-all: setup ## Runs every test, and every notebook from top to bottom.
	@$(BIN)/python -m pytest -q $(BOTH)

browser: ## Installs the browser that the report's tests drive; without one they are skipped.
	@command -v chromium >/dev/null || { \
		[ "$$(id -u)" = 0 ] || { echo "browser: as root: apt-get install chromium"; exit 1; }; \
		apt-get update -qq && apt-get install -y -qq chromium; \
	}

vllm: .venv-vllm/.del-audit-vllm ## Installs vLLM for the CPU into .venv-vllm; without it the tests that start it are skipped.

.venv-vllm/.del-audit-vllm: tools/install_vllm.py
	@echo "vllm: installing it into .venv-vllm (one to five minutes, and 3.4 GB on the disk)"
	@$(PYTHON) tools/install_vllm.py .venv-vllm
	@touch $@

clients: .venv-clients/.del-audit-clients ## Installs LiteLLM and LangChain into .venv-clients; without them the test of other clients is skipped.

.venv-clients/.del-audit-clients: Makefile
	@echo "clients: installing them into .venv-clients (a minute, and 430 MB on the disk)"
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check litellm==1.110.2 langchain-openai==1.7.4
	@touch $@

docs: setup ## Builds the documentation into out/site, strictly and without a network.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "docs: out/site/index.html"

bench: setup ## Runs the benchmarks that need neither a corpus (nlu.py, paper_recipe.py) nor a GPU; gate-mutants is a target of its own.
	@set -e; for file in $(filter-out $(addprefix benchmarks/,gate_mutants.py gpu.py nlu.py paper_recipe.py),$(wildcard benchmarks/*.py)); do \
		[ -e "$$file" ] || { echo "bench: there are no benchmarks"; break; }; \
		echo "bench: $$file"; $(BIN)/python "$$file"; \
	done

lint: setup ## Checks style, format and types.
	@echo "lint: ruff check"; $(BIN)/ruff check --quiet .
	@echo "lint: ruff format"; $(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; exit 1; }
	@echo "lint: mypy"; $(BIN)/mypy --no-error-summary

mutants: setup ## Tests the tests of the accounting: mutates it, and lists the mutants that survive (about 40 minutes).
	@$(BIN)/mutmut run --max-children 2 && $(BIN)/mutmut results

gate-mutants: setup ## Tests the tests of the gate: 300 mutants of the code that decides a verdict (about 20 minutes).
	@$(BIN)/python benchmarks/gate_mutants.py

weights: setup ## Trains the shipped soft prompt and attacker again, about 20 minutes; the old ones stay until the new are done.
	@rm -rf out/weights
	@$(BIN)/del-audit train prompt examples/smollm2-reviews.yaml --out out/weights/prompt
	@$(BIN)/del-audit train attacker examples/smollm2-reviews.yaml --out out/weights/attacker
	@rm -rf mechanisms/weights/smollm2-reviews && mv out/weights/prompt mechanisms/weights/smollm2-reviews
	@rm -rf attacks/inversion/adapted/weights/smollm2-reviews && mkdir -p attacks/inversion/adapted/weights
	@mv out/weights/attacker attacks/inversion/adapted/weights/smollm2-reviews

clean: ## Removes .venv, .venv-vllm, .venv-clients and everything made from them; the cache of assets stays.
	@rm -rf $(VENV) .venv-vllm .venv-clients out build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache mutants
