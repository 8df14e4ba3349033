"""Pack the demonstration's pictures: `python -m training.pictures`."""

import csv
import io
import logging
import re
import zipfile
from pathlib import Path

import click
from PIL import Image

from training import paths
from training.concepts import Concept, NameIndex, load_concepts
from training.fetch import chosen_icons, gallery_picture
from training.sources import EMOJIBASE, SOURCES, Source

log = logging.getLogger(__name__)
STYLES = ("openmoji", "fluent-emoji-flat")
COLUMNS = ("path", "style", "caption_en", "caption_zh", "keywords_en", "keywords_zh", "emoji", "licence")
WHEN = (2026, 1, 1, 0, 0, 0)  # a fixed time, so that the same pictures give the same file
LICENCES = """# The pictures in this file

| folder | pictures | work | licence | changes |
|---|---|---|---|---|
{rows}

Captions and keywords: emojibase-data {emojibase} (MIT, Miles Johnson), with text from Unicode CLDR
(Unicode License v3).

The pictures under `openmoji/` are adaptations of OpenMoji (https://openmoji.org) and stay under CC BY-SA 4.0
(https://creativecommons.org/licenses/by-sa/4.0/): whoever passes them on, changed or not, names OpenMoji and
keeps that licence. They are data beside the software, and no part of the model was derived from them.
The pictures under `fluent-emoji-flat/` are from Fluent Emoji (https://github.com/microsoft/fluentui-emoji),
Copyright (c) Microsoft Corporation, MIT License.
"""


def slug(label: str) -> str:
    """A label as part of a file name: `flag: China` becomes `flag-china`."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "emoji"


def row_of(source: Source, concept: Concept) -> dict[str, str]:
    """The line of `pictures.tsv` for one picture."""
    label = concept.label["en"]
    return {
        "path": f"{source.style}/{concept.hexcode.lower()}-{slug(label)}.png",
        "style": source.style,
        "caption_en": label,
        "caption_zh": concept.label["zh"],
        "keywords_en": "|".join(concept.keywords["en"]),
        "keywords_zh": "|".join(concept.keywords["zh"]),
        "emoji": concept.emoji,
        "licence": source.licence,
    }


def png(picture: Image.Image) -> bytes:
    """An RGB PNG without metadata: Pillow, and so open_clip, scales a palette picture without smoothing."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def add(archive: zipfile.ZipFile, name: str, content: bytes | str) -> None:
    """One member, always with the same time; what is compressed already is stored."""
    method = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    archive.writestr(zipfile.ZipInfo(name, WHEN), content, compress_type=method)


def pack(output: Path) -> int:
    """Write the archive; return the number of images."""
    modules = paths.NPM / "node_modules"
    concepts = load_concepts(paths.DATA / "concepts.json")
    index = NameIndex(concepts, modules / EMOJIBASE[0])
    by_style = {source.style: source for source in SOURCES}
    table, licences = io.StringIO(), []
    writer = csv.DictWriter(table, COLUMNS, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
    writer.writeheader()
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, pictures = output.with_suffix(".partial"), 0
    with zipfile.ZipFile(partial, "w") as archive:
        for style in STYLES:
            source = by_style[style]
            icons = chosen_icons(source, modules, index)
            for number, (icon, defaults) in icons.items():
                row = row_of(source, concepts[number])
                writer.writerow(row)
                add(archive, row["path"], png(gallery_picture(icon, defaults)))
            pictures += len(icons)
            size = "drawn at 112 x 112 on white, 64 colours"
            licences.append(
                f"| `{style}/` | {len(icons)} | {source.attribution} ({source.package} {source.version}) "
                f"| {source.licence} | {size} |"
            )
        add(archive, "pictures.tsv", table.getvalue())
        add(archive, "LICENSES.md", LICENCES.format(rows="\n".join(licences), emojibase=EMOJIBASE[1]))
    partial.replace(output)
    return pictures


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=paths.PICTURES)
def main(output: Path) -> None:
    """Pack the pictures of a style that was never trained on and of one that was."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pictures = pack(output)
    log.info("%d pictures, %.1f MB", pictures, output.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
