# Two commands, nothing before them: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1

.PHONY: demo test test-fast check browser units web federation phones firefox certutil devices arm64 long mutation papers secure-long survival bench-load bench-federation bench-engines bench-inversion bench-privacy bench-recipes bench-clipping bench-devices bench-personalisation bench-gpu bench-codecs clean

demo: $(VENV)/.demo  ## four ways of sending updates compared on Fashion-MNIST
	@echo "Running the demo: 8 experiments of 40 rounds, some minutes on two cores. Ctrl-C and 'make demo' again goes on."
	$(BIN)/hedgerow sweep demo --out runs/demo

test: check browser certutil units web  ## everything that CI runs; tests/conftest.py says which tests keep to one worker
	@$(BIN)/python -m compileall -q hedgerow  # once, and not in each of the hundreds of processes that tests start
	$(BIN)/pytest -n 3 --durations=10  # on two cores: tests of federations wait more than they compute

test-fast: check  ## without the tests marked slow
	$(BIN)/pytest -n 2 -m "not slow and not long"

check: $(VENV)/.dev  ## style, types and the arrows between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# As root or with sudo, on what has apt; elsewhere the test that needs it is skipped, and says so.
define by-apt
	echo "Installing $(1) by apt, once."; test "$$(id -u)" = 0 || as="sudo -n"; \
	$$as apt-get update -qq && $$as apt-get install -y -qq --no-install-recommends $(1) >/dev/null \
	|| echo "NO $(1): it cannot be installed here, and $(2) will be skipped." >&2
endef

browser:  ## Chromium, in which the status page is tested
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit 0; done; \
	$(call by-apt,chromium,the test of the status page)

units:  ## systemd, by which the units are verified
	@command -v systemd-analyze >/dev/null && exit 0; $(call by-apt,systemd,the verification of the units)

certutil:  ## by which a browser of the tests is given a CA to trust
	@command -v certutil >/dev/null && exit 0; $(call by-apt,libnss3-tools,tests of phones in a browser)

web: web/dist/build.json  ## the page for phones, of which wheels take a copy; and what the tests of its sources need

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { $(call by-apt,nodejs npm,the test of the phone's part); }
	@! command -v npm >/dev/null || { cd web && npm ci --loglevel=error --no-audit --no-fund && touch node_modules/.package-lock.json; } \
	|| echo "NO PACKAGES for web/: they cannot be installed here, and the test of the phone's part will be skipped." >&2

web/dist/build.json: web/node_modules/.package-lock.json $(shell find web/src web/public web/index.html web/vite.config.ts -type f)
	@test ! -d web/node_modules || { cd web && npm run --silent page -- --logLevel warn; }

# Chromium has the federation's CA in its certificate store, and ignores no errors.
phones: $(VENV)/.dev browser certutil web  ## a node with torch, one without, and two pages in Chromium in one federation (minutes)
	$(BIN)/pytest -s tests/installs/test_phones.py

firefox: $(VENV)/.dev certutil web  ## the page for phones in Firefox, which is installed for it (a minute)
	@for name in firefox firefox-esr; do command -v $$name >/dev/null && exit 0; done; \
	$(call by-apt,firefox-esr,the test of the page for phones in Firefox)
	$(BIN)/pytest -s -m long tests/engines/operated/phone_page/test_firefox.py

federation: $(VENV)/.dev  ## from empty environments: a coordinator, and three devices of three users (a minute)
	$(BIN)/pytest -s tests/installs/test_federation.py

# What it needs it brings by apt and pip into a folder of its own; elsewhere than on Debian it is skipped, and says so.
arm64: $(VENV)/.dev  ## a device on an arm64 processor, under qemu: it joins, and trains in three rounds (a minute or two)
	$(BIN)/pytest -s -m long tests/installs/test_arm64.py

devices: $(VENV)/.dev  ## torch, ONNX Runtime, and that on arm64, in one federation of 40 rounds (minutes; results under benchmarks/mixed)
	$(BIN)/python benchmarks/mixed/run.py

long: $(VENV)/.dev  ## statistical tests that take minutes and more runs than CI has
	$(BIN)/pytest -m long tests

mutation: $(VENV)/.dev  ## faults by operators in noise, clipping, release and account (hours; goes on where it stopped)
	$(BIN)/python -m tests.mutation.run

papers: $(VENV)/.dev  ## the published figures (an hour; results under benchmarks/papers)
	$(BIN)/python benchmarks/papers/run.py

secure-long: $(VENV)/.dev  ## 10,000 rounds of secure aggregation with clients that leave at any stage (minutes)
	HEDGEROW_SECURE_ROUNDS=10000 $(BIN)/pytest tests/laws/test_secure_rounds.py --hypothesis-show-statistics

survival: $(VENV)/.dev  ## kills at every place of a federation's processes (an hour or two for each way; results under benchmarks/survival)
	$(BIN)/python -m tests.engines.federation.campaign

bench-load: $(VENV)/.dev  ## 300 devices against one coordinator (a quarter of an hour)
	$(BIN)/python benchmarks/load/run.py

bench-federation: $(VENV)/.dev  ## the pace of a federation of ten devices on this machine (minutes)
	$(BIN)/python benchmarks/federation/run.py

bench-engines:  ## ours beside other simulators, each in an environment of its own (a quarter of an hour)
	$(PYTHON) benchmarks/engines/run.py

bench-inversion: $(VENV)/.dev  ## pictures from updates, protected and not (half an hour; goes on where it stopped)
	$(BIN)/python benchmarks/inversion/run.py

bench-privacy: $(VENV)/.dev  ## accuracy with privacy: a numpy reference, a trusted server, secure sums (an hour; goes on where it stopped)
	$(BIN)/python benchmarks/privacy/run.py

bench-recipes: $(VENV)/.dev  ## what the private recipes reach, four seeds each (minutes)
	$(BIN)/python benchmarks/recipes/run.py

bench-codecs: $(VENV)/.dev  ## ways to send real updates: bits, error and time (minutes)
	$(BIN)/python benchmarks/codecs/run.py

bench-clipping: $(VENV)/.dev  ## clipping each sample's gradient, beside Opacus (a minute)
	$(BIN)/python benchmarks/clipping/run.py

bench-devices: $(VENV)/.dev  ## a device without torch: steps, memory, start, install (minutes)
	$(BIN)/python benchmarks/devices/run.py

bench-personalisation: $(VENV)/.dev  ## personal layers on the clients' own held-out part (minutes)
	$(BIN)/python benchmarks/personalisation/run.py

bench-gpu: $(VENV)/.dev  ## rounds on an NVIDIA GPU beside the processors of the same machine (minutes)
	$(BIN)/python benchmarks/gpu/run.py

clean:  ## remove what was installed and made
	rm -rf $(VENV) runs web/node_modules web/build web/dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# torch comes first and by its exact version: any other request for it may bring a CUDA build of gigabytes.
$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hedgerow needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing torch into $(VENV), once: hundreds of megabytes to download, some minutes."
	$(BIN)/pip install torch==2.13.0
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "Installing Hedgerow and what it needs into $(VENV), once: a minute or two."
	$(BIN)/pip install --editable ".[simulation,report]"
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "Installing what development needs into $(VENV), once: some minutes."
	$(BIN)/pip install --editable ".[dev]"
	touch $@ $(VENV)/.demo
