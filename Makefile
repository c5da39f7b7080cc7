# Every target works from a fresh clone; `make` alone lists them.
# PYTHON names the interpreter that .venv is made of (3.11 or newer).
PYTHON ?= python3
VENV := .venv/bin
# A target that fails leaves no half-made file that looks finished.
.DELETE_ON_ERROR:
.PHONY: help setup test slow lint sanitize package readme check bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## make .venv with harness (editable), the tests' and the linters' packages
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --editable '.[test,lint]'

test:  ## the tests, two at a time
	$(VENV)/python -m pytest

slow:  ## the tests that `make test` leaves out
	$(VENV)/python -m pytest -m slow

lint:  ## ruff, mypy, cython-lint, layers of imports, what is kept in one room
	.ci/lint

sanitize:  ## the native tests under AddressSanitizer and UBSan
	PYTHON=$(VENV)/python tests/native/sanitize.sh

package:  ## build sdist and wheel, install and use each in a fresh environment
	PYTHON=$(PYTHON) tests/package.sh

readme:  ## execute README's shell lines, but the tests', in a fresh clone; takes ten minutes
	tests/readme.sh --without-tests

check:  ## everything that must hold before a change lands; makes .venv anew
	.ci/run

bench:  ## run benchmarks/$(NAME).py, or list what there is
ifdef NAME
	$(VENV)/python benchmarks/$(NAME).py $(ARGUMENTS)
else
	@ls benchmarks/*.py | sed 's|benchmarks/\(.*\)\.py|make bench NAME=\1|'
endif

clean:  ## remove what was built, and caches; .venv and profiles stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -f harness/native/*.so
	find harness tests benchmarks profiles -name __pycache__ -prune -exec rm -r {} +
