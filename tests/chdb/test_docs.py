"""Every command of README and docs, run as written, and compared with its stated output.

``pytest tests/chdb/test_docs.py --write-outputs`` puts what was printed into the pages instead of comparing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path

import pytest

from clip_installer import resources
from clip_installer.clickhouse.sql import literal
from clip_installer.commands.trial.sql import split_statements
from tests import documents
from tests.documents import REPOSITORY, Block
from tests.laion_parts import write_part
from tests.server.running import ServerPlace, running_server, users

# What a page says, and what is run instead; {port} serves the folder laion over HTTP.
SUBSTITUTIONS = (
    ("make demo", "true"),  # the fixture has made it
    # The demonstration's table is full, that of the server is empty.
    (
        "--m 16,64 --ef-search 16,64,256 --plot recall.svg --url http://default:PASSWORD@localhost:8123",
        "--m 16 --ef-search 16,64 --plot recall.svg --rows 500 --queries 10"
        " --embedded --server-config demo/etc/clickhouse-server",
    ),
    (
        "--server-config /etc/clickhouse-server --url http://default:PASSWORD@localhost:8123",
        "--server-config /etc/clickhouse-server --embedded",
    ),
    ("--url http://default:PASSWORD@localhost:8123", "--embedded --server-config /etc/clickhouse-server"),
    ("clickhouse-client ", "clip-udfs sql --embedded --server-config /etc/clickhouse-server "),
    ("https://example.com/embeddings", "http://127.0.0.1:{port}"),
    # Their vectors are random: no model has made them.
    ("--parts 0-9", "--parts 0 --any-model"),
    ("--parts 0,3,7-9", "--parts 0-1 --any-model"),
)
# Absolute paths of the server, which is below the place of the test.
SERVERS_PATHS = re.compile(r"(?<![\w.])/(?=(?:etc/clickhouse-server|var/lib/clickhouse)\b)")
# The server that a page's SQL is typed into.
DEMO, SERVER = "demo/etc/clickhouse-server", "/etc/clickhouse-server"
SQL_RUNS_ON = {"README.md": DEMO, "docs/analyst.md": DEMO}
CONFIG = """<clickhouse>
    <path>{place}/var/lib/clickhouse/</path>
    <user_scripts_path>{place}/var/lib/clickhouse/user_scripts/</user_scripts_path>
    <user_files_path>{place}/var/lib/clickhouse/user_files/</user_files_path>
    <user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config>
    <query_log><database>system</database><table>query_log</table></query_log>
</clickhouse>
"""
# What a page takes for granted on the server.
BEFORE = {
    "docs/pictures.md": "install-udfs --server-config /etc/clickhouse-server --url http://default:PASSWORD@localhost:8123"
    " && photos=/var/lib/clickhouse/user_files/photos && mkdir $photos && cp demo/pictures/openmoji/1f43*.png $photos"
    " && touch $photos/empty.png && echo no picture > $photos/broken.jpg"
    ' && echo "a dog\'s face" > $photos/1f436-dog-face.txt',
    "docs/monitoring.md": "install-udfs --server-config /etc/clickhouse-server --url http://default:PASSWORD@localhost:8123",
}
ROWS = 300  # of each part of the small LAION
BETWEEN = "printed by the block before"


@dataclass(frozen=True)
class Clone:
    """A directory with what the pages take for granted: a clone, a demonstration, a server, and two LAION parts.

    Attributes:
        place: The directory.
        port: Where the LAION parts are served.
        url: The server that SQL is sent to; None for chDB on the configuration that the page is about.
    """

    place: Path
    port: int
    url: str | None = None

    def command(self, text: str) -> str:
        """``text`` with the substitutions."""
        for written, run in SUBSTITUTIONS:
            text = text.replace(written, run.format(port=self.port))
        return SERVERS_PATHS.sub(f"{self.place}/", text)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script there, all that it prints in ``stdout``, as if the place were the root directory."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.command(script)],
            cwd=self.place,
            env={**os.environ, "PATH": f"{self.place / '.venv/bin'}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        for root in (self.place, (self.place / "demo").resolve().parent):
            done.stdout = done.stdout.replace(str(root), "")
        return done


@pytest.fixture
def clone(tmp_path: Path, tiny_bundle: Path) -> Iterator[Clone]:
    """What the commands of one page work on."""
    links = {
        "sql": REPOSITORY / "sql",
        ".venv/bin": Path(sys.executable).parent,
        # They stand in for models that nobody has downloaded.
        "ViT-B-32-openai": resources.builtin_models() / "emoji",
        "ViT-L-14-openai": tiny_bundle,
    }
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target)
    (tmp_path / "var/lib/clickhouse/user_files").mkdir(parents=True)
    for root in (tmp_path, tmp_path / "root" / tmp_path.relative_to("/")):  # --destdir ./root
        (root / "etc/clickhouse-server").mkdir(parents=True)
        (root / "etc/clickhouse-server/config.xml").write_text(CONFIG.format(place=tmp_path))
    for part in (0, 1):
        write_part(tmp_path / "laion", part, ROWS)
    handler = partial(_Quiet, directory=str(tmp_path / "laion"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Clone(tmp_path, server.server_address[1])
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def needs_the_demo(page: str) -> bool:
    """Whether a block of ``page``, or what runs before it, reads what ``make demo`` wrote."""
    codes = [BEFORE.get(page, ""), *(block.code for block in documents.blocks(page))]
    substituted = [run for written, run in SUBSTITUTIONS if any(written in code for code in codes)]
    return page in SQL_RUNS_ON or any("demo/" in code for code in codes + substituted)


@pytest.mark.parametrize("page", [page for page in documents.pages() if needs_the_demo(page)])
def test_commands_on_the_demo_print_what_the_page_says(
    page: str, clone: Clone, demo: Path, request: pytest.FixtureRequest
) -> None:
    (clone.place / "demo").symlink_to(demo)
    run_the_page(page, clone, writing=request.config.getoption("--write-outputs"))


@pytest.mark.parametrize("page", [page for page in documents.pages() if not needs_the_demo(page)])
def test_commands_print_what_the_page_says(page: str, clone: Clone, request: pytest.FixtureRequest) -> None:
    run_the_page(page, clone, writing=request.config.getoption("--write-outputs"))


def run_the_page(page: str, clone: Clone, writing: bool) -> None:
    """Run the blocks of ``page`` in order; compare what they print, or write it into the page."""
    if page in BEFORE:
        done = clone.run(BEFORE[page])
        assert done.returncode == 0, done.stdout
    run_blocks(runnable(page), clone, writing=writing)


def runnable(page: str) -> list[Block]:
    """The blocks of ``page`` that a test machine can run."""
    return [block for block in documents.blocks(page) if block.language in documents.COMMANDS and not block.needs]


def run_blocks(blocks: list[Block], clone: Clone, *, writing: bool = False) -> None:
    """Run ``blocks`` in order; compare what they print, or write it into their pages."""
    wrong = []
    for block, status, printed in _outcomes(clone, blocks):
        if (status != 0) != block.fails:
            wrong.append(f"{block.place}: ended with {status}\n{block.code}\n{printed}")
        elif block.output is not None and not documents.agrees(_stated(block), printed):
            if writing and not block.fails and "..." not in block.output:
                _write_output(block, printed)
            else:
                wrong.append(f"{block.place}: the page says\n{block.output}\nand it prints\n{printed}")
    assert not wrong, "\n".join(wrong)


def test_an_analyst_with_readonly_1_sees_what_the_page_says(clone: Clone, demo: Path) -> None:
    """Every statement that only reads, over HTTP, on a server with the demonstration's table."""
    (clone.place / "users.xml").write_text(users())
    (clone.place / "demo").symlink_to(demo)
    named = demo / "etc/clickhouse-server/config.d/users.xml"
    named.write_text(f"<clickhouse><users_config>{clone.place}/users.xml</users_config></clickhouse>")
    try:
        with running_server(ServerPlace(named.parents[1], demo / "var/lib/clickhouse")) as server:
            analyst = replace(clone, url=server.url("readonly"))
            blocks = [one for one in runnable("docs/analyst.md") if one.language == "sql" and reads(one)]
            assert len(blocks) > 10
            run_blocks(blocks, analyst)
    finally:
        named.unlink()


