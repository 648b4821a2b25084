# make setup   a virtual environment with everything the workbook needs
# make demo    set-up, then notebooks/00_quickstart.ipynb headless: outputs/<run>/talking_face.mp4
# make test    set-up, then linters, types, layers and tests
# make lab     set-up, then JupyterLab on the notebooks
# make browser set-up, then what the tests in a browser need besides Chromium, where there is npm
# make bench   set-up, then every figure that can be measured here: docs/results.md
# make peer    set-up, then DALLE2-pytorch and pyrender beside the environment, to be compared with
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test lab browser bench peer lock clean

setup: $(READY)

# torch comes first: when nothing is installed, other packages would draw in its several GB of GPU libraries.
$(READY): pyproject.toml requirements.lock
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing packages (3.4 GB in $(VENV)), then models (0.9 GB, 1.4 GB unpacked in the cache): minutes, most of them quiet"
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	$(BIN)/avi models
	$(BIN)/python -c "from avi_lib.instruction.language_model import load_language_model as load; load()"
	$(BIN)/avi doctor
	touch $(READY)

demo: setup
	$(BIN)/avi run 00

# A thread for each of two workers: with two each, networks wait for one another several times as long as they compute.
# mypy needs minutes of one core on a fresh clone and takes what the workers leave.
test: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	@nice $(BIN)/mypy & types=$$!; OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal; tests=$$?; \
		wait $$types && exit $$tests

# Tests alone use it: three.js to play glTF files, the Khronos validator to find fault with them.
browser: setup
	npm install --silent --no-audit --no-fund --prefix .tools/js three@0.187.0 gltf-validator@2.0.0-dev.3.10

lab: setup
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/notebooks/00_quickstart.ipynb

bench: setup
	$(BIN)/python -m tools.benchmarks

# Never into the environment: a peer's torchvision does not go with a torch built for processors, another's PyOpenGL is old.
peer: setup
	$(BIN)/pip install --quiet --no-deps --upgrade --target .tools/peer -r requirements.peer.lock
	$(BIN)/pip install --quiet --no-deps --upgrade --target .tools/pyrender -r requirements.render-peer.lock

# Refresh the exact lock and environment.yml after a change of pyproject.toml.
lock: setup
	$(BIN)/pip install --quiet torch==2.13.0 -e ".[dev]"
	$(BIN)/python -m tools.assets.lock

clean:
	rm -rf $(VENV) .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
