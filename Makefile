# `make demo` and `make test` do all the set-up on a fresh clone: they need python3 (>= 3.10) and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast mutants lint docs clean

$(CORE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=24"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(STAMP): $(CORE)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(CORE)
	$(BIN)/gtpt predict examples/photos/*.jpg --boxes examples/photos/boxes.csv --explain --out out/demo
	@echo "Pictures and keypoints are in out/demo"

# Each test process works on one thread, so that they do not fight for cores; a file stays with one as long as both have work.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test: $(STAMP) lint
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m "not integration"

# Do tests fail for small changes of the code? About an hour on one core; MUTANTS='*[37]' tries a fifth.
MUTANTS ?= *
mutants: $(STAMP)
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/mutmut run --max-children 1 "$(MUTANTS)"
	$(BIN)/python tools/mutants.py

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site is in out/site"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) out
