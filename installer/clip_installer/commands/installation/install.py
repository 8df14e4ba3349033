"""``clip-udfs install``, also ``install-udfs``: a model's functions into a server, or out of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from clip_installer.commands.options import counted, json_option, optional_connection_options
from clip_installer.tables.schema import QUANTIZATIONS
from clip_udfs import __version__
from clip_udfs.settings import ENGINES, FORMATS, IMAGE_FORMATS, JPEG_DECODINGS, MOST_IMAGE_PIXELS

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions
    from clip_installer.install.request.options import Options

_PATH = click.Path(path_type=Path)
_ROOT = Path("/")
# Options of a run, not of an installation: these are not allowed in a configuration file.
_ACTIONS = (
    "config",
    "reset",
    "verify",
    "deep",
    "uninstall",
    "all",
    "dry-run",
    "diff",
    "force",
    "json",
    "help",
    "version",
)
_EXAMPLES = """\b
Examples:
  install-udfs --server-config /etc/clickhouse-server --dry-run
  install-udfs --url http://default@localhost:8123 --model ./ViT-B-32-openai
  install-udfs --url http://default@localhost:8123 --pool-size 4
  install-udfs --url http://default@localhost:8123 --verify
  install-udfs --uninstall
"""


def _read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Use the options in the file as defaults for those on the command line."""
    if path is not None:
        from clip_installer.install.request.config_file import read_config_file

        options = {_typed(one): one for one in context.command.params if isinstance(one, click.Option)}
        values, functions = read_config_file(path, [name for name in options if name not in _ACTIONS])
        context.default_map = {str(options[name].name): value for name, value in values.items()}
        context.meta["functions"] = functions
    return path


