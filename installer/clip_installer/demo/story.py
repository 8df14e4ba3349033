"""The steps of the demonstration, each an ordinary command that is shown before it runs."""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import click

from clip_installer import resources
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.demo.page import write_contact_sheet, write_page
from clip_installer.demo.searches import SEARCHES, hits
from clip_installer.errors import InstallerError
from clip_installer.models.source import BUILTIN_MODEL
from clip_installer.clickhouse.sql import render
from clip_udfs.manifest import MANIFEST

TABLE = "laion"
_SIDE = 112
_PAGE_HITS = 8
_VECTOR_SHOWN = 160


@dataclass(frozen=True)
class Demo:
    """Where the demonstration lives.

    Attributes:
        place: Directory of everything below.
    """

    place: Path

    @property
    def config(self) -> Path:
        """The server's configuration directory."""
        return self.place / "etc" / "clickhouse-server"

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.place / "var" / "lib" / "clickhouse"

    @property
    def pictures(self) -> Path:
        """The directory that encode_image may read."""
        return self.place / "pictures"

    @property
    def output(self) -> Path:
        """Where the page and the contact sheet go."""
        return self.place / "out"


def run_demo(place: Path) -> None:
    """Create a server configuration below ``place``, install into it, fill and search a table, and write the page.

    Raises:
        InstallerError: A step failed; its own message is on standard error.
    """
    demo = Demo(place)
    _lay_out(demo)
    config = str(demo.config)
    _forget_other_model(demo)
    _say("Install the functions, the table and the search views, as on any server")
    _command(
        "install-udfs",
        "--server-config",
        config,
        "--image-root",
        str(demo.pictures),
        "--embedded",
    )
    _say("Fill the table by SQL: encode_image and encode_text make the vectors")
    _command(
        "clip-udfs",
        "sql",
        "--embedded",
        "--server-config",
        config,
        "-f",
        "PrettyCompactMonoBlock",
        str(demo.place / "fill.sql"),
    )
    _say("Build both vector indexes")
    _command("clip-udfs", "build-index", "--embedded", "--server-config", config, "--table", TABLE)
    _say("Add the search page, which clip-udfs server serves")
    _command("clip-udfs", "search-page", "--embedded", "--server-config", config, "--table", TABLE)
    _say("One vector")
    _command("clip-udfs", "sql", "--embedded", "--server-config", config, "-q", "SELECT encode_text('cat')", width=_VECTOR_SHOWN)
    _say("Search by words and by picture; the last query shows that the index answers")
    _command(
        "clip-udfs",
        "sql",
        "--embedded",
        "--server-config",
        config,
        "--echo",
        "-f",
        "PrettyCompactMonoBlock",
        str(demo.place / "searches.sql"),
    )
    _write_results(demo)
    _farewell(demo)


def _lay_out(demo: Demo) -> None:
    for directory in (demo.config / "config.d", demo.data / "user_files", demo.output):
        directory.mkdir(parents=True, exist_ok=True)
    _write(demo.config / "config.xml", (Path(__file__).parent / "config.xml").read_text(encoding="utf-8"))
    data = escape(str(demo.data.resolve()))
    _write(
        demo.config / "config.d" / "paths.xml",
        f"<clickhouse>\n    <path>{data}/</path>\n    <user_scripts_path>{data}/user_scripts/</user_scripts_path>\n"
        f"    <user_files_path>{data}/user_files/</user_files_path>\n</clickhouse>\n",
    )
    with zipfile.ZipFile(Path(__file__).parent / "pictures.zip") as archive:
        for member in archive.infolist():
            target = demo.pictures / member.filename
            if not target.exists() or target.stat().st_size != member.file_size:
                archive.extract(member, demo.pictures)
    values = {
        "table": TABLE,
        "side": _SIDE,
        "list": str((demo.pictures / "pictures.tsv").resolve()),
        "searches": SEARCHES,
    }
    for file in ("fill", "searches", "evaluate"):
        statements = render(f"demo/{file}", values)
        _write(demo.place / f"{file}.sql", "".join(f"{statement.sql};\n\n" for statement in statements))


def _write(path: Path, content: str) -> None:
    """Write a file unless it already has this content, so that a second run changes nothing."""
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def _say(line: str) -> None:
    click.secho(f"\n== {line}", bold=True)


def _command(*words: str, width: int | None = None) -> None:
    """Show a command and run it; with ``width``, show only that many characters of each output line."""
    click.echo(f"$ {shlex.join(words)}")
    program = Path(sys.executable).with_name(words[0])
    captured = sys.stdout if width is None else subprocess.PIPE
    sys.stdout.flush()
    done = subprocess.run([str(program), *words[1:]], stdout=captured, text=True, check=False)
    if done.returncode != 0:
        raise InstallerError(f"the demonstration stopped: the command above ended with status {done.returncode}")
    if width is not None:
        click.echo(f"{done.stdout[:width]}... ({done.stdout.count(',') + 1} numbers)")


def _forget_other_model(demo: Demo) -> None:
    """Empty the table if another build of the model filled it: vectors of different models are not comparable."""
    model = (resources.builtin_models() / BUILTIN_MODEL / MANIFEST).read_text(encoding="utf-8")
    filled_with = demo.place / "filled-with.json"
    if filled_with.exists() and filled_with.read_text(encoding="utf-8") != model:
        _say("The model has changed since the table was filled: empty the table")
        _command("clip-udfs", "sql", "--embedded", "--server-config", str(demo.config), "-q", f"TRUNCATE TABLE IF EXISTS {TABLE}")
    _write(filled_with, model)


def _write_results(demo: Demo) -> None:
    database = ConnectionOptions(server_config=demo.config).connect()
    answers = [(search, hits(database, search, _PAGE_HITS)) for search in SEARCHES]
    database.close()
    write_page(answers, demo.pictures, demo.output / "search.html")
    write_contact_sheet(answers, demo.pictures, demo.output / "search.png")


def _farewell(demo: Demo) -> None:
    base = f"clip-udfs sql --embedded --server-config {shlex.quote(str(demo.config))}"
    _say("Done")
    click.echo(
        f"""The results with their pictures: {demo.output / "search.html"}
As one picture: {demo.output / "search.png"}

Try next (the programs are in {Path(sys.executable).parent}):
  {base} -q "SELECT length(encode_text('cat')), round(arraySum(x -> x*x, encode_text('cat')), 3)"
  {base} -q "SELECT url, caption, distance FROM search_by_text(query = 'a happy face', k = 5)"
  {base} -q "SELECT url, distance FROM search_by_image(path = 'openmoji/1f436-dog-face.png', k = 5)"
  {base} -q "SELECT encode_image('missing.png')"
  {base} {demo.place / "evaluate.sql"}     # recall of the style that the model never saw
  clip-udfs server --server-config {shlex.quote(str(demo.config))}     # the search page, and ports for curl, clickhouse-client and drivers
  install-udfs --server-config {shlex.quote(str(demo.config))} --embedded --verify

The built-in model is a demo model. Real pictures want ViT-B-32-quickgelu/openai: clip-udfs build-model --help"""
    )
