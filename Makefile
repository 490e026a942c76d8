# The two commands a newcomer needs: `make demo` and `make test`. Both set up .venv first. `make help` has them all.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# As pip does. Where a company's proxy stands before the index, the certificates that uv brings along know nothing of it.
export UV_SYSTEM_CERTS ?= true
# pytest-xdist: as many workers as tests/conftest.py says; one that is done takes over from the others
PYTEST_ARGS ?= -n auto --dist worksteal

.PHONY: help demo test coverage torture torture-short matrix audit bench fleet dashboard docs reference pictures check format lock image image-test \
  controller-image controller-image-test base-digest cluster cluster-down cluster-test apiserver-test tools chart-schema chart-docs \
  release version release-test clean

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 19

# Two Pythons in one environment import each other's modules: another one begins anew. One that another tool made, which
# does not say of what Python it is, is left as it is.
same_python := import os, re, sys; \
  made = os.path.exists("$(VENV)/pyvenv.cfg") and re.search("executable = (.*)", open("$(VENV)/pyvenv.cfg").read()); \
  sys.exit(bool(made) and made[1] != os.path.realpath(sys.executable))

define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Freshmount needs Python 3.11 or newer; set PYTHON=")'
	@clear=; $(PYTHON) -c '$(same_python)' || clear=--clear; $(PYTHON) -m venv $$clear $(VENV)
endef

# What the demo needs, and no more: it is what a newcomer waits for.
$(VENV)/demo: setup.cfg pyproject.toml
	@echo 'Installing Freshmount into $(VENV): once, for some ten seconds.'
	$(make_venv)
	@$(PIP) install --editable .
	@touch $@

$(VENV)/installed: setup.cfg pyproject.toml
	@echo 'Installing Freshmount, and what its tests and checks need, into $(VENV):'
	@echo 'once, for about a minute.'
	$(make_venv)
	@$(PIP) install --editable '.[test,dev]'
	@touch $(VENV)/demo $@

# 130 is how it ends by Ctrl-C, which is no error; the trap lets the shell outlive it, so that make does not call it one.
demo: $(VENV)/demo ## the whole story, without AWS; DEMO_ARGS=--keep-running
	@trap : INT; $(BIN)/freshmount demo $(DEMO_ARGS) || [ $$? -eq 130 ]

test: $(VENV)/installed ## the tests; at the end, what was skipped; TEST_ARGS=…
	@$(MAKE) --no-print-directory .cache/tools/installed || echo 'No helm and kubectl: the tests of the charts are skipped.'
	$(BIN)/python -m pytest $(PYTEST_ARGS) --ignore tests/torture $(TEST_ARGS)

# Every process that a test starts is measured, too, and takes twice as long to start. Not the torture: its agents are
# killed before they could tell what they reached.
coverage: $(VENV)/installed .cache/tools/installed ## the tests with all cases, and which code they reach
	$(BIN)/python -m pytest $(PYTEST_ARGS) --full --ignore tests/torture --cov --cov-report=term-missing:skip-covered

# The table that it ends in is the one of docs/reliability.md.
torture: $(VENV)/installed ## the promises under fire, at full length
	$(BIN)/python -m pytest tests/torture --full -n 2 --dist load

torture-short: $(VENV)/installed ## the same with a small part of the tries
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/torture

matrix: $(VENV)/installed ## unit tests on each Python found, and on oldest libraries
	.ci/matrix

audit: $(VENV)/installed ## known vulnerabilities of the locked libraries
	$(BIN)/python .ci/audit.py

$(VENV)/bench: $(VENV)/installed
	@$(PIP) install --quiet --editable '.[bench]'
	@touch $@

# The figures of docs/performance.md. BENCH_ARGS: which, and for how long. Needs the image, strace and root.
bench: $(VENV)/bench ## what the agent costs, on the image's files
	PYTHON=$(BIN)/python bench/image.sh $(BENCH_ARGS)

# The picture of the chart's dashboard, by real agents and a real Prometheus, in two minutes.
dashboard: $(VENV)/bench ## the picture of the chart's dashboard
	$(BIN)/python -m bench.dashboard docs/dashboard.png

$(VENV)/docs: $(VENV)/installed
	@$(PIP) install --quiet --editable '.[docs]'
	@touch $@

# Strict, and without a network: docs/site/build.py says what it refuses.
docs: $(VENV)/docs ## the documentation as a site, .cache/docs/site
	$(BIN)/python docs/site/build.py

# Of the config's schema, the parser of the commands, the metrics and the charts' values; tests hold the pages against them.
reference: $(VENV)/installed ## docs/reference, after what it is made of changed
	$(BIN)/python docs/site/reference.py docs/reference

# The page, `status` and the demo. What draws terminals stays out of .venv, where structlog would load it.
.cache/pictures/installed: bench/pictures.txt | $(VENV)/installed
	@$(PIP) install --quiet --upgrade --target .cache/pictures --requirement bench/pictures.txt
	@touch $@

pictures: .cache/pictures/installed dashboard ## the pictures of the documents; needs Chromium
	PYTHONPATH=.cache/pictures $(BIN)/python -m bench.pictures docs/pictures

fleet: $(VENV)/bench ## a day of 10,000 pods, simulated
	$(BIN)/python -m bench.fleet --plot docs/fleet.png

