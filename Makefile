# Every task of the project, one command each; `make help` lists them, CI calls nothing else.
#
# The environment and the build are stamp files, so a second run does only what has changed. For all recipes the
# environment's programs come first on PATH and VIRTUAL_ENV is set: otherwise pyo3 sees another Python at each switch
# between maturin and cargo, and builds anew.

VENV := .venv
BIN := $(VENV)/bin
PIP := pip==26.3# older ones know no dependency groups
TESTED_PATH := $(subst $(CURDIR)/$(BIN):,,$(PATH))
TOOLCHAIN = PATH="$(TESTED_PATH)" sh scripts/toolchain.sh

export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# As maturin sets it: an extension links no libpython, whoever builds it.
export PYO3_BUILD_EXTENSION_MODULE := 1

# Folders too: a file that was added or removed changes nothing else.
SOURCES := Cargo.toml Cargo.lock pyproject.toml \
	$(shell find rust -type d -o -name '*.rs' -o -name Cargo.toml)
INSTALLED := $(VENV)/.installed
PLANTED := target/planted-site/jobq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test crash soak check check-rust check-types check-house docs fmt bench bench-check coverage planted wheel \
	sdist package-check clean toolchain FORCE

help: ## list the targets
	@echo 'make <target> [PYTHON=/path/to/python3: another one than the first that suits]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s%s\n", $$1, $$2 }'

demo: $(INSTALLED) ## install, build and hash thousands of real files; [DIR=folder] [WORKERS=n] [DB=store]
	@$(BIN)/python -m jobq demo $(if $(DIR),'$(DIR)') $(if $(WORKERS),--workers '$(WORKERS)') $(if $(DB),--db '$(DB)')

test: $(INSTALLED) $(VENV)/.group-test planted ## the same build, then every Rust and Python test
	$(BIN)/python scripts/run_cargo_tests.py
	@rm -f target/test-report*.xml
	$(BIN)/python -m pytest --hypothesis-profile=ci --junitxml=target/test-report.xml
	$(BIN)/python -m pytest tests/model/test_model.py --hypothesis-profile=explore --junitxml=target/test-report-explore.xml
	$(BIN)/python scripts/check_skips.py target/test-report.xml target/test-report-explore.xml
	$(BIN)/python scripts/check_names.py target/test-report.xml

# A sweep takes longer than any other test may.
crash: $(INSTALLED) $(VENV)/.group-test ## kill, cut off and damage stores: real processes; some tests need root
	$(BIN)/python -m pytest tests/crash -o faulthandler_timeout=600 --junitxml=target/crash-report.xml
	$(if $(filter true,$(CI)),$(BIN)/python scripts/check_skips.py target/crash-report.xml)

soak: $(INSTALLED) $(VENV)/.group-test ## the same for long, by new seeds: [MINUTES=n] [SEED=n] [PART=name]
	$(BIN)/python scripts/soak.py --minutes '$(or $(MINUTES),60)' --seed '$(or $(SEED),1)' $(if $(PART),--part '$(PART)')

check: check-rust check-types check-house docs ## formats, lints, types, stubs, layers, the public API, the docs

check-rust: | toolchain $(INSTALLED)
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

check-types: $(INSTALLED) $(VENV)/.group-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m mypy.stubtest jobq --mypy-config-file pyproject.toml

check-house: $(INSTALLED)
	$(BIN)/python scripts/check_layers.py
	$(BIN)/python scripts/check_api.py

docs: $(INSTALLED) ## run the examples of README, docs and examples/, check the paths and commands they name
	$(BIN)/python scripts/check_docs.py

fmt: $(VENV)/.group-lint ## format Rust and Python
	cargo fmt
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format --quiet

BENCH = $(BIN)/python -m pytest benches -p benchmark -o python_files='bench_*.py' -o faulthandler_timeout=900

bench: $(INSTALLED) $(VENV)/.group-bench ## measure, peers beside us in the same run
	$(BENCH) --benchmark-only --benchmark-columns=min,median,iqr,ops,rounds --benchmark-sort=name

bench-check: $(INSTALLED) $(VENV)/.group-bench ## run each bench once, measure nothing
	$(BENCH) --benchmark-disable --quiet
	$(BIN)/python -m benches.durable --quick

coverage: $(INSTALLED) $(VENV)/.group-coverage planted ## which lines of the Python package the tests reach
	$(BIN)/coverage run -m pytest --hypothesis-profile=ci --quiet
	$(BIN)/coverage report --show-missing --skip-covered

wheel: | toolchain $(VENV)/.group-build $(VENV)/.group-wheel ## a manylinux_2_17 wheel in dist/
	rm -f dist/*.whl
	$(BIN)/maturin build --release --zig --compatibility manylinux_2_17 -i $(BIN)/python --out dist

sdist: | toolchain $(VENV)/.group-build ## a source distribution in dist/
	rm -f dist/*.tar.gz
	$(BIN)/maturin sdist --out dist

package-check: wheel sdist ## install wheel, sdist and clone, each into an empty environment, and use them
	$(BIN)/python scripts/check_package.py dist

# Broken variants of the engine, chosen at run time by the tests that must catch them. Without link-time optimisation:
# the build takes half the time and the tests measure nothing.
planted: $(PLANTED)/.built ## the package with its planted faults, for PYTHONPATH=target/planted-site

$(PLANTED)/.built: $(SOURCES) $(shell find python -name '*.py') | toolchain $(VENV)/.pip
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo build --locked --release -p jobq-python --features planted --target-dir target/planted
	rm -rf $(PLANTED)
	mkdir -p target/planted-site
	cp -R python/jobq $(PLANTED)
	rm -f $(PLANTED)/*.so
	cp target/planted/release/lib_jobq.so $(PLANTED)/_jobq.so
	@touch $@

$(INSTALLED): $(SOURCES) $(VENV)/.group-build | toolchain
	$(BIN)/maturin develop --release
	@touch $@

$(VENV)/.group-%: pyproject.toml $(VENV)/.pip
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

# Another PYTHON than the one the environment was made with makes it anew.
ifneq ($(PYTHON),)
ifneq ($(PYTHON),$(shell cat $(VENV)/.pip 2>/dev/null))
$(VENV)/.pip: FORCE
endif
endif
$(VENV)/.pip: | toolchain
	rm -rf $(VENV)
	$$($(TOOLCHAIN) python '$(PYTHON)') -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP)
	@echo '$(PYTHON)' > $@

# $(error) prints the one line and nothing else.
toolchain:
	@$(if $(MISSING),$(error $(MISSING)),:)
MISSING = $(shell $(TOOLCHAIN) missing '$(PYTHON)')

clean: ## remove everything that was built
	rm -rf $(VENV) target dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .benchmarks .coverage
	rm -f python/jobq/*.so
	find python scripts tests benches examples -name __pycache__ -type d -prune -exec rm -rf {} +