def reads(block: Block) -> bool:
    """Whether no statement of ``block`` changes anything."""
    return all(re.match(r"(?:--.*\s+)*(?:SELECT|WITH|SHOW|EXPLAIN)\b", one) for one in split_statements(block.code))


def test_sql_that_cannot_be_run_here_can_at_least_be_parsed(clone: Clone) -> None:
    unrun = [block for page in documents.pages() for block in documents.blocks(page) if block.needs]
    statements = [part for block in unrun if block.language == "sql" for part in split_statements(block.code)]
    assert statements
    done = clone.run(_client(clone, "docs/dba.md", ";\n".join(f"SELECT formatQuery({literal(s)})" for s in statements)))
    assert done.returncode == 0, done.stdout


def _outcomes(clone: Clone, blocks: list[Block]) -> Iterator[tuple[Block, int, str]]:
    """Each block with exit status and output; SQL blocks that follow each other share an engine."""
    for (language, fails), group in groupby(blocks, lambda block: (block.language, block.fails)):
        together = list(group)
        if language == "sql" and not fails:
            yield from zip(together, *_run_sql(clone, together), strict=True)
        else:
            for block in together:
                done = clone.run(block.code if language == "bash" else _client(clone, block.page, block.code))
                yield block, done.returncode, done.stdout


def _run_sql(clone: Clone, together: list[Block]) -> tuple[list[int], list[str]]:
    """Run SQL blocks one after the other; what comes after one that failed is not run and counts as failed."""
    mark = f"\n;SELECT '{BETWEEN}' FORMAT TabSeparatedRaw;\n"
    script = mark.join(block.code for block in together)
    if clone.url is None:
        script = f"SYSTEM FLUSH LOGS;\n{script}"
    done = clone.run(_client(clone, together[0].page, script))
    printed = done.stdout.split(f"{BETWEEN}\n")
    missing = len(together) - len(printed)
    return [0] * (len(printed) - 1) + [done.returncode] + [1] * missing, printed + ["not run"] * missing


def _client(clone: Clone, page: str, statements: str) -> str:
    (clone.place / "page.sql").write_text(clone.command(statements), encoding="utf-8")
    connection = f"--url {clone.url}" if clone.url else f"--embedded --server-config {SQL_RUNS_ON.get(page, SERVER)}"
    return f"clip-udfs sql {connection} -f PrettyCompactMonoBlock page.sql"


def _stated(block: Block) -> str:
    return f"... {block.output} ..." if block.fails else str(block.output)  # ClickHouse puts its own words around ours


def _write_output(block: Block, printed: str) -> None:
    """Put ``printed`` in the place of the output that the page and its translation state."""
    stated, true = (f"```\n\n```{documents.OUTPUT}\n{output}```" for output in (block.output, printed))
    for page in (REPOSITORY / block.page, REPOSITORY / documents.translated(block.page)):
        if page.exists():
            page.write_text(page.read_text(encoding="utf-8").replace(stated, true, 1), encoding="utf-8")
