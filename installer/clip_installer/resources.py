"""Where the templates, the SQL and the built-in data are: inside the wheel, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

import clip_udfs

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


def _folder(name: str) -> Path:
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _CHECKOUT / name


def templates() -> Path:
    """Folder of the jinja2 templates of everything that is rendered for a server."""
    return _folder("config_templates")


def sql() -> Path:
    """Folder of the SQL files: numbered DDL, views, import, recipes."""
    return _folder("sql")


def builtin_models() -> Path:
    """Folder whose sub-folders are the model bundles that the package ships."""
    return Path(clip_udfs.__file__).parent / "models"
