"""One configuration file of ClickHouse, XML or YAML, as an element tree."""

from __future__ import annotations

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


def parse(path: Path) -> etree._Element:
    """Parse one configuration file; YAML becomes the same tree as in ClickHouse.

    Returns:
        The root element, without comments and processing instructions.

    Raises:
        ConfigurationError: The file cannot be read or is malformed; names the file and the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    return _parse_yaml(path, content) if path.suffix.lower() in YAML_SUFFIXES else _parse_xml(path, content)


def text_of(element: etree._Element) -> str:
    """The element's text as ClickHouse reads a value: everything inside, stripped."""
    return "".join(map(str, element.itertext())).strip()


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
    root = etree.Element("clickhouse")
    if document is None:
        return root
    if not isinstance(document, yaml.MappingNode):
        raise ConfigurationError(f"{path}, line 1: a configuration in YAML must be a mapping of keys")
    _fill_from_mapping(root, document, path)
    return root


def _fill_from_mapping(element: etree._Element, mapping: yaml.MappingNode, path: Path) -> None:
    import yaml

    for key_node, value in mapping.value:
        key = key_node.value
        if key == "<<":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _fill_from_mapping(element, merged, path)
        elif key.startswith(_ATTRIBUTE_PREFIX):
            element.set(key[len(_ATTRIBUTE_PREFIX) :], str(value.value))
        elif key == _TEXT_KEY:
            element.text = value.value
        else:
            _append(element, key, value, path)


def _append(parent: etree._Element, key: str, value: yaml.Node, path: Path) -> None:
    import yaml
    from lxml import etree

    if isinstance(value, yaml.SequenceNode):
        # A sequence is a repeated element, as in XML.
        for item in value.value:
            _append(parent, key, item, path)
        return
    try:
        child = etree.SubElement(parent, key)
    except ValueError as error:
        line = value.start_mark.line + 1
        raise ConfigurationError(f"{path}, line {line}: {key!r} cannot be the name of an element") from error
    if isinstance(value, yaml.MappingNode):
        _fill_from_mapping(child, value, path)
    elif value.value not in _NULLS:
        child.text = value.value
