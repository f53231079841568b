# gb10.vllm: what to type. Everything sets itself up; see README.md and tests/boxes/README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-failure demo-down quick test lint yamllint ruff ansible-lint sanity unit integration molecule e2e deep compat build clean
BOXES ?= 1
BIN := .venv/bin
STAGE := tests/stage
DEEP := engine_failures/test_engine_failures.py test_fleet.py test_supply_play.py
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_FORCE_COLOR ?= 0

help:
	@echo "make demo          emulated boxes, site.yml over SSH, a real answer (BOXES=2 for two boxes)"
	@echo "make demo-failure  a broken canary is put back while the other boxes keep answering (after make demo BOXES=3)"
	@echo "make demo-down     remove all that make demo made; .cache stays for the next time"
	@echo "make quick         lint, sanity and unit tests"
	@echo "make test          quick, integration, molecule and the end-to-end run with the real vLLM"
	@echo "make deep          what takes too long for every change: engine failures, a server killed in every way, the fleet scenario"
	@echo "make compat        the archive in ansible-core 2.18, 2.19, 2.20 and 2.21 (not part of make test)"
	@echo "make build         the archive that ansible-galaxy collection install takes"
	@echo "make clean         demo-down and everything that was cached"

setup:
	@tests/setup

demo: setup
	@tests/boxes/demo $(BOXES)

demo-failure: setup
	@tests/boxes/demo-failure

demo-down:
	@python3 tests/boxes/boxes remove

quick: setup
	@$(STAGE) --begin
	@$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target lint sanity unit; code=$$?; $(STAGE) --times; exit $$code

test: setup
	@$(STAGE) --begin
	@code=0; $(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target lint sanity unit || code=1; \
	$(MAKE) --no-print-directory --keep-going integration molecule e2e || code=1; $(STAGE) --times; exit $$code

lint: yamllint ruff ansible-lint

yamllint: setup
	@$(STAGE) $@ yamllint --strict .

ruff: setup
	@$(STAGE) $@ ruff check --quiet . tests/boxes/boxes tests/boxes/demo

ansible-lint: setup
	@$(STAGE) $@ ansible-lint --offline --nocolor -q

sanity: setup
	@$(STAGE) sanity tests/sanity/run

unit: setup
	@$(STAGE) unit pytest -q tests/unit

integration: setup
	@$(STAGE) boxes python3 tests/boxes/boxes prepare
	@$(STAGE) integration pytest -q tests/on_machine $(DEEP:%=--ignore tests/on_machine/%)

molecule: setup
	@$(STAGE) molecule molecule test -s default

e2e: setup
	@$(STAGE) e2e pytest -v -x tests/e2e --ignore tests/e2e/test_server.py --ignore tests/e2e/test_bundle.py

# What takes too long for every change: a real engine that fails in twelve ways, fleets of boxes, a server that is killed in every way.
deep: setup
	@$(STAGE) --begin
	@python3 tests/boxes/boxes prepare
	@$(STAGE) integration pytest -q $(DEEP:%=tests/on_machine/%); code=$$?; \
	 $(STAGE) server pytest -q -s tests/e2e/test_server.py tests/e2e/test_bundle.py || code=1; \
	 $(STAGE) fleet molecule test -s fleet || code=1; $(STAGE) --times; exit $$code

compat: setup
	@tests/compat

build: setup
	@ansible-galaxy collection build --force --output-path .cache

clean: demo-down
	@rm -rf .cache .ansible .venv .pytest_cache .ruff_cache .hypothesis tests/output
