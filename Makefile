# `make mesh` shows tunmesh at work, `make test` runs the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NODES  ?= 3
MINUTES ?= 60
TESTS  ?= tests
JOBS   ?= 2
SECONDS ?= 60
SEEDS  ?= 10

# The schemas of Kubernetes, 22 MB. Where they cannot be installed, tests that need them are skipped.
SCHEMAS = $(BIN)/pip install -qqq --disable-pip-version-check --config-settings editable_mode=compat \
	-e '.[kubernetes]' || echo "no kubernetes-validate here: tests that need it will be skipped"

.PHONY: help mesh test simulate test-container test-patroni test-browser bench bench-scale bench-far bench-attack soak faults fuzz lint types format docs dist clean
help:
	@echo "make mesh           run a mesh of real nodes on this machine (NODES=3, 2 to 50;"
	@echo "                    AUTO=1: one config for all, they choose their addresses;"
	@echo "                    KEEP=1 leaves it up and prints how to look around)"
	@echo "make test           run the test suite (TESTS=tests.wire runs a part)"
	@echo "make simulate       simulate each scenario with SEEDS=10 seeds that were never tried"
	@echo "                    (ONLY=claims: one scenario)"
	@echo "make test-container test image and deployment examples with podman and Docker,"
	@echo "                    as root (ENGINES=docker: with one of them)"
	@echo "make test-patroni   test a floating address with Patroni and PostgreSQL, as root"
	@echo "make test-browser   test the live page in Debian's chromium, as root"
	@echo "                    (PICTURES=DIRECTORY saves screenshots)"
	@echo "make bench          measure beside no VPN, a C relay and other VPNs, as root"
	@echo "                    (QUICK=1: less than a minute)"
	@echo "make bench-scale    measure up to 500 peers, and by packet size (QUICK=1)"
	@echo "make bench-far      measure long-distance and lossy paths, as root (42 minutes)"
	@echo "make bench-attack   measure what attacks cost the other nodes, as root"
	@echo "make faults         measure recovery from faults, as root (10 minutes)"
	@echo "make soak           mixed traffic and churn; nothing may grow (MINUTES=60)"
	@echo "make fuzz           fuzz everything that reads outside bytes (SECONDS=60)"
	@echo "make dist           build sdist and wheel in dist/, and try both"
	@echo "make lint           ruff;  make types  mypy;  make format  ruff format"
	@echo "make docs           generate docs/configuration.md, and the deployments in deploy/"

$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e .
	@# pip does not compile an editable install, and Python may not be allowed to (0.2 s per start).
	@$(BIN)/python -m compileall -q tunmesh twisted
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[test]'
	@$(SCHEMAS)
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[bench]'
	@touch $@

$(VENV)/.browser: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[test,browser]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.test
	@$(BIN)/pip install -qqq --disable-pip-version-check --config-settings editable_mode=compat -e '.[fuzz]' || \
	{ echo "make fuzz needs atheris, and pip finds no package of it for this Python on this machine"; exit 1; }
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[dev]'
	@$(SCHEMAS)
	@touch $@ $(VENV)/.test

mesh: $(VENV)/.installed
	@$(BIN)/tunmesh mesh --nodes $(NODES) $(if $(AUTO),--auto) $(if $(KEEP),--keep)

# The order of sets and their like is the same in each run, as all else that the suite draws.
test: $(VENV)/.test
	@PYTHONHASHSEED=$(or $(PYTHONHASHSEED),0) $(BIN)/python -m twisted.trial -j$(JOBS) $(TESTS)

simulate: $(VENV)/.test
	@TUNMESH_FRESH_SEEDS=$(SEEDS) $(BIN)/python -m twisted.trial -j$(JOBS) \
	    tests.simulator.test_simulator.ScenarioTests$(if $(ONLY),.test_$(subst -,_,$(ONLY)))

test-container: $(VENV)/.installed
	@PYTHON=$(CURDIR)/$(BIN)/python tests/container/run $(ENGINES)

test-patroni: $(VENV)/.test
	@TUNMESH_SHOW=1 $(BIN)/python -m twisted.trial tests.patroni

test-browser: $(VENV)/.browser
	@TUNMESH_PICTURES=$(abspath $(PICTURES)) $(BIN)/python -m twisted.trial tests.browser

bench: $(VENV)/.bench
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(SAVE),--save) $(BENCH)

bench-scale: $(VENV)/.installed
	@$(BIN)/python -m bench.scale $(if $(QUICK),--quick) --out bench/results
	@$(BIN)/python -m bench.packet_sizes --out bench/results

fuzz: $(VENV)/.fuzz
	@$(BIN)/python -m fuzz --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY))

soak: $(VENV)/.installed
	@$(BIN)/python -m bench.soak --minutes $(MINUTES) $(if $(OUT),--out $(OUT))

faults: $(VENV)/.installed
	@$(BIN)/python -m bench.faults $(if $(ONLY),--only "$(ONLY)") $(if $(OUT),--out $(OUT))

bench-far: $(VENV)/.installed
	@$(BIN)/python -m bench.far $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SAVE),--save) $(FAR)

bench-attack: $(VENV)/.installed
	@$(BIN)/python -m bench.attack --out bench/results

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

dist:
	@$(PYTHON) -m venv $(VENV)/dist
	@$(VENV)/dist/bin/pip install --quiet --disable-pip-version-check build twine 'setuptools>=77'
	@PYTHON=$(PYTHON) .ci/dist $(VENV)/dist/bin dist

docs: $(VENV)/.installed
	@$(BIN)/tunmesh config reference > docs/configuration.md.new
	@mv docs/configuration.md.new docs/configuration.md
	@for kind in compose kubernetes systemd; do \
	    git ls-files -z deploy/$$kind | xargs -0 rm -f; find deploy/$$kind -type d -empty -delete 2> /dev/null; \
	    $(BIN)/tunmesh init $$kind --without-keys deploy/$$kind > /dev/null || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .fuzz .tox .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -o -name dropin.cache | xargs rm -rf
