"""Renders the files that a server reads: function XML, launcher, drop-in."""

from __future__ import annotations

import json
import re
import shlex
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from clip_installer import resources
from clip_installer.errors import ConfigurationError
from clip_installer.tables.label import ModelLabel
from clip_udfs.functions import FUNCTIONS, Function
from clip_udfs.settings import FORMATS, ROW_BINARY

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

    from clip_installer.tables.search_page.page import SearchPage

POOL_WAIT_SECONDS = 300
TERMINATION_SECONDS = 3

_NUMBER = re.compile(r"\d+")
_FLAG = re.compile(r"[01]")
# ClickHouse silently ignores unknown keys, so a misspelt one must be found here.
_FUNCTION_KEYS: dict[str, re.Pattern[str]] = {
    "type": re.compile(r"executable_pool"),
    "name": re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    "return_type": re.compile(r"\S.*"),
    "return_name": re.compile(r"\w+"),
    "format": re.compile("|".join(FORMATS)),
    "command": re.compile(r"(?!/|.*\.\./)[A-Za-z0-9._/-]+ [a-z_]+ \d+ [0-9a-f]{12}(?: upright)?"),
    "execute_direct": _FLAG,
    "send_chunk_header": _FLAG,
    "deterministic": _FLAG,
    "pool_size": re.compile(r"[1-9]\d*"),
    "max_command_execution_time": _NUMBER,
    "command_read_timeout": _NUMBER,
    "command_write_timeout": _NUMBER,
    "command_termination_timeout": _NUMBER,
    "stderr_reaction": re.compile(r"none|log|log_first|log_last|throw"),
    "check_exit_code": _FLAG,
    "lifetime": _NUMBER,
}
# What printf and a shell's single quotes leave as it is.
_PLAIN = frozenset(string.ascii_letters + string.digits + "(), _")
_ARGUMENT_KEYS = {"type": re.compile(r"\S.*"), "name": re.compile(r"\w+")}


@dataclass(frozen=True)
class FunctionDefinition:
    """What one function's XML says.

    Attributes:
        function: The function.
        suffix: Suffix of its SQL name, '' for the default model.
        directory: What its workers are started from, relative to ``user_scripts_path``, with ``/`` between the parts;
            it changes with anything that a worker loads, so that ClickHouse starts fresh workers.
        model: The model, named in the command so that SQL can read it.
        format: ClickHouse format of the pool.
        pool_size: Processes of the pool.
        silence_seconds: Seconds without a byte after which ClickHouse gives up on a worker.
    """

    function: Function
    suffix: str
    directory: str
    model: ModelLabel
    format: str
    pool_size: int
    silence_seconds: int

    @property
    def sql_name(self) -> str:
        """The name that an analyst types."""
        return self.function.sql_name(self.suffix)


def function_xml(definition: FunctionDefinition) -> str:
    """The XML file that defines one function.

    Raises:
        ConfigurationError: ClickHouse would misread or ignore a value or a key.
    """
    text = rendered(
        "function.xml.j2",
        name=definition.sql_name,
        arguments=definition.function.arguments,
        return_name=definition.function.return_name,
        return_type=definition.function.return_type,
        format=definition.format,
        command=f"{definition.directory}/launch {definition.function.name} {definition.model.command_arguments}",
        pool_size=definition.pool_size,
        pool_wait_seconds=POOL_WAIT_SECONDS,
        silence_milliseconds=definition.silence_seconds * 1000,
        termination_seconds=TERMINATION_SECONDS,
    )
    _check_function_xml(text, definition.sql_name)
    return text


def launcher(model: str, python: Path, settings: Path, own: Sequence[Path] = (), *, wire_format: str) -> str:
    """The shell script that ClickHouse starts: it names the interpreter and the settings, both absolute.

    Args:
        model: Name of the model.
        python: The interpreter.
        settings: The settings of every function except those in ``own``.
        own: Files ``FUNCTION.json`` with the settings of single functions.
        wire_format: ClickHouse format of the pools; one with a header has the launcher write that of the first answer.
    """
    headers = _answer_headers() if wire_format == ROW_BINARY else []
    return rendered("launch.j2", model=model, python=python, settings=settings, own=own, headers=headers)


def _answer_headers() -> list[tuple[list[str], str]]:
    """The functions of each kind of answer, and the header of that answer as an argument for printf."""
    from clip_udfs.pipe.row_binary import header

    functions: dict[str, list[str]] = {}
    for function in FUNCTIONS.values():
        octal = "".join(
            chr(byte) if chr(byte) in _PLAIN else f"\\{byte:03o}"
            for byte in header(function.return_name, function.return_type)
        )
        functions.setdefault(f"'{octal}'", []).append(function.name)
    return [(names, printed) for printed, names in functions.items()]


def drop_in_xml(pattern: str) -> str:
    """A file for ``config.d`` that adds ``pattern`` to the places where functions are defined."""
    return rendered("drop_in.xml.j2", pattern=pattern)


def search_page_xml(page: SearchPage, *, defaults: bool = True) -> str:
    """A file for ``config.d`` with the handlers of the search page.

    Args:
        page: The page.
        defaults: Whether the server's own endpoints are named as well; without them, rules replace them.
    """
    return rendered("search_page.xml.j2", page=page, defaults=defaults)


def rendered(template: str, **values: object) -> str:
    """The template ``template`` of ``config_templates`` with ``values``.

    Raises:
        ConfigurationError: The template cannot be rendered with these values.
    """
    import jinja2

    try:
        return _environment(template.endswith(".xml.j2")).get_template(template).render(**values)
    except jinja2.TemplateError as error:
        raise ConfigurationError(f"template {resources.templates() / template}: {error.message}") from error


@cache
def _environment(escape_xml: bool) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        autoescape=escape_xml,
        keep_trailing_newline=True,
    )
    environment.filters["shell_quote"] = lambda value: shlex.quote(str(value))
    environment.filters["xml_text"] = _xml_text
    environment.filters["double_quote"] = json.dumps  # as Terraform reads strings, too
    return environment


def _xml_text(value: str) -> Markup:
    """``value`` as the text of an element, with its quotes as they are: SQL is full of them."""
    from markupsafe import Markup

    return Markup(escape(value))


def _check_function_xml(text: str, name: str) -> None:
    from lxml import etree

    try:
        root = etree.fromstring(text.encode())
    except etree.XMLSyntaxError as error:
        raise ConfigurationError(f"template function.xml.j2: not well-formed XML: {error.msg}") from error
    elements = [element for element in root.iterfind("function/*") if isinstance(element.tag, str)]
    found = [str(element.tag) for element in elements]
    for key in _FUNCTION_KEYS:
        if found.count(key) != 1:
            raise ConfigurationError(f"function {name}: <{key}> is there {found.count(key)} times, not once")
    for element in elements:
        if element.tag == "argument":
            for child in element:
                _check_value(name, _ARGUMENT_KEYS, str(child.tag), child.text)
        else:
            _check_value(name, _FUNCTION_KEYS, str(element.tag), element.text)


def _check_value(name: str, keys: dict[str, re.Pattern[str]], key: str, value: str | None) -> None:
    if key not in keys:
        raise ConfigurationError(f"function {name}: ClickHouse knows no <{key}> and would ignore it")
    if not keys[key].fullmatch(value or ""):
        raise ConfigurationError(f"function {name}: <{key}> cannot be {value!r}")
