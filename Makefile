# Each target does all of its own set-up. `make demo` and `make test` are the two to know.
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST_ARGS ?=
HOUSE_ARGS ?=
MUTANTS_ARGS ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-long unit test-pythons check fmt dist bench fuzz chaos chaos-report house files golden lock audit clean

help:
	@echo "make demo    run a real pipeline on this machine, and let its model answer requests"
	@echo "make test    run the checks and the tests (as root also on a lab of several hosts)"
	@echo "make test-long  parts of that lab fail, an upgrade under work, a fresh clone (minutes)"
	@echo "make unit    run the tests that need neither root nor other programs, with coverage by room"
	@echo "make test-pythons  the tests but the lab's on every other Python from 3.11 on that is here"
	@echo "make check   format, lint, types, import rules"
	@echo "make fmt     put the code into shape"
	@echo "make bench   measure, each figure against a floor or peer of the same run"
	@echo "make fuzz    hostile input: a million files, 100,000 names, 10,000 archives (ten minutes)"
	@echo "make chaos   hours of faults on a real lab, every promise checked (root on Linux); chaos-report"
	@echo "make house   measure the code: circles, Any, files that one command crosses (HOUSE_ARGS=--help)"
	@echo "make mutants  small random changes of the code: which do its tests notice? (MUTANTS_ARGS=--help)"
	@echo "make files   write anew the list of files in docs/architecture.md, from their docstrings"
	@echo "make golden  write anew what tests/golden holds: JSON answers, API, files on hosts"
	@echo "make dist    build wheel and sdist into dist/, the same bytes wherever it is done"
	@echo "make lock    bring requirements-dev.txt in step with pyproject.toml (UPGRADE=1: the latest of all)"
	@echo "make audit   ask the package index for known vulnerabilities of what it names"

setup: $(VENV)/.dev

$(VENV)/.user: pyproject.toml scripts/venv.sh
	@echo "Setting up $(VENV) ..."
	@sh scripts/venv.sh $(VENV)
	@touch $@

$(VENV)/.dev: pyproject.toml scripts/venv.sh
	@echo "Setting up $(VENV) with the development tools ..."
	@sh scripts/venv.sh $(VENV) dev
	@touch $@ $(VENV)/.user

demo: $(VENV)/.user
	@sh scripts/demo.sh $(VENV)

test: $(VENV)/.dev
	@sh scripts/test.sh $(VENV) daily $(PYTEST_ARGS)

test-long: $(VENV)/.dev
	@sh scripts/test.sh $(VENV) long $(PYTEST_ARGS)

# tests/unit.py says which tests these are, scripts/unit.sh when coverage is measured.
unit: $(VENV)/.dev
	@sh scripts/unit.sh $(VENV) $(PYTEST_ARGS)

# make test runs on one Python; this on the others that the machine has (.venv-3.13 and the like).
test-pythons: $(VENV)/.dev
	@sh scripts/test_pythons.sh $(VENV) $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

# HOSTLER_FUZZ_SEED makes the same trials again, HOSTLER_FUZZ_TOML=1000 (NAMES, ARCHIVES, AGENTS) fewer.
fuzz: $(VENV)/.dev
	@$(BIN)/python -m tests.fuzz
	@HOSTLER_FUZZ_LOG=1024 $(BIN)/python -m pytest -q --timeout 1200 tests/e2e/test_hostile_logs.py

# HOSTLER_CHAOS_SEED, _MINUTES (60) of the nemesis, _PLACEMENTS (10,000) of the race; more in tests/chaos.
# With HOSTLER_CHAOS_KEEP=$PWD/.chaos, bench and fuzz too leave their figures for chaos-report.
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos

chaos-report: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.report .chaos docs/track-record.md

# HOUSE_ARGS="--list any" lists the places behind a number, --json is for programs.
house: $(VENV)/.dev
	@sh scripts/house.sh $(VENV) $(HOUSE_ARGS)

files: $(VENV)/.dev
	$(BIN)/python scripts/file_list.py

# Read the diff before you commit it: scripts and other daemons rely on what it shows.
golden: $(VENV)/.dev
	HOSTLER_GOLDEN=write $(BIN)/python -m pytest -q $(PYTEST_ARGS) tests/golden

# MUTANTS_ARGS="decide --seed 3 --number 50" chooses rooms, other changes and how many; --help lists all.
mutants: $(VENV)/.dev
	@$(BIN)/python -m tests.mutants $(MUTANTS_ARGS)

# Files get the time of the commit, so that everybody who builds it gets the same bytes.
dist: $(VENV)/.dev
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir dist .

lock:
	@sh scripts/lock.sh $(UPGRADE)

audit:
	@sh scripts/audit.sh

clean:
	rm -rf $(VENV) $(VENV)-3.* .demo .chaos .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
