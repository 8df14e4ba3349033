"""``clip-udfs install``, also ``install-udfs``: a model's functions into a server, or out of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from clip_installer.commands.options import optional_connection_options
from clip_udfs.settings import ENGINES, FORMATS, JPEG_DECODINGS, MOST_IMAGE_PIXELS

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions

_PATH = click.Path(path_type=Path)
_EXAMPLES = """\b
Examples:
  install-udfs --server-config /etc/clickhouse-server --dry-run
  install-udfs --url http://localhost:8123 --model ./ViT-B-32-openai
  install-udfs --url http://localhost:8123 --verify
  install-udfs --uninstall
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    short_help="Install a model's functions into a ClickHouse server, verify or remove them.",
    epilog=_EXAMPLES,
)
@click.option(
    "--server-config",
    type=_PATH,
    default=Path("/etc/clickhouse-server"),
    show_default=True,
    help="The server's configuration directory, or its main file.",
)
@click.option(
    "--model",
    default="emoji",
    show_default=True,
    metavar="BUNDLE|NAME|ARCH/TAG",
    help="A bundle's directory, a built-in model, or a model of open_clip to build first.",
)
@click.option("--suffix", help="Suffix of the SQL names, for a second model beside the first.")
@click.option(
    "--image-root",
    "image_roots",
    type=_PATH,
    multiple=True,
    metavar="DIR",
    help="Directory that encode_image may read; repeatable [default: the server's user_files_path].",
)
@click.option("--pool-size", type=click.IntRange(1), default=2, show_default=True, help="Workers of each function.")
@click.option("--threads", type=click.IntRange(0), help="Engine threads of a worker [default: cores / pool size].")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="onnx",
    show_default=True,
    help="Inference engine.",
)
@click.option("--device", help="Device of the torch engine, e.g. cuda:0 [default: a GPU where there is one].")
@click.option(
    "--wire-format",
    type=click.Choice(FORMATS),
    default="TabSeparated",
    show_default=True,
    help="Format between ClickHouse and the workers.",
)
@click.option(
    "--jpeg-decoding",
    type=click.Choice(JPEG_DECODINGS),
    default="exact",
    show_default=True,
    help="scaled decodes JPEGs of many megapixels quicker; photographs keep a cosine of 0.9995 with the exact vectors.",
)
@click.option("--max-text-bytes", type=click.IntRange(1), help="Longest text that is encoded [default: 1 MiB].")
@click.option("--max-image-bytes", type=click.IntRange(1), help="Largest picture file that is read [default: 64 MiB].")
@click.option(
    "--max-image-pixels",
    type=click.IntRange(1, MOST_IMAGE_PIXELS),
    help="Largest picture, width times height, that is decoded [default: 89478485].",
)
@click.option("--raw", is_flag=True, help="Vectors as the model gives them, not brought to length 1.")
@click.option("--python", type=_PATH, help="Interpreter of the workers [default: the one that runs this].")
@click.option("--user", help="System user of the server [default: the recorded one, or the owner of its data].")
@click.option("--destdir", type=_PATH, default=Path("/"), help="Install into the tree below this directory.")
@optional_connection_options
@click.option("--ddl/--no-ddl", default=True, show_default=True, help="Deploy table and views.")
@click.option("--table", help="Table that the views search [default: laion, or laion_SUFFIX].")
@click.option("--cluster", help="Cluster for the schema: ON CLUSTER, replicated and distributed tables.")
@click.option("--quantization", default="bf16", show_default=True, help="Of the vector indexes.")
@click.option("--rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="Rows to size indexes for.")
@click.option("--verify", is_flag=True, help="Check what is installed, and change nothing.")
@click.option("--uninstall", is_flag=True, help="Remove what was installed; data stays.")
@click.option("--all", "every", is_flag=True, help="With --uninstall: every installed model.")
@click.option("--dry-run", is_flag=True, help="Print the plan with every file and statement, and change nothing.")
@click.option("--diff", is_flag=True, help="Print the differences to the files on the disk.")
@click.option("--force", is_flag=True, help="Replace foreign files (a copy is kept) and edited ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def install(
    server_config: Path,
    model: str,
    suffix: str | None,
    image_roots: tuple[Path, ...],
    pool_size: int,
    threads: int | None,
    engine: str,
    device: str | None,
    wire_format: str,
    jpeg_decoding: str,
    max_text_bytes: int | None,
    max_image_bytes: int | None,
    max_image_pixels: int | None,
    raw: bool,
    python: Path | None,
    user: str | None,
    destdir: Path,
    connection: ConnectionOptions | None,
    ddl: bool,
    table: str | None,
    cluster: str | None,
    quantization: str,
    rows: int,
    verify: bool,
    uninstall: bool,
    every: bool,
    dry_run: bool,
    diff: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Install the SQL functions of a CLIP model into the ClickHouse server at --server-config.

    Files are put into place as one, checked as the server's user, and taken back if anything fails. Without
    --url (or --embedded) no ClickHouse is touched: the schema is printed for you to run.
    """
    from clip_installer.install import answers
    from clip_installer.install.request import InstallRequest

    _refuse_contradictions(
        verify=verify,
        uninstall=uninstall,
        every=every,
        suffix=suffix,
        staged=destdir != Path("/"),
        connected=connection is not None,
    )
    if device is not None and engine != "torch":
        raise click.UsageError("--device belongs to --engine torch; ONNX Runtime runs on the CPU")
    limits = {
        "max_text_bytes": max_text_bytes,
        "max_image_bytes": max_image_bytes,
        "max_image_pixels": max_image_pixels,
    }
    request = InstallRequest(
        server_config=server_config,
        model=model,
        suffix=suffix or "",
        image_roots=image_roots,
        pool_size=pool_size,
        threads=threads,
        engine=engine,
        device=device,
        wire_format=wire_format,
        normalize=not raw,
        jpeg_decoding=jpeg_decoding,
        limits={name: limit for name, limit in limits.items() if limit is not None},
        python=(python or Path(sys.executable)).absolute(),
        user=user,
        destdir=destdir.absolute(),
        force=force,
        table=table,
        cluster=cluster,
        quantization=quantization,
        rows=rows,
        connection=connection,
        ddl=ddl,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    with _file_errors_in_words():
        if verify:
            answers.verify(request, suffix, as_json=as_json)
        elif uninstall:
            answers.uninstall(request, suffix, every=every, dry_run=dry_run, diff=diff, as_json=as_json)
        else:
            answers.install(request, dry_run=dry_run, diff=diff, as_json=as_json)


def _refuse_contradictions(
    *,
    verify: bool,
    uninstall: bool,
    every: bool,
    suffix: str | None,
    staged: bool,
    connected: bool,
) -> None:
    if verify and uninstall:
        raise click.UsageError("--verify and --uninstall are two things; choose one")
    if every and not uninstall:
        raise click.UsageError("--all belongs to --uninstall")
    if every and suffix is not None:
        raise click.UsageError("--all and --suffix contradict each other")
    if suffix is not None and suffix and not (suffix.isascii() and suffix.replace("_", "a").isalnum()):
        raise click.UsageError(f"--suffix {suffix!r}: only letters, digits and _ can be in a function's name")
    if staged and connected:
        raise click.UsageError("--destdir stages files for another place: no ClickHouse can be reached for it")


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _file_errors_in_words() -> Iterator[None]:
    from clip_installer.errors import ConfigurationError
    from clip_installer.install.transaction import describe

    try:
        yield
    except OSError as error:
        raise ConfigurationError(describe(error)) from error
