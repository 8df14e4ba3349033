# Everything happens in .venv; a stamp file says what was installed into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo server test soak fuzz lint bench dist clean

demo: $(VENV)/embedded
	$(BIN)/clip-udfs demo --output demo

server: $(VENV)/embedded
	test -f demo/out/search.html || $(BIN)/clip-udfs demo --output demo
	$(BIN)/clip-udfs server --server-config demo/etc/clickhouse-server

test: $(VENV)/test
	$(BIN)/python -m pytest

soak: $(VENV)/test
	$(BIN)/python -m tests.soak --statements 100000

fuzz: $(VENV)/test
	$(BIN)/python -m tests.fuzz --seconds 600

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/test
	$(BIN)/python -m benchmarks

# The wheel is built from the sdist, installed into an environment of its own, and has to run the demo in an empty directory.
dist: $(VENV)/test
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	set -e; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; wheel=$$(ls $(CURDIR)/dist/*.whl); \
	$(PYTHON) -m venv "$$place/venv"; "$$place/venv/bin/python" -m pip install --quiet "$$wheel[embedded]"; \
	mkdir "$$place/empty"; cd "$$place/empty"; \
	said=$$("$$place/venv/bin/clip-udfs" --version); echo "$$said"; \
	case "$$wheel" in *"-$${said##* }-"*) ;; *) echo "the wheel's name has another version"; exit 1 ;; esac; \
	"$$place/venv/bin/clip-udfs" demo

clean:
	rm -rf $(VENV) demo dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/embedded: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[embedded]'
	touch $@

$(VENV)/test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/embedded
