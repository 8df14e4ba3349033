"""The configuration file of ``--config``: the command's own options, kept in a TOML file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clip_installer.errors import ConfigurationError
from clip_installer.install.request.options import FUNCTIONS_KEY, did_you_mean, function_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATHS = ("server-config", "model", "image-root", "python", "ca-file", "client-cert", "client-key", "data")


def read_config_file(path: Path, known: Iterable[str]) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
    """Read the options in ``path``.

    A path that begins with ``./`` or ``../`` is relative to the file's directory.

    Args:
        path: The file.
        known: Names of the allowed options, as they are typed but without the dashes.

    Returns:
        The options, and those of single functions.

    Raises:
        ConfigurationError: It cannot be read, is not TOML, or has an unknown option.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read --config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--config {path} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"--config {path} is not TOML: {error}") from error
    functions = values.pop(FUNCTIONS_KEY, {})
    if not isinstance(functions, dict):
        raise ConfigurationError(f"{path}: functions is {functions!r}; write tables, [functions.encode_image]")
    names = sorted(known)
    for name, value in values.items():
        if name not in names:
            raise ConfigurationError(f"{path}: there is no option {name}{did_you_mean(name, [*names, FUNCTIONS_KEY])}")
        if isinstance(value, dict):
            raise ConfigurationError(f"{path}: {name} is a table; write {name} = VALUE above the first [table]")
    placed = {name: _placed(value, path.parent) if name in _PATHS else value for name, value in values.items()}
    return placed, function_options(functions, str(path))


def _placed(value: Any, directory: Path) -> Any:
    if isinstance(value, list):
        return [_placed(one, directory) for one in value]
    if isinstance(value, str) and value.startswith(("./", "../")):
        return str((directory / value).resolve())
    return value
