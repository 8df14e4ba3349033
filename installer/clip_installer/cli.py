"""The command line: two programs, one place where errors become exit codes.

Exit codes: 0 done, 1 operational error, 2 wrong usage, 3 unexpected error, 130 interrupted. With ``--json``, the result
    is one object on standard output and an error is one object ``{"error": {"code", "message",
"command"}}`` on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from clip_installer import crash
from clip_installer.commands.installation.cloud_bundle import cloud_bundle
from clip_installer.commands.installation.estimate import estimate
from clip_installer.commands.installation.install import install
from clip_installer.commands.installation.search_page import search_page
from clip_installer.commands.installation.status import status
from clip_installer.commands.models.build_model import build_model
from clip_installer.commands.models.models import models
from clip_installer.commands.models.try_model import try_model
from clip_installer.commands.tables.build_index import build_index
from clip_installer.commands.tables.check_model import check_model
from clip_installer.commands.tables.import_laion import import_laion
from clip_installer.commands.tables.index_pictures import index_pictures
from clip_installer.commands.tables.make_views import make_views
from clip_installer.commands.tables.recall import recall
from clip_installer.commands.trial.demo import demo
from clip_installer.commands.trial.server import server
from clip_installer.commands.trial.sql import sql
from clip_installer.errors import UsageProblem
from clip_udfs import __version__
from clip_udfs.errors import ClipUdfError, printable

INTERRUPTED, UNEXPECTED = 130, 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clip-udfs")
def program() -> None:
    """CLIP embeddings as ClickHouse functions: install them, fill tables with them, check them."""


program.add_command(build_index)
program.add_command(build_model)
program.add_command(check_model)
program.add_command(cloud_bundle)
program.add_command(demo)
program.add_command(estimate)
program.add_command(import_laion)
program.add_command(index_pictures)
program.add_command(install)
program.add_command(make_views)
program.add_command(recall)
program.add_command(models)
program.add_command(search_page)
program.add_command(server)
program.add_command(sql)
program.add_command(status)
program.add_command(try_model)


def _fail(code: str, message: str, command: str, status: int, as_json: bool) -> NoReturn:
    if as_json:
        error = {"code": code, "message": message, "command": command}
        click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
    else:
        click.echo(f"{command}: {printable(message)}", err=True)
    sys.exit(status)


def _missing(package: str) -> str:
    return (
        f"the Python package {package} is missing from {sys.prefix}; install this one again, with all that it needs:"
        f" {sys.executable} -m pip install --force-reinstall clickhouse-clip-udfs"
    )


def _invoke(command: click.Command, name: str, arguments: Sequence[str]) -> object:
    """Like ``command.main``, without the empty line that it prints when interrupted."""
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    if instruction := os.environ.get(variable):
        sys.exit(shell_complete(command, {}, name, variable, instruction))
    try:
        with command.make_context(name, list(arguments)) as context:
            return command.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code


def run(command: click.Command, name: str, arguments: Sequence[str]) -> NoReturn:
    """Run ``command`` with ``arguments`` and exit; whatever goes wrong ends as one line, or as one object."""
    as_json = "--json" in arguments
    try:
        status = _invoke(command, name, arguments)
    except click.UsageError as error:
        if not as_json and error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        _fail("usage", error.format_message(), name, 2, as_json)
    except click.ClickException as error:
        _fail("error", error.format_message(), name, 1, as_json)
    except UsageProblem as error:
        _fail(error.code, str(error), name, 2, as_json)
    except ClipUdfError as error:
        _fail(error.code, str(error), name, 1, as_json)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", "interrupted", name, INTERRUPTED, as_json)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package.startswith("clip_"):
            _fail("unexpected", crash.report(error, name, arguments), name, UNEXPECTED, as_json)
        _fail("incomplete", _missing(package), name, 1, as_json)
    except Exception as error:
        message = crash.report(error, name, arguments)
        _fail("unexpected", message, name, UNEXPECTED, as_json)
    sys.exit(status if isinstance(status, int) else 0)


def main() -> NoReturn:
    """Entry point of ``clip-udfs``."""
    run(program, "clip-udfs", sys.argv[1:])


def install_main() -> NoReturn:
    """Entry point of ``install-udfs``, the same code as ``clip-udfs install``."""
    run(install, "install-udfs", sys.argv[1:])
