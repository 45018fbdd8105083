# Two commands, each from nothing: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Tests start the program dozens of times; each would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check slow clean

demo: $(READY)
	$(BIN)/python -m infimm_eval --tasks coco,vqav2 --shots 0,4

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

slow: $(READY)
	$(BIN)/python -m pytest -m slow --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright

clean:
	rm -rf $(VENV) dist build

# uv installs in seconds what pip takes minutes for; without it pip does the same work.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv || true
	if [ -x $(BIN)/uv ]; then \
		$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable . --group dev; \
	else \
		$(BIN)/python -m pip install --quiet --upgrade pip && \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev; \
	fi
	touch $(READY)
