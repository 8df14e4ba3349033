"""The options that an installation remembers: their names, their defaults, and how they merge.

An installation keeps its options. A later run changes those given on the command line or in the configuration file, and
resets those named with ``--reset``; everything else stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from clip_installer.errors import ConfigurationError
from clip_installer.models.source import BUILTIN_MODEL
from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import FORMATS, ROW_BINARY, WorkerSettings

FUNCTIONS_KEY = "functions"
EVERYTHING = "all"
DEFAULT_POOL_SIZE = 2
DEFAULT_QUANTIZATION = "bf16"
DEFAULT_ROWS = 1_000_000
LIMITS = ("max-text-bytes", "max-image-bytes", "max-image-pixels", "max-image-seconds", "max-image-memory")
PER_FUNCTION = ("pool-size", *LIMITS)


def _worker(name: str) -> Any:
    return WorkerSettings.__dataclass_fields__[name].default


# The value of an option that neither this run nor the installation sets; None is derived from server or machine.
DEFAULTS: Mapping[str, Any] = {
    "model": BUILTIN_MODEL,
    "image-root": None,
    "pool-size": DEFAULT_POOL_SIZE,
    "threads": None,
    "engine": _worker("engine"),
    "device": None,
    "wire-format": _worker("format"),
    "jpeg-decoding": _worker("jpeg_decoding"),
    "exif-orientation": _worker("exif_orientation"),
    "formats": ",".join(_worker("image_formats")),
    "text-cache": _worker("text_cache"),
    **{name: _worker(name.replace("-", "_")) for name in LIMITS},
    "raw": False,
    "python": None,
    "user": None,
    "ddl": True,
    "search-page": False,
    "page-handlers": None,
    "table": None,
    "cluster": None,
    "quantization": DEFAULT_QUANTIZATION,
    "rows": DEFAULT_ROWS,
}


@dataclass(frozen=True)
class Options:
    """Options with a value, by name; all others have their default.

    Attributes:
        values: The value of each option that was given: text, number, truth value or list of texts.
        functions: The same for single functions, by the function's name without suffix.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """The value of the option ``name``, or its default."""
        return self.values.get(name, DEFAULTS[name])

    def of_function(self, function: str, name: str) -> int:
        """The value of the option ``name`` for ``function``, which may have its own."""
        own = self.functions.get(function, {})
        return int(own[name] if name in own else self[name])

    def merged(self, given: Options, reset: Iterable[str] = ()) -> Options:
        """These options without those in ``reset``, updated with those in ``given``.

        Raises:
            ConfigurationError: ``reset`` has an unknown name.
        """
        kept = self
        for name in reset:
            kept = kept._without(name)
        functions = {
            function: {**kept.functions.get(function, {}), **given.functions.get(function, {})}
            for function in FUNCTIONS
            if function in kept.functions or function in given.functions
        }
        return Options({**kept.values, **given.values}, functions)

    def _without(self, name: str) -> Options:
        if name == EVERYTHING:
            return Options({key: value for key, value in self.values.items() if key == "model"})
        function, _, own = name.rpartition(".")
        if function in FUNCTIONS and own in PER_FUNCTION:
            rest = {key: value for key, value in self.functions.get(function, {}).items() if key != own}
            others = {key: value for key, value in self.functions.items() if key != function}
            return Options(self.values, {**others, function: rest} if rest else others)
        if name not in DEFAULTS:
            known = [EVERYTHING, *DEFAULTS, *(f"{one}.{key}" for one in FUNCTIONS for key in PER_FUNCTION)]
            raise ConfigurationError(f"--reset {name}: there is no such option{did_you_mean(name, known)}")
        return Options({key: value for key, value in self.values.items() if key != name}, self.functions)

    def to_record(self) -> dict[str, Any]:
        """The options in the form of the installer's records."""
        record = dict(self.values)
        if self.functions:
            record[FUNCTIONS_KEY] = {function: dict(values) for function, values in self.functions.items()}
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Options:
        """The options that :meth:`to_record` gave.

        A format of the pipe that there is no more gives way to the default.
        """
        values = {name: value for name, value in record.items() if name in DEFAULTS}
        if values.get("wire-format", ROW_BINARY) not in FORMATS:
            del values["wire-format"]
        return cls(values, record.get(FUNCTIONS_KEY, {}))


@dataclass(frozen=True)
class Change:
    """An option whose effective value changes."""

    name: str
    old: str
    new: str


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """The options whose effective values differ, in the order of ``new``."""
    names = dict.fromkeys((*new, *old))
    return [
        Change(name, old.get(name, "-"), new.get(name, "-"))
        for name in names
        if old.get(name, "-") != new.get(name, "-")
    ]


def shown(value: Any) -> str:
    """An option's value in a plan."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value)
    return str(value)


def function_options(values: Mapping[str, Any], where: str) -> dict[str, dict[str, int]]:
    """The table ``[functions]`` of a configuration file, checked.

    Raises:
        ConfigurationError: A function or an option in it is unknown, or a value is not a positive number.
    """
    checked: dict[str, dict[str, int]] = {}
    for function, own in values.items():
        if function not in FUNCTIONS:
            raise ConfigurationError(f"{where}: there is no function {function}{did_you_mean(function, FUNCTIONS)}")
        if not isinstance(own, Mapping):
            raise ConfigurationError(f"{where}: functions.{function} is {own!r}; write a table [functions.{function}]")
        for name, value in own.items():
            place = f"{where}: functions.{function}.{name}"
            if name not in PER_FUNCTION:
                raise ConfigurationError(
                    f"{place}: no option of one function{did_you_mean(name, PER_FUNCTION)}; there are"
                    f" {', '.join(PER_FUNCTION)}"
                )
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{place} is {value!r}; it must be a whole number, at least 1")
        checked[function] = dict(own)
    return checked


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that suggests the most similar name in ``known``, to end a message with; '' if none is similar."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def absolute(path: Path | str) -> str:
    """A path as it is remembered, independent of the current directory."""
    return str(Path(path).absolute())
