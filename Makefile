# gb10.vllm: what to type. Everything sets itself up; see README.md and tests/boxes/README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-failure demo-down quick test lint yamllint ruff mypy ansible-lint sanity unit unit-long prepared integration on-machine over-boxes imitated-and-programs imitated programs whole-way group deep compat coverage release mutants mutants-known mutants-planted mutants-sample build clean
DEEP_PARTS := order plan costs engines judge supply light imitated network monitoring server group memory bundle lifetime upgrade fleet benchmark faults router router-speed
.PHONY: $(DEEP_PARTS:%=deep-%)
BOXES ?= 1
BIN := .venv/bin
STAGE := tests/stage
DEEP := test_site.py engine_failures/test_engine_failures.py engine_config/test_all_combinations.py test_fleet.py test_supply_play.py test_imitated_tune.py test_fabric.py monitoring/test_role.py monitoring/test_live_router.py engine_failures/test_stopped_engine.py engine_failures/test_spoken.py test_router_under_load.py test_router_pair.py test_router_agent.py test_imitated_router.py test_imitated_kills.py test_imitated_faults.py test_imitated_groups.py test_ssh_cut.py
# Unit tests that take long: real playbooks, or all logs of all kinds in every dress. `make test` runs them, `make quick` does without.
LONG := roles/test_runs_of_nothing.py roles/test_groups_in_the_role_plan.py roles/test_any_output.py roles/test_rank.py plugins/plugin_utils/_diagnosis/test_dresses.py plugins/plugin_utils/_diagnosis/test_hostile_text.py plugins/plugin_utils/_diagnosis/test_wordings.py
# Of imitated boxes; the others of this kind are in the deep parts.
IMITATED := test_imitated_runs.py test_imitated_removal.py::test_remove_shows_what_goes_takes_it_away_and_nothing_else_and_finds_nothing_again
# Single tests that the deep parts have.
ALSO_DEEP := engine_failures/test_rehearsed.py::test_what_its_command_line_and_its_configuration_refuse_is_explained_like_a_failed_start engine_failures/test_rehearsed.py::test_what_only_loading_shows_is_not_found
# Of programs of the distribution (HAProxy, Prometheus, Chromium), which run on this machine and share nothing with boxes.
PROGRAMS := monitoring test_router_haproxy.py test_router_host.py test_router_keepalived.py test_status_page_browser.py test_benchmark_page_browser.py
BOXES_PREPARE := $(STAGE) boxes python3 tests/boxes/boxes prepare
PYTHON_FILES := . tests/covered tests/tree tests/corpus tests/catalogue tests/public tests/readmes tests/release tests/compat tests/security/run tests/security/planted tests/boxes/boxes tests/boxes/demo tests/boxes/demo-failure tests/mutants/sample
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_FORCE_COLOR ?= 0
# Molecule keeps its state in the home by the folder's name, so a run that was killed in another `main` said here that the boxes are made.
export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/.cache/molecule
MOLECULE := rm -rf .cache/molecule && molecule test -s

help:
	@echo "make demo          emulated boxes, site.yml over SSH, a real answer (BOXES=2 for two boxes, GROUP=2 for one server over two, MONITORING=1 with Prometheus, a benchmark and the pages of both)"
	@echo "make demo-failure  a refused argument costs no request; a broken canary is put back while the others answer (after make demo BOXES=2)"
	@echo "make demo-down     remove all that make demo made; .cache stays for the next time"
	@echo "make quick         lint, sanity but for its two slowest, and the unit tests that take no time"
	@echo "make test          quick, integration and the end-to-end run with the real vLLM"
	@echo "make deep          what takes too long for every change; in parts: $(DEEP_PARTS:%=deep-%)"
	@echo "make compat        the archive in ansible-core 2.18, 2.19, 2.20 and 2.21 (not part of make test)"
	@echo "make coverage      how many lines of plugins/ run in the tests that need no Docker; goes on where it stopped (docs/testing.md)"
	@echo "make release       what a release has to pass and what is made for it, in .cache/release; STEPS=\"archive site\" some of it (not part of make test)"
	@echo "make mutants-known harmful changes that no test found once: each must be found now (not part of make test)"
	@echo "make mutants PACKAGE=_io   every small change to a package, and whether a test finds it; goes on where it stopped (docs/testing.md)"
	@echo "make mutants-sample        what share of all small changes a test finds, by a sample stratified by file (docs/testing.md)"
	@echo "make build         the archive that ansible-galaxy collection install takes"
	@echo "make clean         demo-down and everything that was cached"

