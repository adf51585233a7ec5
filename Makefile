# The whole developer interface: make demo · test · test-full · lint · bench · docs · pins · clean
#
# Every target makes .venv first, once: python3 -m venv, then the hashed pins of requirements/.
# PYTHON=python3.12 chooses the interpreter; PACKAGE=wheel tests the built wheel, not src/; JOBS=0 tests in
# one process, in order (else one more than there are processors, because tests of servers wait); PYTEST_ARGS and
# DEMO_ARGS are handed on.

PYTHON ?= python3
PACKAGE ?= editable
PYTEST_ARGS ?=
JOBS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
DEMO_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv
SOURCES := $(shell find src -type f -not -name '*.pyc')

.PHONY: demo test test-full test-lowest lint format bench docs pins clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed-$(PACKAGE)
	$(BIN)/python -m perceived demo --out demo $(DEMO_ARGS)

test: $(VENV)/installed-$(PACKAGE)
	PERCEIVED_TESTED=$(PACKAGE) $(BIN)/python -m pytest --numprocesses $(JOBS) $(PYTEST_ARGS)

test-full: $(VENV)/installed-$(PACKAGE)
	PERCEIVED_TESTED=$(PACKAGE) $(BIN)/python -m pytest --full $(PYTEST_ARGS)

# The lowest versions that pyproject.toml allows, of what the core, the server, videos and audits need.
LIGHT := $(patsubst %,tests/unit/test_%.py,answers audit audit_command classifier corruptions detector draw images \
	predict_command predictor video) tests/unit/data/test_table.py tests/unit/data/test_holdout.py tests/server

test-lowest: $(VENV)/installed-pins
	$(UV) venv --quiet --clear --python $(BIN)/python build/lowest
	$(UV) pip install --quiet --python build/lowest/bin/python --resolution lowest-direct '.[audit,heic,serve,video]' \
		'fairlearn>=0.12' 'hypothesis>=6.120' 'onnx>=1.19' 'psutil>=6' 'pytest>=8.3' 'pytest-xdist>=3.6' 'scikit-image>=0.24'
	build/lowest/bin/python -m pytest --numprocesses $(JOBS) -W ignore::DeprecationWarning $(LIGHT) $(PYTEST_ARGS)

lint: $(VENV)/installed-pins
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

format: $(VENV)/installed-pins
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

# What measures by itself; the others are asked with a model, or are what these share.
BENCHMARKS := $(filter-out $(addprefix benchmarks/,on_cluster.py pictures.py stored_weights.py),$(wildcard benchmarks/*.py))

bench: $(VENV)/installed-$(PACKAGE)
	@for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

docs: $(VENV)/installed-$(PACKAGE)
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_python_reference.py
	$(BIN)/python docs/make_results.py
	$(BIN)/python docs/make_scale.py
	$(BIN)/python docs/make_curves.py

# uv is installed by its hash, and then installs everything else by theirs: quickly, and from its
# cache the second time. `pip install --require-hashes -r requirements/dev.txt` does the same, slowly.
# Bytecode is compiled once, as pip does: else every process would, where it may not be written later.
$(VENV)/installed-pins: requirements/uv.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("perceived needs Python 3.11 or newer, and this is %d.%d. Try: make PYTHON=python3.12 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# The build back end is among the pins, so neither install downloads anything.
$(VENV)/installed-editable: $(VENV)/installed-pins pyproject.toml
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/installed-wheel
	@touch $@

$(VENV)/installed-wheel: $(VENV)/installed-pins pyproject.toml README.md LICENSE $(SOURCES)
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --reinstall dist/*.whl
	@rm -f $(VENV)/installed-editable
	@touch $@

# One set of versions for everybody: the others take theirs from dev.txt.
COMPILE := $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make pins"

pins:
	test -x $(BIN)/uv || ($(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --require-hashes -r requirements/uv.txt)
	echo uv | $(COMPILE) - --output-file requirements/uv.txt
	$(COMPILE) pyproject.toml --extra dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --extra train --constraint requirements/dev.txt --output-file requirements/train.txt
	$(COMPILE) pyproject.toml --extra serve --constraint requirements/dev.txt --output-file requirements/serve.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file requirements/core.txt
	echo hatchling | $(COMPILE) - --constraint requirements/dev.txt --output-file requirements/build.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