def _formats(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The formats by Pillow's names, in whatever case they are typed."""
    if value is None:
        return None
    names = {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000", "PNM": "PPM", "HEIC": "HEIF"}
    found = [names.get(one, one) for one in (part.strip().upper().replace(" ", "") for part in value.split(","))]
    if unknown := [one for one in found if one not in IMAGE_FORMATS]:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(IMAGE_FORMATS)}")
    return ",".join(dict.fromkeys(found))


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    short_help="Install a model's functions into a ClickHouse server, verify or remove them.",
    epilog=_EXAMPLES,
)
@click.version_option(__version__, prog_name="install-udfs")
@click.option(
    "--config",
    type=_PATH,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="Take options from this TOML file; the command line overrides them.",
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
    metavar="BUNDLE|NAME|ARCH/TAG",
    help="A bundle's directory, a built-in model, or a model of open_clip to build first [default: emoji].",
)
@click.option("--suffix", help="Suffix of the SQL names, for a second model beside the first.")
@click.option(
    "--image-root",
    type=_PATH,
    multiple=True,
    metavar="DIR",
    help="Directory that encode_image may read; repeatable [default: the server's user_files_path].",
)
@click.option("--pool-size", type=click.IntRange(1), help="Workers of each function [default: 2].")
@click.option("--threads", type=click.IntRange(0), help="Engine threads of a worker [default: cores / pool size].")
@click.option("--engine", type=click.Choice(ENGINES), help=f"Inference engine [default: {ENGINES[0]}].")
@click.option("--device", help="Device of the torch engine, e.g. cuda:0 [default: a GPU if there is one].")
@click.option(
    "--wire-format",
    type=click.Choice(FORMATS),
    help=f"Format on the workers' pipe; a query's settings can break TabSeparated [default: {FORMATS[0]}].",
)
@click.option(
    "--jpeg-decoding",
    type=click.Choice(JPEG_DECODINGS),
    help="scaled decodes JPEGs of many megapixels faster; photographs keep a cosine of 0.9995 with the exact vectors"
    " [default: exact].",
)
@click.option(
    "--exif-orientation/--no-exif-orientation",
    default=None,
    help="Turn photographs upright, as phones mark them, before they are encoded [default: as stored, like open_clip].",
)
@click.option(
    "--max-text-bytes", type=click.IntRange(1), help="Bytes of the longest text that is encoded [default: 1 MiB]."
)
@click.option(
    "--max-image-bytes", type=click.IntRange(1), help="Bytes of the largest image file that is read [default: 64 MiB]."
)
@click.option(
    "--max-image-pixels",
    type=click.IntRange(1, MOST_IMAGE_PIXELS),
    help="Largest image, width times height, that is decoded [default: 89478485].",
)
@click.option(
    "--max-image-seconds", type=click.IntRange(1), help="CPU seconds that decoding an image may take [default: 10]."
)
@click.option(
    "--max-image-memory",
    type=click.IntRange(1 << 24),
    help="Bytes of memory that decoding an image may take [default: 1.5 GiB].",
)
@click.option(
    "--formats",
    callback=_formats,
    metavar="NAME,…",
    help=f"Image formats that are read, of {', '.join(IMAGE_FORMATS)} [default: all but the last three].",
)
@click.option(
    "--text-cache",
    type=click.IntRange(0),
    help="Texts whose vectors a worker caches for later queries [default: 4096].",
)
@click.option("--raw/--normalized", default=None, help="Vectors as the model computes them, or of length 1 [default].")
@click.option("--python", type=_PATH, help="Interpreter of the workers [default: the one that runs this].")
@click.option("--user", help="System user of the server [default: the recorded one, or the owner of its data].")
@click.option("--destdir", type=_PATH, default=_ROOT, help="Install into the tree below this directory.")
@optional_connection_options
@click.option("--ddl/--no-ddl", default=None, help="Create table and views [default], or only print their SQL.")
@click.option(
    "--search-page/--no-search-page",
    default=None,
    help="Serve a search page at /clip, or /clip_SUFFIX, on the server's HTTP port; default: no.",
)
@click.option(
    "--page-handlers",
    type=click.Choice(["sql", "config"]),
    help="Create the page's handlers by SQL, or by a file in the server's config.d [default: sql from ClickHouse 26.8"
    " on, config before].",
)
@click.option("--table", help="Table that the views search [default: laion, or laion_SUFFIX].")
@click.option("--cluster", help="Cluster for the schema: ON CLUSTER, replicated and distributed tables.")
@click.option(
    "--quantization",
    type=click.Choice(QUANTIZATIONS),
    help="Number format of the vectors in the indexes, for the plan and the printed SQL [default: bf16].",
)
@click.option(
    "--rows", metavar="COUNT", callback=counted, help="Rows to size the indexes for, such as 50M [default: 1M]."
)
@click.option(
    "--reset",
    multiple=True,
    metavar="OPTION",
    help="Restore the default of this option, e.g. pool-size; repeatable; 'all' for every option.",
)
@click.option("--verify", is_flag=True, help="Check what is installed, and change nothing.")
@click.option(
    "--deep", is_flag=True, help="With --verify: also start fresh workers, and read a real image by its path."
)
@click.option("--uninstall", is_flag=True, help="Remove what was installed; data stay.")
@click.option("--all", "every", is_flag=True, help="With --uninstall: every installed model.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the SQL, and change nothing.")
@click.option("--diff", is_flag=True, help="Like --dry-run, with the content of new files and the changes to others.")
@click.option("--force", is_flag=True, help="Replace foreign and edited files, keeping a copy of each.")
@json_option
@click.pass_context
def install(
    context: click.Context,
    /,
    server_config: Path,
    suffix: str | None,
    destdir: Path,
    connection: ConnectionOptions | None,
    reset: tuple[str, ...],
    verify: bool,
    deep: bool,
    uninstall: bool,
    every: bool,
    dry_run: bool,
    diff: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Install the SQL functions of a CLIP model into the ClickHouse server at --server-config.

    The installation is remembered: a later run changes only the options that you give. Everything that can be
    checked is checked before anything is changed, and a failure rolls back what was changed. Without --url (or
    --embedded) no ClickHouse is touched: the schema is printed for you to run.
    """
    from clip_installer.install import session
    from clip_installer.install.output.output import Output
    from clip_installer.install.request.request import InstallRequest
    from clip_installer.progress import Status

    given = _given(context, options)
    _refuse_contradictions(
        verify=verify, deep=deep, uninstall=uninstall, every=every, suffix=suffix, planned=dry_run or diff
    )
    if connection is not None and destdir != _ROOT:
        raise click.UsageError("--destdir stages files for another machine: omit --url and --embedded")
    if given.values.get("device") is not None and given.values.get("engine", "torch") != "torch":
        raise click.UsageError("--device applies only to --engine torch; ONNX Runtime runs on the CPU")
    request = InstallRequest(
        server_config=server_config,
        suffix=suffix or "",
        given=given,
        reset=reset,
        python=Path(sys.executable).absolute(),
        destdir=destdir.absolute(),
        force=force,
        connection=connection,
    )
    output = Output(as_json, diff, Status())
    signal.signal(signal.SIGTERM, _interrupt)
    with _file_errors_in_words():
        try:
            if verify:
                session.verify(request, output, suffix, deep=deep)
            elif uninstall:
                session.uninstall(request, output, suffix, every=every, dry_run=dry_run or diff)
            else:
                session.install(request, output, dry_run=dry_run or diff)
        finally:
            output.status.clear()


def _given(context: click.Context, values: dict[str, Any]) -> Options:
    """The options given on the command line or in the configuration file, as they are remembered."""
    from clip_installer.install.request.options import Options, absolute

    given: dict[str, Any] = {}
    for name, value in values.items():
        if context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP):
            remembered = value
            if isinstance(value, tuple):
                remembered = [absolute(one) for one in value]
            elif isinstance(value, Path) or (name == "model" and Path(value).is_dir()):
                remembered = absolute(value)
            given[name.replace("_", "-")] = remembered
    return Options(given, context.meta.get("functions", {}))


def _typed(option: click.Option) -> str:
    """The name of an option as it is typed, without the dashes."""
    return max((name for name in option.opts if name.startswith("--")), default="").removeprefix("--")


def _refuse_contradictions(
    *, verify: bool, deep: bool, uninstall: bool, every: bool, suffix: str | None, planned: bool
) -> None:
    if verify and uninstall:
        raise click.UsageError("--verify and --uninstall exclude each other; choose one")
    if verify and planned:
        raise click.UsageError("--verify changes nothing: omit --dry-run and --diff")
    if deep and not verify:
        raise click.UsageError("--deep applies only to --verify")
    if every and not uninstall:
        raise click.UsageError("--all applies only to --uninstall")
    if every and suffix is not None:
        raise click.UsageError("--all and --suffix exclude each other; choose one")
    if suffix is not None and suffix and not (suffix.isascii() and suffix.replace("_", "a").isalnum()):
        raise click.UsageError(f"--suffix {suffix!r}: only letters, digits and _ can be in a function's name")


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _file_errors_in_words() -> Iterator[None]:
    from clip_installer.errors import ConfigurationError
    from clip_installer.install.transaction.change import describe

    try:
        yield
    except OSError as error:
        raise ConfigurationError(describe(error)) from error
