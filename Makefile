# Everything here installs what it needs (as root), or names the Debian package that is missing. `make help` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.cache/venv
LINK := .cache/collections/ansible_collections/jellynet/jellyfin
STAGES := lint unit sanity galaxy tls scenarios matrix suites visitors
LAB := tests/lab/lab
NAME ?= hand
TOPOLOGY ?= tests/lab/topologies/edge.toml

export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export ANSIBLE_INJECT_FACT_VARS := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help test $(STAGES) venv tools lab-tools link lab-images lab-up lab-down demo demo-down bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

test: ## lint, unit, sanity, galaxy, tls, scenarios, matrix, suites and visitors, one after the other
	@tests/tools/need python3:python3 git rsync
	@$$(tests/tools/python 3.8) tests/tools/stages.py $(STAGES)

lint: venv link ## ruff, mypy, yamllint, ansible-lint (profile production), the changelog, the plugins' documentation
	@failed=0; while read -r check; do echo "--- $$check"; $$check </dev/null || failed=1; done <<< "$$CHECKS"; exit $$failed

define CHECKS
ruff check
ruff format --check
mypy --config-file tests/mypy.ini tests/lab/jellynet_lab tests/lab/double
mypy --config-file tests/mypy.ini -p ansible_collections.jellynet.jellyfin.plugins
mypy --config-file tests/mypy.ini roles/port_binding/files/jellyfin_ports
yamllint --strict .
ansible-lint --offline
antsibull-changelog lint
antsibull-docs lint-collection-docs --plugin-docs .
endef
export CHECKS

unit: venv link ## the unit tests
	python -m pytest -n 2 --timeout 180 tests/unit

sanity: venv ## ansible-test sanity
	tests/tools/sanity venv

tls: venv link ## a bank of TLS servers and the grades that SSL Labs' guide gives them; the report in a browser
	@tests/verify/prepare
	python -m pytest -n 2 --dist loadfile tests/verify

galaxy: venv lab-tools ## build the tarball, let Galaxy's importer judge it, install it elsewhere and run it by name
	tests/galaxy/check

scenarios: venv lab-tools link ## all molecule scenarios (one alone: make scenario-NAME)
	tests/tools/scenarios.py

scenario-%: venv lab-tools link
	tests/tools/scenarios.py $*

suites: venv lab-tools link ## the suites that boot hosts of their own (one alone: make suite-NAME; more of them: make suite-debian13, make suite-pairs)
	python tests/tools/suites.py

visitors: venv lab-tools link ## what one visitor can take and guess, behind each proxy and on 8096, with a household beside it (runs alone)
	python tests/tools/suites.py visitors

suite-%: venv lab-tools link
	python tests/tools/suites.py $*

matrix: venv lab-tools link ## sanity, units and a scenario with the oldest and the newest ansible-core
	tests/tools/matrix

lab-images: lab-tools venv ## build the images of the test hosts
	$(LAB) images

lab-up: lab-tools venv ## boot test hosts by hand: make lab-up [NAME=hand] [TOPOLOGY=tests/lab/topologies/edge.toml]
	$(LAB) up $(TOPOLOGY) --name $(NAME)

lab-down: ## take them away: make lab-down [NAME=hand]
	$(LAB) down $(NAME)

demo: venv lab-tools link ## boot an edge, a media server, clients and a CA; deploy; show what each sees
	@python tests/lab/demo.py

demo-down: ## take the demo away
	@$(LAB) down demo

bench: venv lab-tools link ## measure, and write docs/benchmarks.md (one alone: make bench BENCH=second_run)
	tests/bench/run $(BENCH)

clean: ## forget what was installed and built below .cache (the labs' images stay)
	rm -rf .cache

venv:
	@tests/tools/need make python3:python3
	@tests/tools/venv venv tests/requirements.txt

lab-tools:
	@tests/tools/need podman crun mmdebstrap iproute2 util-linux openssl rsync git

link:
	@mkdir -p $(dir $(LINK)) && ln -sfn $(CURDIR) $(LINK)
