# Thin names for scripts/dev.py, which says what each does. PYTHON=python3.11 make ... picks a Python.
PYTHON ?= python3

.PHONY: demo test verify setup app notebook mlflow docs
demo test verify setup app notebook mlflow docs:
	@$(PYTHON) scripts/dev.py $@ $(ARGS)
