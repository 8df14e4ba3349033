# Everything happens in .venv, which holds what locks/PURPOSE.txt lists; the stamp .venv/PURPOSE says so.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Images for containers often set this; each of the hundreds of processes of the tests would then compile every module again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo server test check lint lock test-latest test-lowest versions soak fuzz bench dist packages man clean

demo: $(VENV)/demo
	$(BIN)/clip-udfs demo --output demo

server: $(VENV)/demo
	test -f demo/out/search.html || $(BIN)/clip-udfs demo --output demo
	$(BIN)/clip-udfs server --server-config demo/etc/clickhouse-server

# Three workers, as tests often wait for servers: the tests of a module stay together; small models are built once for all.
# OPTIONS are pytest's: make test OPTIONS="tests/chdb -k laion".
OPTIONS ?=
PYTEST := -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder --durations 20
test: $(VENV)/test
	$(BIN)/python $(PYTEST) $(OPTIONS)

# The newest of everything, and the oldest that pyproject.toml allows: what the locks cannot show.
test-latest:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade pip
	.venv-latest/bin/python -m pip install --quiet --editable '.[test]'
	.venv-latest/bin/python $(PYTEST) $(OPTIONS)

test-lowest: | $(BIN)/uv
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct pip --editable '.[test]'
	.venv-lowest/bin/python $(PYTEST) $(OPTIONS)

# Each ClickHouse that is promised, out of chDB's wheels; writes docs/versions.md.
versions: $(VENV)/test
	$(BIN)/python -m tests.versions $(OPTIONS)

soak: $(VENV)/test
	$(BIN)/python -m tests.soak --statements 100000
	$(BIN)/python -m tests.server.soak

fuzz: $(VENV)/test
	$(BIN)/python -m tests.fuzz --seconds 600

# mypy reads the types of torch and the other libraries of the tests.
lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml

# Run before a commit; takes about a minute.
check: lint
	$(BIN)/python $(PYTEST) tests/unit

# Newer versions of everything, within the ranges of pyproject.toml and the ceilings of locks/constraints.in. The archives for
# ClickHouse Cloud install wheels on either architecture, so there must be one of each package for both, in the same version.
COMPILE_ONE := $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.10 \
	--custom-compile-command 'make lock'
COMPILE := $(COMPILE_ONE) pyproject.toml locks/backend.in
lock: | $(BIN)/uv
	$(COMPILE) --constraints locks/constraints.in --extra test --output-file locks/test.txt
	$(COMPILE) --constraints locks/test.txt --extra embedded --output-file locks/demo.txt
	$(COMPILE) --constraints locks/test.txt --extra lint --output-file locks/lint.txt
	$(COMPILE) --constraints locks/test.txt --extra release --output-file locks/release.txt
	$(COMPILE_ONE) --constraints locks/test.txt --output-file locks/host.txt pyproject.toml
	$(COMPILE_ONE) --output-file locks/uv.txt locks/uv.in
	set -e; for part in text image file; do for machine in aarch64 x86_64; do $(BIN)/uv pip compile --quiet --no-annotate \
		--no-header --python-version 3.11 --python-platform $$machine-manylinux_2_28 --only-binary :all: \
		--constraints locks/test.txt --output-file locks/cloud-$$part.$$machine.txt locks/cloud-$$part.in; done; \
		cmp locks/cloud-$$part.aarch64.txt locks/cloud-$$part.x86_64.txt; rm locks/cloud-$$part.aarch64.txt; \
		mv locks/cloud-$$part.x86_64.txt config_templates/cloud/requirements-$$part.txt; done

bench: $(VENV)/test
	$(BIN)/python -m benchmarks

# The wheel is built from the sdist, installed into an environment of its own, and has to run the demo in an empty directory.
# The SBOM lists the default installation, as that environment is before the demo's packages come.
dist: $(VENV)/release man
	rm -rf dist release/*.cdx.json
	mkdir -p release
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	set -e; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; wheel=$$(ls $(CURDIR)/dist/*.whl); \
	$(PYTHON) -m venv --without-pip "$$place/venv"; pip="$(BIN)/python -m pip --python $$place/venv/bin/python install --quiet"; \
	$$pip --require-hashes --requirement locks/host.txt; \
	$$pip --no-deps "$$wheel"; \
	said=$$("$$place/venv/bin/clip-udfs" --version); echo "$$said"; \
	case "$$wheel" in *"-$${said##* }-"*) ;; *) echo "the wheel's name has another version"; exit 1 ;; esac; \
	find "$$place/venv" -name direct_url.json -delete; \
	sed "s/^dynamic = .*/version = \"$${said##* }\"/" pyproject.toml > "$$place/pyproject.toml"; \
	$(BIN)/cyclonedx-py environment "$$place/venv/bin/python" --pyproject "$$place/pyproject.toml" \
		--mc-type application --output-reproducible --output-format JSON \
		--output-file "release/clickhouse-clip-udfs-$${said##* }.cdx.json"; \
	$$pip --require-hashes --requirement locks/demo.txt; \
	mkdir "$$place/empty"; cd "$$place/empty"; \
	"$$place/venv/bin/clip-udfs" demo

# A .deb and an .rpm for the system's Python of this machine; packages/try installs and removes them in an empty Debian.
packages: $(VENV)/release man
	rm -rf build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel
	$(BIN)/python packages/build build/wheel/*.whl --output release

# A page for each command, from its help.
man: $(VENV)/release
	mkdir -p man
	$(BIN)/python -c "from click_man.core import write_man_pages; from clip_installer.cli import program; from clip_udfs import __version__; \
		write_man_pages('clip-udfs', program, version=__version__, target_dir='man')"

clean:
	rm -rf $(VENV) build demo dist man release

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# uv installs a lock in a third of pip's time.
$(BIN)/uv: locks/uv.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement locks/uv.txt
	@touch $@

# A fifth of what there is to compile for the tests is ever imported: most of it by open_clip, once, before three workers do.
BYTECODE := --compile-bytecode
$(VENV)/test: BYTECODE :=
$(VENV)/test: IMPORTS := import onnxscript, open_clip

# uv does not read pip's configuration: where only that names an index that can be reached, pip installs the lock. The checkout
# itself is built by the backend that the lock has just installed.
$(VENV)/demo $(VENV)/lint $(VENV)/release $(VENV)/test: $(VENV)/%: locks/%.txt pyproject.toml | $(BIN)/uv
	@echo "installing locks/$*.txt into $(VENV)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(BYTECODE) --require-hashes --requirement locks/$*.txt || \
		$(BIN)/python -m pip install --quiet --require-hashes --requirement locks/$*.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(if $(IMPORTS),$(BIN)/python -c "$(IMPORTS)")
	@touch $@
