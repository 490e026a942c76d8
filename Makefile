# The two commands a newcomer needs: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# pytest-xdist: one worker per core; one that is done takes over from the others
PYTEST_ARGS ?= -n auto --dist worksteal

.PHONY: help demo test torture bench fleet dashboard check format lock image image-test cluster cluster-down cluster-test tools chart-schema chart-docs clean
help:
	@printf '%s\n' 'make demo    the whole story on an embedded stand-in for AWS' \
	  'make test    all tests, with coverage' 'make torture the promises under fire, at full length' \
	  'make bench   what the agent costs, on the image'"'"'s files' 'make fleet   a day of 10,000 pods, simulated' \
	  'make check   ruff, mypy, shellcheck and hadolint' 'make format  let ruff format the code' \
	  'make image   build the image' 'make cluster a real Kubernetes node; then cluster-test, cluster-down' \
	  'make tools   helm and kubectl, for tests' 'make clean   remove what the others made'

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

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# The figures of docs/performance.md. BENCH_ARGS: which, and for how long. Needs the image, strace and root.
bench: $(VENV)/bench
	PYTHON=$(BIN)/python bench/image.sh $(BENCH_ARGS)

# The picture of the chart's dashboard, by real agents and a real Prometheus, in two minutes.
dashboard: $(VENV)/bench
	$(BIN)/python -m bench.dashboard docs/dashboard.png

fleet: $(VENV)/bench
	$(BIN)/python -m bench.fleet --plot docs/fleet.png

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck --external-sources .ci/run image/*.sh bench/*.sh
	$(BIN)/hadolint Dockerfile

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the image installs: the run-time dependencies of setup.cfg, resolved and hashed, for every platform.
lock: $(VENV)/installed
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.13 --no-emit-index-url \
	  --custom-compile-command 'make lock' --output-file requirements.lock setup.cfg

image: $(VENV)/installed
	PYTHON=$(BIN)/python image/build.sh $(IMAGE)

image-test: $(VENV)/installed
	PYTHON=$(BIN)/python image/test.sh $(IMAGE)

# A real Kubernetes node on this machine, in namespaces of its own (root, Go, Debian's packages). The first one takes ten
# minutes to build. CLUSTER_KUBERNETES: newest, older or a version. docs/cluster.md has the rest.
cluster: $(VENV)/installed
	@$(BIN)/python -m tests.cluster up

cluster-down: $(VENV)/installed
	@$(BIN)/python -m tests.cluster down

# The tests on it, with the image of `make image`; on the cluster of KUBECONFIG where that is set. CLUSTER_TEST_ARGS: pytest's.
CLUSTER_TEST_ARGS ?= tests/cluster -q -n 3 --dist worksteal
cluster-test: $(VENV)/installed
	@$(BIN)/python -m tests.cluster test $(CLUSTER_TEST_ARGS)

# Helm 3 and 4 and kubectl into .cache/tools, for the tests of chart and documents where none is on PATH.
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
	rm -rf $(VENV) .cache image/wheels/*.whl charts/demo/charts charts/demo/Chart.lock .coverage .pytest_cache .mypy_cache \
	  .ruff_cache .hypothesis *.egg-info
