"""Locations of templates, SQL and built-in data: inside the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

import clip_udfs

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


def _folder(name: str) -> Path:
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _CHECKOUT / name


def templates() -> Path:
    """Folder of the jinja2 templates for the files of a server."""
    return _folder("config_templates")


def sql() -> Path:
    """Folder of the SQL files: templates, import, recipes."""
    return _folder("sql")


def builtin_models() -> Path:
    """Folder whose sub-folders are the model bundles that the package ships."""
    return Path(clip_udfs.__file__).parent / "models"
