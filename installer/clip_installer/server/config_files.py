"""One configuration file of ClickHouse, XML or YAML, as an element tree.

Another user may own the files. So whatever one contains or is (a pipe, a device, an alias of itself, a bomb of aliases)
is read in bounded time and memory, or refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml
    from lxml import etree

YAML_SUFFIXES = (".yaml", ".yml")
_ATTRIBUTE_PREFIX = "@"
_TEXT_KEY = "#text"
_NULLS = ("", "~", "null", "Null", "NULL")
MOST_BYTES = 16 << 20
_MOST_ELEMENTS = 50_000  # of YAML, with its aliases expanded
# Without O_NONBLOCK, a pipe in place of a file would make root wait for ever.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def parse(path: Path) -> etree._Element:
    """Parse one configuration file; YAML becomes the same tree as in ClickHouse.

    Returns:
        The root element, without comments and processing instructions.

    Raises:
        ConfigurationError: The file cannot be read, is malformed, or is none; names the file and the line.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    return _parse_yaml(path, content) if path.suffix.lower() in YAML_SUFFIXES else _parse_xml(path, content)


def text_of(element: etree._Element) -> str:
    """The element's text as ClickHouse reads a value: everything inside, stripped."""
    return "".join(map(str, element.itertext())).strip()


def _content(path: Path) -> bytes:
    # Also checked before opening it, because opening a device may have side effects.
    if stat.S_ISREG(path.stat().st_mode):
        with os.fdopen(os.open(path, _READ), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                content = file.read(MOST_BYTES + 1)
                if len(content) > MOST_BYTES:
                    raise ConfigurationError(f"{path} has more than {MOST_BYTES >> 20} MiB: no configuration has")
                return content
    raise ConfigurationError(f"{path} is not a regular file: remove it from the configuration")


def _parse_xml(path: Path, content: bytes) -> etree._Element:
    from lxml import etree

    # Like ClickHouse, do not expand entities that the document defines.
    parser = etree.XMLParser(remove_comments=True, remove_pis=True, no_network=True, resolve_entities=False)
    try:
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise ConfigurationError(f"{path}, line {line}: not well-formed XML: {error.msg}") from error


def _parse_yaml(path: Path, content: bytes) -> etree._Element:
    import yaml
    from lxml import etree

    try:
        document = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigurationError(f"{path}, line {line}: not well-formed YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not well-formed YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: its YAML is nested too deeply") from error
    root = etree.Element("clickhouse")
    if document is None:
        return root
    if not isinstance(document, yaml.MappingNode):
        raise ConfigurationError(f"{path}, line 1: a configuration in YAML must be a mapping of keys")
    try:
        _Elements(path).fill(root, document)
    except RecursionError as error:
        raise ConfigurationError(f"{path}: its YAML is nested too deeply, or an alias contains itself") from error
    return root


class _Elements:
    """Makes elements of YAML nodes, up to a number: each alias of an alias could double it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MOST_ELEMENTS

    def fill(self, element: etree._Element, mapping: yaml.Node) -> None:
        """Add what ``mapping`` says to ``element``."""
        import yaml

        if not isinstance(mapping, yaml.MappingNode):
            raise ConfigurationError(f"{self._path}, line {_line(mapping)}: only a mapping can be merged with '<<'")
        for key_node, value in mapping.value:
            key = self._scalar(key_node, "a key")
            if key == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self._count(merged)
                    self.fill(element, merged)
            elif key.startswith(_ATTRIBUTE_PREFIX):
                with self._refusing(value):
                    element.set(key[len(_ATTRIBUTE_PREFIX) :], self._scalar(value, key))
            elif key == _TEXT_KEY:
                with self._refusing(value):
                    element.text = self._scalar(value, key)
            else:
                self._append(element, key, value)

    def _append(self, parent: etree._Element, key: str, value: yaml.Node) -> None:
        import yaml
        from lxml import etree

        self._count(value)
        if isinstance(value, yaml.SequenceNode):
            # A sequence is a repeated element, as in XML.
            for item in value.value:
                self._append(parent, key, item)
            return
        try:
            child = etree.SubElement(parent, key)
        except ValueError as error:
            raise ConfigurationError(
                f"{self._path}, line {_line(value)}: {key!r} cannot be the name of an element"
            ) from error
        if isinstance(value, yaml.MappingNode):
            self.fill(child, value)
        elif value.value not in _NULLS:
            with self._refusing(value):
                child.text = value.value

    def _count(self, node: yaml.Node) -> None:
        self._left -= 1
        if self._left < 0:
            raise ConfigurationError(
                f"{self._path}, line {_line(node)}: with its aliases, it has more than {_MOST_ELEMENTS} elements"
            )

    def _scalar(self, node: yaml.Node, what: str) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            raise ConfigurationError(f"{self._path}, line {_line(node)}: {what} must be a text")
        return str(node.value)

    @contextmanager
    def _refusing(self, node: yaml.Node) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # a control character, or no name for an attribute
            raise ConfigurationError(f"{self._path}, line {_line(node)}: XML could not hold this value") from error


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
