"""Try each version and write docs/versions.md: ``python -m tests.versions [--only 25.8 26.9] [--check]``."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from clip_installer.tables.deploy import Schema
from clip_installer.tables.schema import SchemaParameters
from tests.chdb.conftest import make_tree
from tests.documents import REPOSITORY

PAGE = REPOSITORY / "docs" / "versions.md"
WHEELS = REPOSITORY / ".versions"
# ClickHouse's version, the package that carries it, and whether it is promised.
PACKAGES = {
    "24.8": ("chdb==2.2.0b1", False),
    "25.5": ("chdb==3.4.0", False),
    "25.8": ("chdb==4.0.2", True),
    "26.1": ("chdb-core==26.1.0", True),
    "26.3": ("chdb-core==26.3.0", True),
    "26.5": ("chdb-core==26.5.0", True),
    "26.7": ("chdb-core==26.7.3", True),
    "26.9": ("chdb-core==26.9.0", True),
}
# What a version cannot do for a reason that is not the functions': a part of what it says, and what to write.
KNOWN = {
    "Unknown Index type 'vector_similarity'": "not in this wheel",
    "vector_similarity' is disabled": "not in this wheel",
    "the index is not used": "not in this wheel",
    "user_defined_functions": "no `system.user_defined_functions` before 26.2",
    "query_log": "chDB keeps no `query_log`",
}
SECONDS = 600
HEAD = """# Versions of ClickHouse

Tested on {date} by `make versions`, which takes each version's engine out of chDB's wheels on PyPI, installs the
functions with `install-udfs`, and writes this page. Before 26.7 they are installed with
`--wire-format TabSeparated`. Official
servers of all these versions have vector indexes; the wheels of some do not.

"""


def wheel(package: str) -> Path:
    """The directory of an unpacked ``package``, fetched once."""
    place = WHEELS / package
    if not place.is_dir():
        partial = place.with_name(f"{package}.partial")
        command = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(partial)]
        subprocess.run([sys.executable, *command, package], check=True)
        partial.rename(place)
    return place


def try_version(package: str, wire_format: str) -> dict[str, str]:
    """What one version's checks gave; a version that cannot start says so under ``version``."""
    with tempfile.TemporaryDirectory(prefix="versions-") as place:
        tree = make_tree(Path(place))
        tree.install("--no-ddl", "--wire-format", wire_format)
        statements = Path(place) / "statements.json"
        statements.write_text(json.dumps(schema()))
        done = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("probe.py")),
                str(tree.main_file),
                str(tree.data),
                statements,
            ],
            env={**os.environ, "PYTHONPATH": str(wheel(package))},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    if not done.stdout:
        return {"version": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def wire_format(version: str) -> str:
    """RowBinary where ClickHouse casts arguments to their declared types, which it needs."""
    return "RowBinary" if tuple(map(int, version.split("."))) >= (26, 7) else "TabSeparated"


def schema() -> dict[str, list[str]]:
    """The statements of the default schema, of its indexes, and of the monitoring views."""
    rendered = Schema.render(SchemaParameters())
    return {
        "schema": [one.statement.sql for one in rendered.objects if not one.is_monitoring],
        "indexes": [statement.sql for statement in rendered.index_statements],
        "monitoring": ["SYSTEM FLUSH LOGS", *(one.statement.sql for one in rendered.objects if one.is_monitoring)],
    }


def told(answer: str) -> str:
    """A check's outcome as the page says it."""
    return next((words for part, words in KNOWN.items() if part in answer), answer)


def page(results: dict[str, dict[str, str]], date: str) -> str:
    """The whole page."""
    checks = list(dict.fromkeys(check for answers in results.values() for check in answers if check != "version"))
    lines = ["| ClickHouse | package | " + " | ".join(checks) + " |", "|---" * (len(checks) + 2) + "|"]
    for version, answers in results.items():
        cells = [told(answers.get(check, "")).replace("|", "\\|")[:160] for check in checks]
        shown = answers["version"] if check_ran(answers) else f"{version}: does not run: {answers['version']}"
        lines.append("| " + " | ".join([shown, f"`{PACKAGES[version][0]}`", *cells]) + " |")
    return HEAD.format(date=date) + "\n".join(lines) + "\n"


def check_ran(answers: dict[str, str]) -> bool:
    """Whether the engine started."""
    return len(answers) > 1


def faults(results: dict[str, dict[str, str]]) -> list[str]:
    """What a promised version does not do, and should."""
    return [
        f"{version}: {check}: {answer}"
        for version, answers in results.items()
        if PACKAGES[version][1]
        for check, answer in answers.items()
        if (check == "version" and not check_ran(answers))
        or (check != "version" and answer != "yes" and told(answer) == answer)
    ]


def main() -> int:
    """Read the command line, try the versions, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PACKAGES, default=list(PACKAGES), help="versions to try")
    parser.add_argument("--check", action="store_true", help="write no page")
    options = parser.parse_args()
    results = {}
    for version in options.only:
        results[version] = try_version(PACKAGES[version][0], wire_format(version))
        sys.stdout.write(f"{version}: {json.dumps(results[version])}\n")
        sys.stdout.flush()
    if not options.check:
        PAGE.write_text(page(results, datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()))
    found = faults(results)
    sys.stdout.write("".join(f"fault: {line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
