# Each target makes what it needs first. `make` alone lists them.

VENV     := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
STAMP    := $(VENV)/.installed
TEACHERS := medsam2 rad_dino medclip

.DEFAULT_GOAL := help
.PHONY: help demo test check coverage spelling baseline bench docs-figures docs teachers model memory package annotate study study-full study-real films-given clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## the whole method on synthetic data, offline: phantom, distillation, training, evaluation, pictures
	$(PYTHON_IN_VENV) scripts/demo.py

test: check ## lint, types and every test, in two processes
	$(PYTHON_IN_VENV) -m pytest --durations=15 --numprocesses 2

check: $(STAMP) ## lint, format, types, layers, docstrings and names only
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m mypy
	$(VENV)/bin/lint-imports --no-cache
	$(PYTHON_IN_VENV) scripts/maintenance/check_docstrings.py bundle scripts
	$(PYTHON_IN_VENV) scripts/maintenance/check_names.py
	$(PYTHON_IN_VENV) -m codespell_lib .

coverage: $(STAMP) ## every test, with the lines that none of them reaches
	$(PYTHON_IN_VENV) -m pytest --cov --cov-report=term --numprocesses 2

spelling: $(STAMP) ## correct spelling, to American, in place
	$(PYTHON_IN_VENV) -m codespell_lib --write-changes .

baseline: $(STAMP) ## MONAI's networks and the student without distillation, on the demo's frames, for the demo's time
	$(PYTHON_IN_VENV) scripts/laboratory/baseline.py

bench: $(STAMP) ## measure speed and memory on this machine: docs/benchmarks.md and docs/benchmarks.json
	$(PYTHON_IN_VENV) scripts/laboratory/bench.py

study: $(STAMP) ## every evidence study at a small scale, in runs/study_small: a check that all works
	$(PYTHON_IN_VENV) scripts/laboratory/study.py --scale small --jobs 2
	$(PYTHON_IN_VENV) scripts/laboratory/look_inside.py --scale small --output_dir runs/study_small

study-full: $(STAMP) ## the studies of docs/laboratory: hours on two cores; what is done is not done again
	$(PYTHON_IN_VENV) scripts/laboratory/study.py --scale full --jobs 2 --output_dir docs/laboratory
	$(PYTHON_IN_VENV) scripts/laboratory/look_inside.py

films-given: # before the set-up, which takes minutes
	@test -d "$(JSRT)" -a -d "$(CHEST_XRAYS)" || { echo "expected two folders of films, got JSRT='$(JSRT)' CHEST_XRAYS='$(CHEST_XRAYS)': make study-real JSRT=folder CHEST_XRAYS=folder"; exit 1; }

study-real: films-given $(STAMP) ## the study on real films, JSRT=folder CHEST_XRAYS=folder: many hours, resumable
	$(PYTHON_IN_VENV) scripts/laboratory/study_real.py "$(JSRT)" "$(CHEST_XRAYS)" --jobs 2 --output_dir docs/laboratory $(OPTIONS)

docs: $(STAMP) ## the documentation as a website in site/: strict, without a network; look at it with python -m http.server --directory site
	NO_MKDOCS_2_WARNING=1 $(PYTHON_IN_VENV) -m mkdocs build --quiet

docs-figures: $(STAMP) ## redraw the figures of docs/ from their scripts
	set -e; for script in docs/figures/*.py; do echo "$$script"; $(PYTHON_IN_VENV) "$$script"; done

teachers: $(STAMP) ## train the small teachers that ship in models/teachers/ again
	@mkdir -p runs/teachers
	for teacher in $(TEACHERS) compare; do \
	  $(PYTHON_IN_VENV) scripts/laboratory/train_teacher.py $$teacher --frames runs/teachers/frames.npz || exit 1; done

model: $(STAMP) ## train models/model.pt again, from the demo's model: run `make demo` first
	$(PYTHON_IN_VENV) scripts/laboratory/make_model.py

memory: $(STAMP) ## train models/memory.pt again, SAM 2's memory for models/model.pt
	$(PYTHON_IN_VENV) scripts/laboratory/make_memory.py

package: $(STAMP) ## the bundle as one zip with checksums, for sites: dist/
	$(PYTHON_IN_VENV) scripts/package.py

annotate: $(STAMP) ## serve STUDIES=folder (or a DICOMweb address) to annotators with MONAI Label, on this machine only
	@test -n "$(STUDIES)" || { echo "say what to annotate: make annotate STUDIES=path/to/folder"; exit 1; }
	@bash scripts/setup_annotation.sh
	.venv-annotation/bin/python scripts/annotate.py "$(STUDIES)" $(OPTIONS)

clean: ## remove caches; keeps .venv, models/ and runs/ (delete those by hand)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage htmlcov build *.egg-info
	find bundle scripts tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. The stamp is written last and holds the folder it was made for, so that an interrupted set-up is
# resumed, and a copied or moved clone gets its own environment instead of running the old clone's code.
$(STAMP): constraints.txt pyproject.toml scripts/setup_environment.sh
	@bash scripts/setup_environment.sh

ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif
FORCE:
