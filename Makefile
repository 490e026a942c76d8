# The two commands a newcomer needs: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# pytest-xdist: one worker per core, tests of one file stay together
PYTEST_ARGS ?= -n auto --dist loadfile

.PHONY: help demo test torture check format clean
help:
	@printf '%s\n' 'make demo    the whole story on an embedded stand-in for AWS' \
	  'make test    all tests, with coverage' 'make torture the promises under fire, at full length' \
  'make check   ruff and mypy' \
	  'make format  let ruff format the code' 'make clean   remove what the others made'

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Freshmount needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

demo: $(VENV)/installed
	@$(BIN)/freshmount demo $(DEMO_ARGS)

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term-missing:skip-covered

# The table that it ends in is the one of docs/reliability.md.
torture: $(VENV)/installed
	$(BIN)/python -m pytest tests/torture --full -n 2 --dist load

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
