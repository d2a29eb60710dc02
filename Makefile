# `make test` on a fresh Debian 12 as root does everything by itself; see CONTRIBUTING.md.
PYTHON ?= /usr/bin/python3
BIN := .venv/bin
RUN := $(BIN)/python -m

.PHONY: setup native lint test test-runtime test-all test-vm demo demo-rootless bench clean

setup: .build/venv native

.build:
	@mkdir -p .build

.build/packages: packages.txt | .build
	@.ci/install-packages packages.txt
	@touch $@

.build/packages-vm: packages-vm.txt .build/packages
	@.ci/install-packages packages-vm.txt
	@touch $@

.build/venv: pyproject.toml hatch_build.py .build/packages
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

# The executables of the environment follow the sources without a new installation.
native: .build/venv
	@$(MAKE) -s -j$$(nproc) -C native VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/wherry/__init__.py)
	@for name in wherry wherry-runtime; do cmp -s .build/native/wherry $(BIN)/$$name || \
		install -m 0755 .build/native/wherry $(BIN)/$$name; done

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check -q
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup
	$(RUN) pytest tests -m "not long"

# WHERRY_TEST_RUNTIME=runc (or crun) runs the same tests on a peer.
test-runtime: setup
	$(RUN) pytest tests/system/runtime

test-all: setup .build/packages-vm
	$(RUN) pytest tests

test-vm: setup .build/packages-vm
	$(RUN) pytest tests/vm

demo: setup
	@demo/demo.sh $(BIN)/wherry

demo-rootless: setup
	@demo/rootless.sh .venv

bench: setup
	@for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .build
