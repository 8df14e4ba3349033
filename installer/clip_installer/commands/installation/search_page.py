"""``clip-udfs search-page``: deploy, remove or print the search page of a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from clip_installer.commands.options import connection_options, json_option, table_option
from clip_installer.errors import UsageProblem

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions
    from clip_installer.tables.search_page.deployment import HandlerStep
    from clip_installer.tables.search_page.page import SearchPage
    from clip_installer.tables.search_page.search_user import SearchUser

_HELP = """\
Deploy the search page of a table as HTTP handlers of ClickHouse 26.8 or newer, or remove it.

The page is at /clip on the server's HTTP port, or at /clip_SUFFIX; for a table of index-pictures it is at /clip_TABLE.
For an older server, --http-handlers prints them as a file for its config.d.

\b
  clip-udfs search-page --url http://localhost:8123 --dry-run
  clip-udfs search-page --url http://localhost:8123
  clip-udfs search-page --url http://localhost:8123 --http-handlers > /etc/clickhouse-server/config.d/clip_table.xml
  clip-udfs search-page --url http://localhost:8123 --search-user search
  clip-udfs search-page --url http://localhost:8123 --remove
"""


@click.command("search-page", help=_HELP, short_help="Deploy, show or remove a table's search page.")
@connection_options
@table_option
@click.option(
    "--suffix", default="", help="Suffix of the model's functions and views [default: the model without one]."
)
@click.option("--remove", is_flag=True, help="Remove the page instead.")
@click.option("--dry-run", is_flag=True, help="Print the plan with every statement, and change nothing.")
@click.option("--http-handlers", is_flag=True, help="Print the handlers as a configuration file, and change nothing.")
@click.option(
    "--search-user",
    metavar="NAME",
    help="Print the statements for a user who can search through the page and do nothing else, and change nothing.",
)
@json_option
def search_page(
    connection: ConnectionOptions,
    table: str,
    suffix: str,
    remove: bool,
    dry_run: bool,
    http_handlers: bool,
    search_user: str | None,
    as_json: bool,
) -> None:
    """Deploy the search page of a table, show it, or remove it."""
    from clip_installer.install.files.render import search_page_xml
    from clip_installer.tables.search_page.deployment import deploy_page, page_of, plan_page, plan_page_removal
    from clip_installer.tables.search_page.search_user import SearchUser

    chosen = {"--remove": remove, "--http-handlers": http_handlers, "--search-user": search_user is not None}
    if len(both := [option for option, given in chosen.items() if given]) > 1:
        raise UsageProblem(f"{both[0]} and {both[1]} exclude each other; choose one")
    with connection.connect() as database:
        page = page_of(database, table, suffix)
        if http_handlers:
            click.echo(search_page_xml(page), nl=False)
            return
        if search_user is not None:
            _tell_user(SearchUser(search_user, page))
            return
        steps = plan_page_removal(database, page.address) if remove else plan_page(database, page)
        changed = not dry_run and deploy_page(database, steps)
    if as_json:
        handlers = [{"name": one.name, "url": one.url, "action": one.action, "reason": one.reason} for one in steps]
        click.echo(json.dumps({"dry_run": dry_run, "changed": changed, "address": page.url, "handlers": handlers}))
    else:
        _tell(page, steps, dry_run=dry_run, changed=changed, remove=remove)


def _tell_user(user: SearchUser) -> None:
    click.echo(
        f"-- For a user who can search through {user.page.url} and do nothing else: set a password, then run this."
    )
    for statement in user.statements:
        click.echo(f"{statement};")
    click.echo("-- To remove the user again:")
    for statement in user.removal:
        click.echo(f"-- {statement};")


def _tell(page: SearchPage, steps: list[HandlerStep], *, dry_run: bool, changed: bool, remove: bool) -> None:
    for step in steps:
        click.echo(f"{step.action:<10} {step.url}  {step.reason}")
    if dry_run:
        for step in steps:
            if step.changes:
                click.echo(f"\n{step.shown};")
        click.echo("\nNothing was changed: this was a dry run.")
    elif remove:
        click.echo(
            "The search page was removed." if changed else f"Nothing changed: there is no search page at {page.url}."
        )
    else:
        click.echo(f"The search page is at {page.url} of the server's HTTP port." if changed else "Nothing changed.")
