# Each target does all of its own set-up. `make demo` and `make test` are the two to know.
VENV ?= .venv
PY = $(VENV)/bin/python

.PHONY: setup demo test check fmt bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	sh scripts/venv.sh $(VENV)
	touch $@

fmt: setup
	$(VENV)/bin/ruff check --fix --quiet . || true
	$(VENV)/bin/ruff format .
