# Two commands need nothing but Python 3.11 or later and make: `make demo` and `make test`. Each installs what it needs into
# .venv, once for each change of pyproject.toml (the tests need more than the demo); after that they need no network.

PYTHON ?= python3
IMAGE ?= localhost/raftq:dev
PIP_INSTALL = .venv/bin/pip install --quiet --disable-pip-version-check --editable
PYTEST = .venv/bin/pytest

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit format docs simulate torture e2e bench image manifests clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo.stamp ## three agents on this machine: kill the leader, see another lead, lose nothing
	@.venv/bin/raftq demo $(ARGS)

test: lint ## everything that needs no cluster: lint, unit, integration and simulation tests (about a quarter of an hour on two cores)
	$(PYTEST) tests/unit tests/integration tests/simulation --cov --cov-report= $(ARGS)
	.venv/bin/coverage report --include='*/raftq_k8s/raft/*' --skip-covered --show-missing --fail-under=100

unit: .venv/dev.stamp ## the unit tests alone
	$(PYTEST) tests/unit $(ARGS)

lint: .venv/dev.stamp ## ruff, mypy, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

format: .venv/dev.stamp ## let ruff format and mend what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/dev.stamp ## write the tables of docs/ that say what the code says anew
	.venv/bin/python docs/generate.py

simulate: .venv/dev.stamp ## many clusters from fresh seeds, then every deliberate bug: a longer search than the tests make
	.venv/bin/raftq simulate --seeds $(or $(SEEDS),20000) $(ARGS)
	.venv/bin/raftq simulate --mutations

torture: .venv/dev.stamp ## kill, freeze, cut off and fill real agents for ten minutes, and look for what they promised (ARGS="--agents 5 --minutes 1")
	.venv/bin/python tests/integration/torture.py --minutes 10 $(ARGS)

e2e: .venv/dev.stamp ## tests on the Kubernetes cluster of KUBECONFIG, with RAFTQ_E2E_IMAGE loaded in its nodes
	@if [ -z "$$KUBECONFIG" ]; then \
	    echo "e2e skipped: KUBECONFIG is not set, so there is no cluster to run it on"; \
	else \
	    $(PYTEST) tests/e2e $(ARGS); \
	fi

bench: .venv/dev.stamp ## measure everything: puts and gets beside etcd, failover, transfer, memory, restart (about 25 minutes)
	.venv/bin/python -m bench $(ARGS)

image: ## build the container image as IMAGE, with docker, podman or buildah, whichever works here
	@for builder in "docker build" "podman build" "buildah build"; do \
	    if $${builder%% *} info >/dev/null 2>&1; then \
	        echo "$$builder --tag $(IMAGE) ."; exec $$builder --tag $(IMAGE) $(ARGS) .; \
	    fi; \
	done; \
	echo "make image needs a working docker, podman or buildah" >&2; exit 1

manifests: ## render deploy/manifests from the chart (needs helm)
	deploy/manifests/render.sh

clean: ## remove .venv and all caches
	rm -rf .venv build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A virtual environment that could not be finished must not pass for one.
.venv/bin/pip:
	@command -v $(PYTHON) >/dev/null || { echo "raftq needs Python 3.11 or later, and there is no $(PYTHON) here" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "raftq needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) -V 2>&1): try make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making .venv with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	    echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

.venv/demo.stamp: pyproject.toml | .venv/bin/pip
	@echo "installing raftq and what the demo needs into .venv (once, from PyPI)"
	@$(PIP_INSTALL) '.[cli]'
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/pip
	@echo "installing raftq and what its tests need into .venv (once, from PyPI)"
	@$(PIP_INSTALL) '.[dev]'
	@touch $@ .venv/demo.stamp
