# Each target sets up .venv when it has to, and says what it does. `make help` lists them.
PROFILE ?= mini
BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
JOBS ?= 2
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help reproduce test figures site lab clean

help:  ## list the targets
	@echo "make TARGET [PROFILE=mini]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

# A stamp depends on what is to be installed: an edited pyproject.toml or constraints.txt installs again.
# Compiling the bytecode of all packages takes longer than a notebook, and most is never read: one import of what the
# notebooks use compiles that, and shows that it loads.
INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
.venv/installed: pyproject.toml constraints.txt
	@$(BASE_PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python {v.major}.{v.minor} found, 3.11 or newer needed; try make BASE_PYTHON=python3.12")'
	@echo "Setting up .venv (torch is large: a few minutes, once)"
	@test -x $(PYTHON) || $(BASE_PYTHON) -m venv .venv
	@$(INSTALL) -e .
	@PYTHONDONTWRITEBYTECODE= $(PYTHON) -c 'import faiss, gensim.models, ipykernel.kernelapp, ipywidgets, matplotlib.pyplot, \
	  nbconvert, numba, papermill, seaborn, torch.optim, tqdm.auto, transformers.modeling_utils'
	@touch $@

.venv/testing: .venv/installed
	@echo "Adding what the tests need"
	@$(INSTALL) -e '.[dev,cluster,lance,site]'
	@touch $@

reproduce: .venv/installed  ## run notebooks 00 to 06, write results/, the report and the explorer
	@if test $(PROFILE) = pictures; then $(PYTHON) -m fico_utils fetch --profile pictures openclipart stamps towers; fi
	@if test $(PROFILE) = causes; then $(PYTHON) -m fico_utils fetch --profile pictures openclipart towers; \
	  $(PYTHON) -m fico_utils causes; exit; fi; \
	  echo "Running the notebooks on profile $(PROFILE); steps that are fresh are skipped"; \
	  $(PYTHON) -m fico_utils run --profile $(PROFILE); \
	  $(PYTHON) -m fico_utils explore --profile $(PROFILE)
	@if test $(PROFILE) = pictures; then $(PYTHON) -m fico_utils studies --profile pictures; fi

# One thread a worker: threads of two workers that wait for each other burn more time than the tests take. A process of a
# test compiles no module that an earlier one compiled. Neighbouring tests stay in one worker, which makes what they share
# once, until the other has none left; those of a file of notebooks stay in any case, as they look at one run.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: .venv/testing  ## run the tests and the style check
	@echo "Running the style check and the tests"
	@.venv/bin/ruff check .
	@$(PYTHON) -m pytest -n $(JOBS) --dist worksteal -m "not notebooks"
	@echo "Running every notebook on the mini profile (minutes)"
	@$(PYTHON) -m pytest -n $(JOBS) --dist loadfile -m notebooks $$(grep -rl --include='test_*.py' mark.notebooks tests)

# What a run draws stays in results/. This alone changes files that are committed: pictures, the numbers that they draw,
# the result tables, the tables for GitHub to show, and the tables of the READMEs.
figures: .venv/installed  ## redraw tables and figures from results/, copy them to figures/ and the READMEs
	@echo "Redrawing tables and figures of profile $(PROFILE)"
	@if test $(PROFILE) = causes; then $(PYTHON) -m fico_utils causes --redraw; \
	  else $(PYTHON) -m fico_utils run --profile $(PROFILE) --only 06 --force; fi
	@mkdir -p figures/$(PROFILE)
	@for file in results/$(PROFILE)/figures/*.{svg,pdf,csv} results/$(PROFILE)/{metrics,costs,stored,claims,grid}.csv \
	  results/$(PROFILE)/study_*.csv results/$(PROFILE)/sheet.png \
	  results/$(PROFILE)/causes.md results/$(PROFILE)/tables/table*.md; do \
	  if test -f "$$file"; then cp "$$file" figures/$(PROFILE)/; fi; done
	@$(PYTHON) -m fico_utils.extras.readme
	@echo "Figures copied to figures/$(PROFILE)/"

.venv/documenting: .venv/installed
	@echo "Adding what the site needs"
	@$(INSTALL) -e '.[site]'
	@touch $@

site: .venv/documenting  ## build the site of a run, offline: results/PROFILE/site/index.html
	@echo "Building the site of profile $(PROFILE)"
	@$(PYTHON) docs/build.py --profile $(PROFILE)

lab: .venv/installed  ## open the notebooks in JupyterLab
	@echo "Opening the notebooks"
	@.venv/bin/jupyter lab notebooks

clean:  ## delete results of PROFILE and .venv; figures/ stays
	@if test -x $(PYTHON); then $(PYTHON) -m fico_utils clean --profile $(PROFILE); fi
	@echo "Removing .venv"
	@rm -rf .venv
