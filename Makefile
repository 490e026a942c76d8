# The two commands a newcomer needs: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# pytest-xdist: one worker per core, tests of one file stay together
PYTEST_ARGS ?= -n auto --dist loadfile

.PHONY: help demo test check format tools chart-schema chart-docs clean
help:
	@printf '%s\n' 'make demo    the whole story on an embedded stand-in for AWS' \
	  'make test    all tests, with coverage' 'make check   ruff and mypy' \
	  'make format  let ruff format the code' 'make tools   helm, for the tests of the chart' 'make clean   remove what the others made'

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Freshmount needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

demo: $(VENV)/installed
	@$(BIN)/freshmount demo $(DEMO_ARGS)

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term-missing:skip-covered

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Helm 3 and 4 into .cache/tools, for the chart's tests where none is on PATH.
tools: $(VENV)/installed
	$(BIN)/python -m tests.chart_tools

# After config/schema.json or charts/values.schema.in.json changed.
chart-schema: $(VENV)/installed
	$(BIN)/python charts/schema.py > charts/freshmount/values.schema.json

# After a values.yaml or README.md.gotmpl of a chart changed. Needs Go.
HELM_DOCS ?= go run github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
chart-docs:
	$(HELM_DOCS) --chart-search-root charts --sort-values-order file

clean:
	rm -rf $(VENV) .cache charts/demo/charts charts/demo/Chart.lock .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
