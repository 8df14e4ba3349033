"""A server's configuration as ClickHouse merges it: main file, ``conf.d``, ``config.d``, substitutions.

The rules are those of ClickHouse's ``ConfigProcessor``: drop-ins in the order of their full paths, elements
paired by name and attributes, ``replace`` and ``remove``, then ``incl``, ``from_env`` and ``<include>`` on
the merged tree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.errors import ConfigurationError
from clip_installer.server.config_files import parse, text_of

if TYPE_CHECKING:
    from lxml import etree

ROOTS = ("clickhouse", "yandex")
_DROP_IN_SUFFIXES = (".xml", ".conf", ".yaml", ".yml")
_SUBSTITUTIONS = ("incl", "from_zk", "from_env")
_OVERRIDES = ("replace", "remove")
_MOST_INCLUDED_BYTES = 4 << 20
_DEFAULT_INCLUDE_FILE = Path("/etc/metrika.xml")


@dataclass(frozen=True)
class MergedConfig:
    """The merged tree and the files it was merged from.

    Attributes:
        root: The root element after merging; elements that could not be substituted keep their attributes.
        files: Contributing files in the order in which they were merged, the main file first.
    """

    root: etree._Element
    files: tuple[Path, ...]


def drop_in_directories(main_file: Path) -> tuple[Path, ...]:
    """The directories whose files ClickHouse merges into ``main_file``, in the order of merging."""
    return tuple(sorted({main_file.parent / "conf.d", main_file.with_suffix(".d")}, key=str))


def drop_ins(main_file: Path) -> list[Path]:
    """The files that ClickHouse merges into ``main_file``, in the order of merging."""
    found = [
        path
        for directory in drop_in_directories(main_file)
        if directory.is_dir()
        for path in directory.iterdir()
        if path.suffix.lower() in _DROP_IN_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(found, key=str)


def merge(main_file: Path, environment: Mapping[str, str]) -> MergedConfig:
    """Read ``main_file`` with its drop-ins and resolve the substitutions.

    Raises:
        ConfigurationError: A file cannot be read, is malformed, or contradicts itself.
    """
    try:
        return _merged(main_file, environment)
    except RecursionError as error:
        raise ConfigurationError(
            f"{main_file}: the configuration is nested too deeply, or an included element includes itself"
        ) from error


def _merged(main_file: Path, environment: Mapping[str, str]) -> MergedConfig:
    root = parse(main_file)
    if root.tag not in ROOTS:
        raise ConfigurationError(
            f"{main_file}: the root element is <{root.tag}>, a server's configuration has <clickhouse>"
        )
    files = [main_file]
    for drop_in in drop_ins(main_file):
        addition = parse(drop_in)
        if addition.tag not in ROOTS:
            raise ConfigurationError(f"{drop_in}: the root element is <{addition.tag}>, expected <clickhouse>")
        _merge_children(root, addition, drop_in)
        files.append(drop_in)
    include_file = _include_file(root, environment)
    included = None
    if include_file is not None:
        included = parse(include_file)
        files.append(include_file)
    _Substitutions(included, environment, main_file).resolve(root)
    return MergedConfig(root, tuple(files))


def _identity(element: etree._Element) -> tuple[str, tuple[tuple[str, str], ...]]:
    ignored = (*_SUBSTITUTIONS, *_OVERRIDES)
    return str(element.tag), tuple(
        sorted((str(name), str(value)) for name, value in element.attrib.items() if name not in ignored)
    )


def _merge_children(target: etree._Element, addition: etree._Element, source: Path) -> None:
    partners: dict[object, deque[etree._Element]] = {}
    for element in target:
        partners.setdefault(_identity(element), deque()).append(element)
        element.tail = None
    # The addition's text replaces the target's, even if it is empty.
    target.text = addition.text
    for element in addition:
        removes, replaces = "remove" in element.attrib, "replace" in element.attrib
        if removes and replaces:
            raise ConfigurationError(
                f"{source}, line {element.sourceline}: <{element.tag}> has both 'remove' and 'replace'"
            )
        candidates = partners.get(_identity(element))
        if not candidates:
            if not removes:
                target.append(_without_overrides(element))
            continue
        partner = candidates.popleft()
        if removes:
            target.remove(partner)
        elif replaces:
            target.replace(partner, _without_overrides(element))
        else:
            partner.attrib.update(element.attrib)
            _merge_children(partner, element, source)


def _without_overrides(element: etree._Element) -> etree._Element:
    copy = deepcopy(element)
    copy.tail = None
    for node in copy.iter():
        for name in _OVERRIDES:
            node.attrib.pop(name, "")
    return copy


def _include_file(root: etree._Element, environment: Mapping[str, str]) -> Path | None:
    element = root.find("include_from")
    if element is None:
        return _DEFAULT_INCLUDE_FILE if _DEFAULT_INCLUDE_FILE.exists() else None
    _Substitutions(None, environment, Path("include_from")).resolve(element)
    return Path(text_of(element)) if text_of(element) else None


class _Substitutions:
    """Puts included elements and environment variables where the configuration asks for them."""

    def __init__(self, included: etree._Element | None, environment: Mapping[str, str], source: Path) -> None:
        self._included = included
        self._environment = environment
        self._source = source
        self._left = _MOST_INCLUDED_BYTES  # each included element could include two others

    def resolve(self, element: etree._Element) -> None:
        """Resolve the substitutions of ``element`` and everything in it."""
        given = [name for name in _SUBSTITUTIONS if name in element.attrib]
        if len(given) > 1:
            raise ConfigurationError(f"{self._source}: <{element.tag}> has both {given[0]!r} and {given[1]!r}")
        if element.tag == "include" and not given:
            raise ConfigurationError(f"{self._source}: <include> has none of {', '.join(_SUBSTITUTIONS)}")
        if not given:
            for child in list(element):
                self.resolve(child)
            return
        replacement = self._replacement(given[0], str(element.attrib[given[0]]))
        parent = element.getparent()
        if replacement is None:
            if parent is not None and ("optional" in element.attrib or element.tag == "include"):
                parent.remove(element)
            # Otherwise, ClickHouse warns and continues. The attribute stays, so that whoever needs the value can say
            # why it is missing.
            return
        if element.tag == "include" and parent is not None:
            position = parent.index(element)
            parent.remove(element)
            for offset, child in enumerate(replacement):
                copy = deepcopy(child)
                parent.insert(position + offset, copy)
                self.resolve(copy)
            return
        _fill(element, replacement, self._source)
        self.resolve(element)

    def _replacement(self, substitution: str, name: str) -> etree._Element | None:
        found = None
        if substitution == "from_env":
            found = _from_environment(name, self._environment)
        elif substitution == "incl" and self._included is not None:
            try:
                found = self._included.find(name)
            except SyntaxError as error:
                raise ConfigurationError(f"{self._source}: incl={name!r} is no path to an element") from error
        if found is not None:
            from lxml import etree

            self._left -= len(etree.tostring(found))
            if self._left < 0:
                raise ConfigurationError(
                    f"{self._source}: its included elements have more than {_MOST_INCLUDED_BYTES >> 20} MiB"
                )
        return found


def _fill(element: etree._Element, replacement: etree._Element, source: Path) -> None:
    replaces = "replace" in element.attrib
    if not replaces and "from_env" in element.attrib and text_of(element):
        raise ConfigurationError(
            f'{source}: <{element.tag}> has a value and from_env; ClickHouse requires replace="1" for that'
        )
    for name in ("replace", *_SUBSTITUTIONS):
        element.attrib.pop(name, "")
    if replaces:
        for child in list(element):
            element.remove(child)
        element.text = None
    element.text = (element.text or "") + (replacement.text or "")
    for child in replacement:
        element.append(deepcopy(child))
    element.attrib.update(replacement.attrib)


def _from_environment(name: str, environment: Mapping[str, str]) -> etree._Element | None:
    from lxml import etree

    value = environment.get(name)
    if value is None:
        return None
    try:
        return etree.fromstring(f"<from_env>{value}</from_env>")
    except etree.XMLSyntaxError as error:
        raise ConfigurationError(
            f"environment variable {name}: its value is no XML content: {error.msg}; write & as &amp;"
        ) from error
