# make demo: everything from nothing, then a clip with the embedded model.   make test: lint, types, tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes of mypy and of the tests. One of the tests takes up to 3 GiB.
JOBS ?= 2

.PHONY: demo test check docs render-check clean

$(STAMP): pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c requirements/constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/castsheet demo --out out/demo

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers $(JOBS)

test: check
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal

# The reference of all modules, from their docstrings: out/docs/index.html. Fails where a module cannot be imported.
docs: $(STAMP)
	$(BIN)/python -m tools.reference out/docs

render-check: $(STAMP)
	$(BIN)/python -m mini.render_check

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
