# Every target works in a fresh clone: the virtual environment is made on first use and nothing needs activating.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Here, and only here, a compiler's warning is an error.
export ANYBPF_WERROR := 1
# The version of the interpreter is asked, not assumed: the extension's file name carries it.
ENGINE_SOURCES := $(wildcard src/anybpf/runtime/_engine/*.c src/anybpf/runtime/_engine/*.h) src/anybpf/runtime/build_engine.py setup.py

.PHONY: help demo test lint bench soak build test-windows wheel-windows clean

help:
	@echo "make demo           compile, verify, run and reject sample programs over a recorded capture"
	@echo "make test           run the tests"
	@echo "make lint           ruff and mypy --strict"
	@echo "make bench          speed, as ratios against peers measured in the same run"
	@echo "make soak           ten minutes of live traffic; nothing may be lost or leaked (Linux, root)"
	@echo "make test-windows   the tests and the demo on a Windows Python under wine"
	@echo "make wheel-windows  a win_amd64 wheel in dist/"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml $(ENGINE_SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

build: $(STAMP)

demo: build
	$(BIN)/anybpf demo

test: build
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: build
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

bench: build
	$(BIN)/python benchmarks/run.py

soak: build
	$(BIN)/python benchmarks/soak.py

test-windows: build
	$(BIN)/python tests/windows/lab.py test

wheel-windows: build
	$(BIN)/python tests/windows/lab.py wheel

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	rm -f src/anybpf/runtime/_engine.*.so src/anybpf/runtime/_engine.*.pyd
