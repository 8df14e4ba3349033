"""The manual inside the database: a model's functions and views, for the view clip_help and for COMMENTs."""

from __future__ import annotations

from dataclasses import dataclass

from clip_installer.tables.views import VIEWS, View
from clip_udfs.functions import FUNCTIONS, Function

_PURPOSE = {
    "vector": {
        "text": "The vector of a text",
        "path": "The vector of an image, given as a path below a directory of clip_image_roots",
        "bytes": "The vector of an image, given as the content of its file",
    },
    "thumbnail": {
        "path": "A small image in WebP, of the image at a path",
        "bytes": "A small image in WebP, of an image given as the content of its file",
    },
    "info": {
        "path": "Size, format, EXIF and a perceptual hash of the image at a path",
        "bytes": "Size, format, EXIF and a perceptual hash of an image given as the content of its file",
    },
}
_OTHERWISE = {"vector": "[]", "thumbnail": "''", "info": "zeros and the reason"}
_ARGUMENTS = {
    "text": "'a red car'",
    "path": "'photo.jpg'",
    "bytes": "(SELECT raw_blob FROM {photo})",
}
# What reads a file of the server's, or where there are none, from elsewhere.
_PHOTOS = {True: "file('photo.jpg', RawBLOB)", False: "url('https://example.com/photo.jpg', RawBLOB)"}
# The filter of the installation's own table.
_FILTER = "laion"
_OF_INFO = {True: ".format", False: ".reason"}


@dataclass(frozen=True)
class ManualEntry:
    """One row of clip_help.

    Attributes:
        kind: ``function`` or ``view``.
        name: Its name, with the model's suffix.
        parameters: Names and types, as in a declaration.
        returns: The type of a function's result; '' for a view.
        purpose: What it is for.
        example: A statement that calls it.
    """

    kind: str
    name: str
    parameters: str
    returns: str
    purpose: str
    example: str


def signature(view: View, suffix: str, filtered_by: str) -> str:
    """The declaration of the view: ``search_by_text(query String, k UInt32)``."""
    return f"{_named(view.name, suffix)}({_declared(view, filtered_by)})"


def call(view: View, suffix: str, filtered_by: str, *, files: bool = True) -> str:
    """An example of a call: ``search_by_text(query = 'a red car', k = 10)``; ``files`` as in :func:`manual`."""
    given = ", ".join(f"{one.name} = {_filled(one.example, suffix, files)}" for one in view.parameters(filtered_by))
    return f"{_named(view.name, suffix)}({given})"


def manual(suffix: str, *, files: bool = True) -> list[ManualEntry]:
    """All functions, and all search views of the installation's own table, for the model with ``suffix``.

    Args:
        suffix: Suffix of the model's functions.
        files: Whether they can read files of the server; otherwise those that are given a path are left out.
    """
    functions = (one for one in FUNCTIONS.values() if files or one.source != "path")
    views = (one for one in VIEWS if files or one.target != "path")
    return [*(_function(one, suffix, files) for one in functions), *(_view(one, suffix, files) for one in views)]


def _function(function: Function, suffix: str, files: bool) -> ManualEntry:
    purpose = _PURPOSE[function.answer][function.source]
    if not function.strict:
        purpose += f"; {_OTHERWISE[function.answer]} where there is none"
    arguments = _filled(_ARGUMENTS[function.source], suffix, files) + (", 256" if function.takes_size else "")
    field = _OF_INFO[function.strict] if function.answer == "info" else ""
    return ManualEntry(
        "function",
        function.sql_name(suffix),
        ", ".join(f"{name} {kind}" for name, kind in function.arguments),
        function.return_type,
        purpose,
        f"SELECT {function.sql_name(suffix)}({arguments}){field}",
    )


def _view(view: View, suffix: str, files: bool) -> ManualEntry:
    example = f"SELECT * FROM {call(view, suffix, _FILTER, files=files)}"
    return ManualEntry("view", _named(view.name, suffix), _declared(view, _FILTER), "", view.purpose, example)


def _filled(example: str, suffix: str, files: bool) -> str:
    return example.replace("{suffix}", f"_{suffix}" if suffix else "").replace("{photo}", _PHOTOS[files])


def _named(name: str, suffix: str) -> str:
    return f"{name}_{suffix}" if suffix else name


def _declared(view: View, filtered_by: str) -> str:
    return ", ".join(map(str, view.parameters(filtered_by)))
