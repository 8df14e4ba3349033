"""The command line: two programs, one place where errors become exit codes.

Exit codes: 0 done, 1 operational error, 2 wrong usage. With ``--json`` the answer is one object on standard output and
an error is one object ``{"error": {"code", "message", "command"}}`` on standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from clip_installer.commands.build_index import build_index
from clip_installer.commands.build_model import build_model
from clip_installer.commands.check_model import check_model
from clip_installer.commands.demo import demo
from clip_installer.commands.estimate import estimate
from clip_installer.commands.import_laion import import_laion
from clip_installer.commands.install import install
from clip_installer.commands.models import models
from clip_installer.commands.recall import recall
from clip_installer.commands.server import server
from clip_installer.commands.sql import sql
from clip_installer.errors import UsageProblem
from clip_udfs import __version__
from clip_udfs.errors import ClipUdfError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clip-udfs")
def program() -> None:
    """CLIP embeddings as ClickHouse functions: install them, feed them, check them."""


program.add_command(build_index)
program.add_command(build_model)
program.add_command(check_model)
program.add_command(demo)
program.add_command(estimate)
program.add_command(import_laion)
program.add_command(install)
program.add_command(recall)
program.add_command(models)
program.add_command(server)
program.add_command(sql)


def _fail(code: str, message: str, command: str, status: int, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message, "command": command}}), err=True)
    else:
        click.echo(f"{command}: {message}", err=True)
    sys.exit(status)


def run(command: click.Command, name: str, arguments: Sequence[str]) -> NoReturn:
    """Run ``command`` with ``arguments`` and exit with 0, 1 or 2; no traceback for an error that we raise."""
    as_json = "--json" in arguments
    try:
        status = command.main(list(arguments), prog_name=name, standalone_mode=False)
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
        _fail("interrupted", "interrupted", name, 1, as_json)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def main() -> NoReturn:
    """Entry point of ``clip-udfs``."""
    run(program, "clip-udfs", sys.argv[1:])


def install_main() -> NoReturn:
    """Entry point of ``install-udfs``, the same code as ``clip-udfs install``."""
    run(install, "install-udfs", sys.argv[1:])