setup:
	@tests/setup

demo: export GB10_TYPED := $(shell date +%s)
demo: setup
	@tests/boxes/demo $(if $(GROUP),--group $(GROUP),$(BOXES))

demo-failure: setup
	@tests/boxes/demo-failure

demo-down:
	@python3 tests/boxes/boxes remove

quick: setup
	@$(STAGE) --begin
	@$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target lint sanity unit SANITY="--skip-test pylint --skip-test import"; code=$$?; $(STAGE) --times; exit $$code

# What only reads files takes the processors that the others leave idle, which wait for boxes.
test: setup
	@$(STAGE) --begin
	@nice -n 15 $(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target lint sanity & reads=$$!; \
	code=0; $(MAKE) --no-print-directory --keep-going --jobs 3 --output-sync=target prepared unit unit-long || code=1; \
	$(MAKE) --no-print-directory --keep-going integration || code=1; wait $$reads || code=1; $(STAGE) --times; exit $$code

lint: yamllint ruff mypy ansible-lint

yamllint: setup
	@$(STAGE) $@ yamllint --strict .

ruff: setup
	@$(STAGE) $@ sh -c 'ruff check --quiet $(PYTHON_FILES) && ruff format --check --quiet $(PYTHON_FILES)'

mypy: setup
	@$(STAGE) $@ mypy

ansible-lint: setup
	@$(STAGE) $@ ansible-lint --offline --nocolor -q

sanity: setup
	@$(STAGE) sanity tests/sanity/run $(SANITY)

unit: setup
	@$(STAGE) unit pytest -q tests/unit $(LONG:%=--ignore tests/unit/%)

unit-long: setup
	@$(STAGE) $@ pytest -q $(LONG:%=tests/unit/%)

# What the tests below need; `make test` brings it while it lints, for most of the time is spent with waiting for the network and the disk.
prepared: setup
	@tests/setup --browser
	@tests/setup --router
	@tests/setup --monitoring
	@$(BOXES_PREPARE)

# In three at once: what runs over boxes waits most of the time. They share nothing.
integration: prepared
	@$(MAKE) --no-print-directory --keep-going --jobs 3 --output-sync=target on-machine over-boxes imitated-and-programs

# One after the other: the boxes of the first two have the same names, and more at once than three is too much for two processors.
over-boxes: STAGES := whole-way group
imitated-and-programs: STAGES := imitated programs
over-boxes imitated-and-programs:
	@code=0; for stage in $(STAGES); do $(MAKE) --no-print-directory $$stage || code=1; done; exit $$code

on-machine:
	@$(STAGE) $@ pytest -q --durations=40 tests/on_machine --ignore-glob 'tests/on_machine/test_imitated_*.py' $(DEEP:%=--ignore tests/on_machine/%) $(PROGRAMS:%=--ignore tests/on_machine/%) $(ALSO_DEEP:%=--deselect tests/on_machine/%)

imitated:
	@$(STAGE) $@ pytest -q --durations=12 $(IMITATED:%=tests/on_machine/%)

programs:
	@$(STAGE) $@ pytest -q $(PROGRAMS:%=tests/on_machine/%) $(DEEP:%=--ignore tests/on_machine/%)

whole-way:
	@$(STAGE) $@ pytest -v -x --durations=12 tests/e2e/test_whole_way.py tests/e2e/test_bad_input.py --deselect tests/e2e/test_whole_way.py::test_the_killed_runs_ended_where_an_undisturbed_one_ends

group: setup            # one server over two boxes, in short: started, answers, a rank is killed, answers again
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q -s tests/e2e/test_whole_way_group.py

# What takes too long for every change, in parts that run in any order and bring what they need.
deep: setup
	@$(STAGE) --begin
	@code=0; $(MAKE) --no-print-directory --keep-going $(DEEP_PARTS:%=deep-%) || code=1; $(STAGE) --times; exit $$code

deep-order: setup       # the unit tests with all cases, in an order that they were never in; a failure is repeated with the number that is shown
	@$(STAGE) $@ sh -c 'export GB10_ALL_CASES=1 GB10_SHUFFLE=$$(date +%s); echo "GB10_SHUFFLE=$$GB10_SHUFFLE"; pytest -q tests/unit'

deep-plan: setup        # what a plan reads and how long it takes: under 2 MiB, under 25 ms from disk (exit status 1 where a goal is missed)
	@$(STAGE) $@ python3 tests/benchmarks/bench_plan.py

deep-costs: setup       # what the monitoring costs a box and its host, within the budgets (exit status 1 where one is exceeded)
	@tests/setup --monitoring
	@$(STAGE) $@ python3 tests/benchmarks/bench_monitoring.py --seconds 60

deep-engines: setup     # a real engine that fails in every way we know to bring about, and what it says of its memory at every start
	@$(BOXES_PREPARE)
	@$(STAGE) $@ env GB10_ALL_CASES=1 pytest -q tests/on_machine/engine_failures/test_engine_failures.py tests/on_machine/engine_failures/test_spoken.py tests/on_machine/engine_failures/test_rehearsed.py tests/on_machine/engine_sizing

deep-judge: setup       # vLLM's own configuration code asked about hundreds of models, arguments and environments; ours, by ten thousand broken inputs
	@$(BOXES_PREPARE)
	@$(STAGE) $@ env GB10_ALL_CASES=1 pytest -q tests/on_machine/engine_config/test_all_combinations.py tests/on_machine/sizing/test_fuzz.py

deep-supply: setup      # image and models from box to box, and servers with images of their own
	@$(BOXES_PREPARE)
	@$(STAGE) $@ env GB10_ALL_CASES=1 pytest -q tests/on_machine/test_supply_play.py tests/on_machine/test_imitated_images.py tests/on_machine/test_role_image.py tests/on_machine/test_image_ref.py

deep-light: setup       # whole runs over light boxes, whose Docker and systemd are stand-ins
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q tests/on_machine/test_fleet.py

deep-imitated: setup    # whole runs over imitated boxes that not every change needs: taken over, taken away, a recipe, a bare box
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q tests/on_machine/test_imitated_further.py tests/on_machine/test_imitated_removal.py tests/on_machine/test_imitated_adopt.py

deep-network: setup     # fabric and host on boxes with a real systemd, networkd and netplan
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q tests/on_machine/test_fabric.py

deep-monitoring: setup  # the packages of Prometheus set up, refused and taken away by the playbook; a router that is asked; a real engine that is stopped; over two boxes
	@tests/setup --monitoring
	@tests/setup --router
	@$(BOXES_PREPARE)
	@$(STAGE) $@ sh -c 'pytest -q tests/on_machine/monitoring/test_role.py tests/on_machine/monitoring/test_live_router.py tests/on_machine/engine_failures/test_stopped_engine.py && $(MOLECULE) monitoring'

deep-server: setup      # a server that is killed in every way, two that swap ports and sizes
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q -s tests/e2e/test_server.py tests/e2e/test_moves.py

deep-group: setup       # one server over two boxes, killed in every way
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q -s tests/on_machine/test_imitated_groups.py tests/e2e/test_group.py

deep-memory: setup      # what a server takes, seen from outside, and a floor that is kept
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q -s tests/e2e/test_memory.py

deep-bundle: setup      # a box without a network, from a bundle to an answer
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q -s tests/e2e/test_bundle.py

deep-lifetime: setup    # a box's first and last day: prepared, taken over from what was made by hand, and cleared; a run that is killed at every point
	@$(BOXES_PREPARE)
	@$(STAGE) $@ env GB10_ALL_CASES=1 pytest -q -s -x tests/e2e/test_first_and_last.py tests/e2e/test_whole_way.py

deep-upgrade: setup     # a box that an earlier state of this collection deployed
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q tests/e2e/test_upgrade.py

deep-fleet: setup       # molecule: one box from nothing and again; a canary that fails, batches, drift, pruning
	@$(BOXES_PREPARE)
	@$(STAGE) $@ sh -c '$(MOLECULE) default && $(MOLECULE) fleet'

deep-benchmark: setup   # the servers measured and tuned, with the real tool and over an imitated box
	@tests/setup --router
	@$(BOXES_PREPARE)
	@$(STAGE) $@ pytest -q -s tests/on_machine/test_imitated_tune.py tests/e2e/test_benchmark.py tests/e2e/test_tune.py

deep-faults: setup      # every attack of tests/security, and each with its hole opened; a real SSH connection that is cut; imitated boxes whose disks fill, that vanish, and runs that are killed; GB10_ALL_MOMENTS=1: between any two modules
	@$(BOXES_PREPARE)
	@$(STAGE) $@ sh -c 'python3 tests/security/run && python3 tests/security/planted && pytest -q tests/on_machine/test_imitated_faults.py tests/on_machine/test_imitated_kills.py tests/on_machine/test_ssh_cut.py'

deep-router: setup      # the real HAProxy (2.6, 2.8, 3.0) under load while engines die, links break and boxes are rolled out and rebooted; two routers with keepalived
	@tests/setup --router
	@$(BOXES_PREPARE)
	@$(STAGE) $@ sh -ec 'pytest -q tests/on_machine/test_router_under_load.py tests/on_machine/test_router_pair.py tests/on_machine/test_router_agent.py tests/on_machine/test_imitated_router.py; for suite in trixie noble; do program=$$(tests/other_haproxy $$suite); GB10_HAPROXY=$$program pytest -q tests/on_machine/test_router_haproxy.py; done; $(MOLECULE) router'

deep-router-speed: setup        # what a router costs, beside its goals; on a machine that has nothing else to do
	@tests/setup --router
	@$(STAGE) $@ python3 tests/benchmarks/bench_router.py

compat: setup
	@$(BOXES_PREPARE)
	@tests/compat

coverage: setup        # file by file what needs no Docker; tests/covered --lines FILE shows what nothing runs
	@tests/setup --router
	@$(STAGE) $@ python3 tests/covered

release: setup          # changelog, archive, Galaxy's importer, ansible-builder, the site, the corpus, every ansible-core with its sanity tests
	@tests/setup --release
	@tests/setup --browser
	@$(STAGE) $@ tests/release $(STEPS)

mutants-known: setup   # harmful changes that no test found once, made one at a time in a copy of the tree
	@$(STAGE) $@ python3 tests/mutants/run.py

mutants-planted: setup # eight broken promises, one at a time, over imitated boxes
	@$(STAGE) $@ python3 tests/mutants/planted

mutants-sample: setup  # what share of all small changes is found, by a sample: map and run go on where they stopped (hours on few processors)
	@$(STAGE) $@ sh -c 'test -f .cache/mutants/sample/changes.json || { python3 tests/mutants/every tool; .venv/bin/python tests/mutants/sample draw $(or $(SHARE),0.04); } && .venv/bin/python tests/mutants/sample map && .venv/bin/python tests/mutants/sample run 600 && .venv/bin/python tests/mutants/sample report survivors'

mutants: setup         # every small change that mutmut makes to a package; without PACKAGE the table of what was found so far
	@$(STAGE) $@ python3 tests/mutants/every $(or $(PACKAGE),--report)

build: setup
	@ansible-galaxy collection build --force --output-path .cache

clean: demo-down
	@rm -rf .cache .ansible .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis tests/output
