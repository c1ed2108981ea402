# make run    make the environment, run the study in this folder, print its table
# make test   formats, lint, types, workflow checks, all tests: what .ci/run calls
# make ui     MLflow on 127.0.0.1:5000, runs side by side
# make faults   faults, hostile input: the full count, some hours; writes docs/dev/reliability.md
# make cluster  the embedded study on a SLURM started here, then twenty kills; writes docs/cluster.md
# make packages   wheel and sdist in new environments, every Python from 3.11 on
# make docs   the pages of docs/ as a site, in build/site
# make lint   the checks of `make test` without the tests
# make embedded   train the embedded default model anew (up to an hour)
# make clean  remove what `make run` made and Git does not track, but not the environment

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export TOKENIZERS_PARALLELISM := false
# Jobs run side by side, each on its own threads; more threads than cores make BLAS many times slower.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := run
.PHONY: run test ui docs faults cluster packages lint embedded clean

run: $(INSTALLED)
	@rankwise run

test: export HF_HUB_OFFLINE := 1
test: export HF_DATASETS_OFFLINE := 1
test: lint
	pytest -n auto --dist loadgroup --no-loadscope-reorder

ui: $(INSTALLED)
	@rankwise ui

faults: $(INSTALLED)
	python -m tools.faults

cluster: $(INSTALLED)
	python -m tools.cluster

packages: $(INSTALLED)
	python -m tools.packaging.smoke

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "Pages: build/site/index.html"

lint: $(INSTALLED)
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-cache --no-logo
	snakefmt --check Snakefile workflow
	snakemake --lint

embedded: $(INSTALLED)
	python -m rankwise.embedded.train

clean:
	git clean -dfqX -- data logs .snakemake .dvc/cache .dvc/tmp

# A changed lock file or package description installs again; otherwise this costs nothing.
$(INSTALLED): requirements.lock requirements.torch.lock pyproject.toml
	@echo "Installing requirements.lock into $(VENV) (some minutes, once)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --no-deps -r requirements.lock
	@$(PIP) -r requirements.torch.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