check: $(VENV)/installed ## ruff, mypy, shellcheck, hadolint; the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck --external-sources .ci/run .ci/matrix image/*.sh bench/*.sh examples/*/*.sh
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --quiet --offline .github/workflows
	@if [ -x .cache/tools/actionlint ]; then .cache/tools/actionlint; else echo 'No actionlint here: make tools, with go'; fi

format: $(VENV)/installed ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the images install: the run-time dependencies of setup.cfg, resolved and hashed, for every platform. The
# controller's libraries are the sidecar's, in the same versions, and more.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.13 --no-emit-index-url \
  --custom-compile-command 'make lock'
lock: $(VENV)/installed ## resolve the locks anew, after a change in setup.cfg
	$(LOCK) --output-file requirements.lock setup.cfg
	$(LOCK) --output-file requirements-controller.lock --constraint requirements.lock --extra controller setup.cfg
	$(LOCK) --output-file release/build.lock release/build.in

# BASE: another base image than the Dockerfile's. ARCH: amd64 or arm64, if not this machine's.
image: $(VENV)/installed ## build the image; IMAGE=name:tag, ENGINE=, BASE=
	PYTHON=$(BIN)/python BASE=$(BASE) ARCH=$(ARCH) image/build.sh $(IMAGE)

image-test: $(VENV)/installed ## run the built image for real
	PYTHON=$(BIN)/python image/test.sh $(IMAGE)

controller-image: $(VENV)/installed ## build the controller's image; as above
	TARGET=controller PYTHON=$(BIN)/python BASE=$(BASE) ARCH=$(ARCH) image/build.sh $(IMAGE)

controller-image-test: $(VENV)/installed ## run it for real
	TARGET=controller PYTHON=$(BIN)/python image/test.sh $(IMAGE)

base-digest: ## pin the Dockerfile's base to what its registry has now
	$(PYTHON) image/base_digest.py

# In namespaces of its own; needs root, Go and Debian's packages. The first one takes six to twelve minutes to build.
# CLUSTER_KUBERNETES: newest, older or a version. docs/cluster.md has the rest.
cluster: $(VENV)/installed ## a real Kubernetes node on this machine
	@$(BIN)/python -m tests.cluster up

cluster-down: $(VENV)/installed ## end it, and leave nothing behind
	@$(BIN)/python -m tests.cluster down

# With the image of `make image`; on the cluster of KUBECONFIG where that is set. CLUSTER_TEST_ARGS: pytest's.
CLUSTER_TEST_ARGS ?= tests/cluster -q -n 6 --dist loadgroup
cluster-test: $(VENV)/installed ## the tests on a real Kubernetes node
	@$(BIN)/python -m tests.cluster test $(CLUSTER_TEST_ARGS)

# etcd and the API server, as the node has them; needs Go and no root. CLUSTER_KUBERNETES as above.
APISERVER_TEST_ARGS ?= tests/apiserver -q -n 4 --dist worksteal
apiserver-test: $(VENV)/installed ## the tests on an API server without a node
	@$(BIN)/python -m tests.apiserver.server
	@CLUSTER_APISERVER=1 $(BIN)/python -m pytest -p no:cacheprovider $(APISERVER_TEST_ARGS)

# Helm 3 and 4 and kubectl, and readers of .env files where npm and go are, for tests where none is on PATH; actionlint.
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
.cache/tools/installed: tests/support/chart_tools.txt tests/support/dotenv_readers/__init__.py | $(VENV)/installed
	$(BIN)/python -m tests.support.chart_tools
	$(BIN)/python -m tests.support.dotenv_readers
	@! command -v go >/dev/null || GOBIN=$(CURDIR)/.cache/tools go install $(ACTIONLINT) || echo 'No actionlint from here.'
	@touch $@

tools: .cache/tools/installed ## helm, kubectl, .env readers into .cache/tools

# After charts/values.schema.in.json changed, too.
chart-schema: $(VENV)/installed ## the chart's schema, after the config's changed
	$(BIN)/python charts/schema.py > charts/freshmount/values.schema.json

# After a README.md.gotmpl changed, too. Needs Go.
HELM_DOCS ?= go run github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
chart-docs: ## the charts' README.md, after a values.yaml changed
	$(HELM_DOCS) --chart-search-root charts --sort-values-order file

# docs/release.md. RELEASE_ARGS: --only package,charts,images,sums, --arch amd64,arm64, --final, --out DIRECTORY.
release: $(VENV)/installed ## what a release has, in dist/; VERSION=x.y.z
	@$(MAKE) --no-print-directory .cache/tools/installed || echo 'No helm from here: one on PATH packages the charts.'
	@$(BIN)/python -m release $(RELEASE_ARGS) $(VERSION)

version: $(VENV)/installed ## write VERSION=x.y.z wherever it is named
	@$(BIN)/python -m release.version $(VERSION)

release-test: $(VENV)/installed ## build the images of a release, and try them
	$(BIN)/python -m pytest --quiet -p no:cacheprovider release/test_images.py

clean: ## remove what the others made
	rm -rf $(VENV) .cache dist image/wheels*/*.whl charts/demo/charts charts/demo/Chart.lock .coverage .pytest_cache .mypy_cache \
	  .ruff_cache .hypothesis *.egg-info
