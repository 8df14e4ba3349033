"""The results with their images: a page, and a contact sheet as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from clip_installer.demo.searches import Hit, Search

_TILE = 112
_GAP = 12
_LABEL = 26
_CAPTION = 34


def write_page(answers: Sequence[tuple[Search, Sequence[Hit]]], pictures: Path, path: Path) -> None:
    """Write an HTML page; its images are in ``pictures``, relative to the page."""
    from os.path import relpath

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("search.html.j2").render(answers=answers, root=relpath(pictures, path.parent))
    path.write_text(page, encoding="utf-8")


def write_contact_sheet(answers: Sequence[tuple[Search, Sequence[Hit]]], pictures: Path, path: Path) -> None:
    """Write one PNG: a row of images for each search, with caption and distance below each."""
    columns = max(len(hits) for _, hits in answers)
    row_height = _LABEL + _TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (_GAP + columns * (_TILE + _GAP), _GAP + len(answers) * row_height), "white")
    pen = ImageDraw.Draw(sheet)
    label, small = ImageFont.load_default(17), ImageFont.load_default(11)
    for row, (search, found) in enumerate(answers):
        top = _GAP + row * row_height
        # Pillow's own font has no Chinese: the sheet shows the translation, the page shows both.
        title = f"{search.view}: {search.meaning + ' (asked in Chinese)' if search.meaning else search.value}"
        pen.text((_GAP, top), title, "black", label)
        for column, hit in enumerate(found):
            left = _GAP + column * (_TILE + _GAP)
            with Image.open(pictures / hit.url) as picture:
                sheet.paste(picture.convert("RGB").resize((_TILE, _TILE)), (left, top + _LABEL))
            pen.text((left, top + _LABEL + _TILE + 2), _fitting(hit.caption, small), "black", small)
            style = hit.url.partition("/")[0]
            pen.text((left, top + _LABEL + _TILE + 16), f"{hit.distance:.3f} {style}", "gray", small)
    sheet.save(path)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= _TILE:
        return text
    while text and font.getlength(text + "...") > _TILE:
        text = text[:-1]
    return text + "..."
