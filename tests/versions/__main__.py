"""Try each version and write docs/versions.md: ``python -m tests.versions [--only 25.8 26.9] [--check]``."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clip_installer.tables.deploy import Schema
from clip_installer.tables.schema import SchemaParameters
from tests.chdb.conftest import ServerTree, make_tree
from tests.documents import REPOSITORY
from tests.versions.page import search_page, try_created_page, try_page_in_configuration
from tests.versions.probe import REFUSED, ROWS

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
    "vector similarity index is disabled": "behind a setting before 25.8",
    "Unknown Index type 'vector_similarity'": "not in this wheel",
    "vector_similarity' is disabled": "not in this wheel",
    "the index is not used": "not in this wheel",
    "has no SYSTEM START LISTEN": "not tried: this wheel cannot listen",
    "clip_page URL '/clip' METHODS": "no `CREATE HANDLER` before 26.8",
    "identifier 'system.query_log'": "not tried: this wheel keeps no `query_log`",
    "identifier 'system.user_defined_functions'": "no `system.user_defined_functions` before 26.2",
}
# The monitoring views read this table, which chDB writes only if the configuration says so.
LOG = "<query_log><database>system</database><table>query_log</table></query_log></clickhouse>"
# What a version's checks give beside their outcomes.
FACTS = ("version", "message")
SECONDS = 600
SERVED = {
    "search page by `http_handlers`": try_page_in_configuration,
    "search page by `CREATE HANDLER`": try_created_page,
}
HEAD = """# Versions of ClickHouse

Tested on {date} by `make versions`, which takes each version's engine out of chDB's wheels on PyPI, installs the
functions with `install-udfs` and no option, and writes this page. {oldest} and newer are supported, with the same
answers and the same messages of the worker. Official servers of all these have vector indexes and listen on ports; the
wheels of some have no vector index, and those before 26.6 do not listen: there the queries of the search page are run
without its addresses. What differs:

* Before 26.7 ClickHouse does not convert arguments: a number or a date is an error that says so, not its text.
* Before 26.8 there is no `CREATE HANDLER`: the [search page](search-page.md) is a file in the configuration.
* Before 26.8 a view takes a vector from a subquery only as text: `embedding = (SELECT toString(image_embedding) …)`.
* Before 26.8 a query waits for a free worker ten times as long as the definition says.
* Before 26.2 there is no `system.user_defined_functions`: the plan leaves out the monitoring views, and `--verify`
  relies on calls.
* Before 25.8 vector indexes are experimental, and 24.8 does not load the functions.

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


def try_version(package: str, tree: ServerTree, statements: Path) -> dict[str, str]:
    """What one version's checks gave; a version that cannot start says so under ``version``."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("probe.py")), tree.main_file, tree.data, statements],
        env={**os.environ, "PYTHONPATH": str(wheel(package))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    _forget(tree)
    if not done.stdout:
        return {"version": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def _forget(tree: ServerTree) -> None:
    """Remove what a version has stored: it is nothing for the next one."""
    for path in tree.data.iterdir():
        if path.name not in ("user_scripts", "user_files"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def schema() -> dict[str, list[str]]:
    """The statements of the default schema, of its indexes, and of the monitoring views."""
    rendered = Schema.render(SchemaParameters())
    return {
        "schema": [one.statement.sql for one in rendered.objects if not one.is_monitoring],
        "indexes": [statement.sql for statement in rendered.index_statements],
        "page": [handler.query for handler in search_page().handlers],
        "monitoring": ["SYSTEM FLUSH LOGS", *(one.statement.sql for one in rendered.objects if one.is_monitoring)],
    }


def told(answer: str) -> str:
    """A check's outcome as the page says it."""
    return next((words for part, words in KNOWN.items() if part in answer), answer)


def page(results: dict[str, dict[str, str]], date: str) -> str:
    """The whole page."""
    oldest = next(version for version, (_, promised) in PACKAGES.items() if promised)
    checks = list(dict.fromkeys(check for answers in results.values() for check in answers if check not in FACTS))
    versions = [answers["version"] if check_ran(answers) else version for version, answers in results.items()]
    lines = ["| | " + " | ".join(versions) + " |", "|---" * (len(versions) + 1) + "|"]
    lines.append("| package | " + " | ".join(f"`{PACKAGES[version][0]}`" for version in results) + " |")
    for check in checks:
        cells = [outcome(answers, check) for answers in results.values()]
        lines.append(f"| {check} | " + " | ".join(cells) + " |")
    return HEAD.format(date=date, oldest=oldest) + "\n".join(lines) + "\n" + "".join(messages(results))


def messages(results: dict[str, dict[str, str]]) -> Iterator[str]:
    """What a client sees of a refused row, in the oldest and in the newest version that is promised."""
    ran = [answers for version, answers in results.items() if PACKAGES[version][1] and check_ran(answers)]
    for answers in (ran[0], ran[-1]) if ran else ():
        said = "".join(f"    {line}\n" for line in answers["message"].splitlines())
        yield f"\n{answers['version']} says of `{REFUSED}`:\n\n{said}"


def outcome(answers: dict[str, str], check: str) -> str:
    """The cell of a check in a version."""
    if not check_ran(answers):
        return "does not start"
    if "encode_text' does not exist" in answers["the six functions"]:
        return "does not load the functions"
    return told(answers[check]).replace("|", "\\|")[:160]


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
        or (check not in FACTS and answer != "yes" and told(answer) == answer)
    ]


def main() -> int:
    """Read the command line, try the versions, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PACKAGES, default=list(PACKAGES), help="versions to try")
    parser.add_argument("--check", action="store_true", help="write no page")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="versions-") as place:
        statements = Path(place) / "statements.json"
        statements.write_text(json.dumps(schema()))
        tree = make_tree(Path(place) / "server")
        tree.main_file.write_text(tree.main_file.read_text().replace("</clickhouse>", LOG))
        tree.install("--no-ddl")
        for version in options.only:
            package = PACKAGES[version][0]
            results[version] = try_version(package, tree, statements)
            if check_ran(results[version]):
                for check, serve in SERVED.items():
                    results[version][check] = serve(wheel(package), tree, [*schema()["schema"], ROWS])
                    _forget(tree)
            sys.stdout.write(f"{version}: {json.dumps(results[version])}\n")
            sys.stdout.flush()
    if not options.check:
        PAGE.write_text(page(results, datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()))
    found = faults(results)
    sys.stdout.write("".join(f"fault: {line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
