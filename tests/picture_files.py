"""Pictures for the tests of index-pictures: small, all different, of mixed formats, with odd names, some broken."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

FOLDERS = (
    b"",
    b"with space",
    b"it's",
    b'"quoted"',
    b"\xc3\xa4rger",
    b"a*b",
    b"line\nbreak",
    b"deep/er/still",
    b"not\xff\xfeutf8",
)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
BROKEN = 50  # one in so many


def name_of(number: int, ending: str) -> bytes:
    """The path of picture ``number`` below its root; odd folders, and odd names in them."""
    odd = (b"", b" ", b"'", b'"', "ä".encode(), b"*", b"?", b"\n", b"\\", b"{a,b}", b"%20", b"\xff")[number % 12]
    return (FOLDERS[number % len(FOLDERS)] + b"/%05d%s%s" % (number, odd, ending.encode())).lstrip(b"/")


def write_pictures(root: Path, numbers: range, broken: int = BROKEN) -> Iterator[tuple[bytes, bool]]:
    """Write pictures below ``root``: the path of each, and whether it is a good one. The same on every call."""
    for number in numbers:
        kind = FORMATS[number % len(FORMATS)]
        bad = number % broken == broken - 1
        path = os.fsencode(root) + b"/" + name_of(number, f".{kind.lower()}")
        file = Path(os.fsdecode(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_picture(file, kind, number)
        if bad:
            spoil(file, number)
        yield path, not bad


def write_picture(file: Path, kind: str, seed: int) -> None:
    """A picture of some coloured shapes."""
    chance = random.Random(seed)
    image = Image.new("RGB", (chance.randint(40, 96), chance.randint(40, 96)), _colour(chance))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        left, top = chance.randint(0, 60), chance.randint(0, 60)
        shape = draw.ellipse if chance.random() < 0.5 else draw.rectangle
        shape((left, top, left + chance.randint(5, 40), top + chance.randint(5, 40)), fill=_colour(chance))
    image.save(file, kind)


def spoil(file: Path, number: int) -> None:
    """Make of a picture a file that no decoder takes, in one of three ways."""
    content = file.read_bytes()
    file.write_bytes((content[:20], b"", b"this is no image at all")[number // BROKEN % 3])


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randint(0, 255), chance.randint(0, 255), chance.randint(0, 255)
