# `make demo` shows an upgrade on two hosts; `make test` checks everything; `make clean` removes all that either made.
# What is fetched or built is kept in ${FRACTAL_OPS_CACHE:-~/.cache/fractal_ops} and as images of podman, under keys of
# its inputs: a second run, also of another clone, starts from there. FRACTAL_OPS_BED=debian13 takes hosts with Debian 13.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Tools and collections as tests/bed/setup.sh links them. Nothing of the user's own Ansible set-up takes part.
export PATH := $(CURDIR)/.cache/venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export ANSIBLE_CONFIG := $(CURDIR)/tests/bed/ansible.cfg
export ANSIBLE_SSH_ARGS := -F $(CURDIR)/.cache/ssh/config
export CONTAINERS_CONF := $(CURDIR)/tests/bed/containers.conf
export PYTHONPATH := $(CURDIR)/.cache/collections
# Modules are started thousands of times: each would compile all of this collection's code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup bed unit integration furniture examples lint matrix docs lock molecule faults chaos fleet test demo readme ee release bench clean

help: ## Say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## Install and link the tools (system packages as root, the rest in the cache)
	@tests/bed/setup.sh

bed: setup ## Build the images of the test bed, of Debian 12, or with FRACTAL_OPS_BED=debian13 of Debian 13
	@tests/bed/build.sh

unit: setup ## Unit tests
	pytest -n 2 tests/unit

integration: setup ## Modules against a real PostgreSQL and the real releases of fractal-server
	pytest -n 2 --dist loadgroup --durations=15 --ignore tests/integration/_run/test_examples.py tests/integration

furniture: setup ## N databases with other people's objects, at random, up and back: make furniture N=200
	FRACTAL_OPS_FURNITURE=$(or $(N),200) pytest --hypothesis-show-statistics \
		tests/integration/_backup/test_furniture.py -k test_what_precheck_lets_pass_comes_back

examples: bed ## The examples of modules and roles on a real pair of hosts, in the order of an upgrade
	pytest tests/integration/_run/test_examples.py

lint: setup ## Style, types, licences, ansible-lint (production), ansible-test sanity, documentation, Galaxy's import
	@tests/bed/lint.sh

matrix: setup ## Unit tests and sanity on every ansible-core that is supported; CORES="oldest newest 2.20" for some
	@tests/bed/matrix.sh $(CORES)

docs: setup ## The documentation as a site in .cache/docs/html
	@tests/bed/docs.sh

lock: setup ## Resolve tests/requirements/*.in anew, into exact versions with hashes
	@tests/bed/lock.sh

molecule: setup ## Every Molecule scenario of the bed, or those named: make molecule SCENARIOS="default ..."
	@tests/bed/scenarios.sh $(SCENARIOS)

faults: bed ## Disturb upgrades at every stage, both ways on: an hour and a half; FAULTS=--short, as in make test, --road, over two stops, "--only backup"
	@python tests/faults/faults.py $(FAULTS)

chaos: bed ## Kill upgrades at N random moments: make chaos N=20 SEED=1
	@python tests/faults/faults.py --random $(or $(N),20) $(if $(SEED),--seed $(SEED))

fleet: bed ## Upgrade N servers, three in waves, more at once, the second broken: what stops, what is left alone: make fleet N=10
	@python tests/bench/fleet.py $(or $(N),3)

bench: bed ## Measure window and rollback against the bare commands (SIZE=1G fills the database), many users, a second upgrade
	@python tests/bench/window.py
	@for bench in tests/bench/bench_*.py; do echo; python $$bench || exit 1; done

# In less than three quarters of an hour on a quiet machine with two cores; what is left out is named in docs/developing.md.
test: ## Everything that has to be seen before a change lands
	@FAULTS=--short SCENARIOS="refusals default" PYTEST_ADDOPTS="$$PYTEST_ADDOPTS -m 'not long'" \
		tests/bed/timed.sh setup bed lint,docs+unit integration+molecule,faults

demo: bed ## Upgrade a seeded 2.16.6 instance with the built collection and show the result
	@tests/bed/demo.sh

readme: bed ## What README.md says, word by word, from an empty folder, on the oldest and the newest ansible-core; CORES="2.20"
	@tests/bed/readme.sh $(CORES)

ee: bed ## Build an execution environment with the collection, and upgrade two hosts from inside it with ansible-runner
	@tests/bed/ee.sh

release: setup ## Build the artefact of this release and judge it; PUBLISH=yes publishes it, docs/developing.md says how
	@tests/bed/release.sh

clean: ## Remove everything that was made: containers, networks, volumes, images, cache
	@tests/bed/clean.sh
