# make demo: set up and run the main job on the embedded data set. make test: set up and pass the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # uv does not compile; without bytecode every process spends 3 s compiling torch

.PHONY: demo test check soak clean

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev,slurm,tensorboard]' -c constraints.txt
	touch $@

demo: $(VENV)/.ready
	$(BIN)/idolctl run toy --steps 1,2,3

test: $(VENV)/.ready check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s -m soak

clean:
	rm -rf $(VENV) build dist *.egg-info
