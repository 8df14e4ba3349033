"""Facts about the structure of an image file that are needed before a decoder sees it."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from clip_udfs.errors import ValueRefused

# A scan of a progressive JPEG can be a hundred bytes long and touch every pixel; encoders write about ten.
MAX_JPEG_SCANS = 100
_JPEG_SIGNATURE = b"\xff\xd8"
_JPEG_SCAN = b"\xff\xda"
# Neither 0x00, which escapes a 0xFF in a scan's data, nor a restart marker (0xD0-0xD7), which has no segment.
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_WITHOUT_SEGMENT, _SCAN, _END = (0x01, 0xD8), 0xDA, 0xD9

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that hold texts and colour profiles, most of them compressed. They do not change a pixel.
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# Pillow refuses a PNG for a larger one, and for texts of more than 64 of these altogether.
_LARGEST_PNG_TEXT, _LARGEST_PNG_TEXTS = 1 << 20, 64 << 20

_TIFF_ORDERS = {b"II": "<", b"MM": ">"}
_BYTES_OF_TIFF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
# Tags may share a value, such as the resolutions in x and y.
_MOST_SHARED_BYTES = 1 << 16

_UNREAD = (
    ("JPEG2000", re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n")),
    ("PPM", re.compile(rb"P[1-7FfyY]\s|Pyth|PyRGBA|PyCMYK")),
    ("AVIF", re.compile(rb"....ftyp(avif|avis)", re.DOTALL)),
    ("HEIC", re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("TIFF", re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+")),
    ("BMP", re.compile(rb"BM....\0\0\0\0", re.DOTALL)),
)


def check_jpeg_scans(content: bytes) -> None:
    """Refuse a JPEG with more scans than encoders write; a video appended by a phone does not count.

    Raises:
        ValueRefused: It has more than :data:`MAX_JPEG_SCANS`.
    """
    if not content.startswith(_JPEG_SIGNATURE) or content.count(_JPEG_SCAN) <= MAX_JPEG_SCANS:
        return
    if (scans := _jpeg_scans(content)) > MAX_JPEG_SCANS:
        raise ValueRefused(f"the image has {scans} JPEG scans, at most {MAX_JPEG_SCANS} are decoded")


def _jpeg_scans(content: bytes) -> int:
    """Number of scans up to the end of the image, whatever its segments contain or follows it."""
    scans, place = 0, len(_JPEG_SIGNATURE)
    while (found := _JPEG_MARKER.search(content, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == _END:
            break
        scans += marker == _SCAN
        if marker not in _WITHOUT_SEGMENT:
            place += int.from_bytes(content[place : place + 2], "big")
    return scans


def check_tiff_tags(content: bytes) -> None:
    """Refuse a TIFF whose tags share their values: Pillow before 13 copies each, a gigabyte from a small file.

    Raises:
        ValueRefused: The tags of the first image have more bytes than the file.
    """
    if content[:2] not in _TIFF_ORDERS or content[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return
    total = sum(_sizes_of_tiff_tags(content))
    if total > len(content) + _MOST_SHARED_BYTES:
        raise ValueRefused(f"the image's TIFF tags have {total} bytes, and the file only {len(content)}")


def _sizes_of_tiff_tags(content: bytes) -> Iterator[int]:
    """Bytes that each tag of the first directory takes from outside it, as far as the file has them."""
    order = _TIFF_ORDERS[content[:2]]
    place, number, counter, form = (8, "Q", "Q", "HHQ8s") if b"+" in content[2:4] else (4, "L", "H", "HHL4s")
    entry = struct.Struct(order + form)
    with suppress(struct.error, OverflowError):  # no directory is there: the decoder says so
        (start,) = struct.unpack_from(order + number, content, place)
        (count,) = struct.unpack_from(order + counter, content, start)
        start += struct.calcsize(order + counter)
        whole = min(count, (len(content) - start) // entry.size)
        for _, kind, values, data in entry.iter_unpack(content[start : start + whole * entry.size]):
            size = values * _BYTES_OF_TIFF_TYPE.get(kind, 0)
            if size > len(data):
                yield min(size, max(0, len(content) - struct.unpack(order + number, data)[0]))


def without_large_texts(content: bytes) -> bytes:
    """A PNG without the texts and profiles for which Pillow would refuse it; any other file unchanged."""
    if not content.startswith(_PNG_SIGNATURE) or not any(kind in content for kind in _PNG_TEXTS):
        return content
    kept, place, kept_from, total = [], len(_PNG_SIGNATURE), 0, 0
    while place + 8 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] in _PNG_TEXTS and end <= len(content):
            size = _unpacked_size(content[place + 4 : place + 8], content[place + 8 : end - 4])
            total += min(size, _LARGEST_PNG_TEXT)
            if size >= _LARGEST_PNG_TEXT or total >= _LARGEST_PNG_TEXTS:
                kept.append(content[kept_from:place])
                kept_from = end
        place = end
    return b"".join((*kept, content[kept_from:])) if kept else content


def _unpacked_size(kind: bytes, body: bytes) -> int:
    """Size of a text or profile; at most :data:`_LARGEST_PNG_TEXT` if compressed, because no more is unpacked."""
    place = body.find(b"\0") + 1  # behind its name
    if kind == b"iTXt" and body[place : place + 1] == b"\1":
        place = body.find(b"\0", body.find(b"\0", place + 2) + 1)  # behind flag, method, language and translated name
    elif kind in (b"tEXt", b"iTXt"):
        return len(body)
    with suppress(zlib.error):
        return len(zlib.decompressobj().decompress(body[place + 1 :], _LARGEST_PNG_TEXT))
    return len(body)


def unread_format(content: bytes) -> str | None:
    """Name of the format that ``content`` seems to have, for the message that it is not supported."""
    return next((name for name, signature in _UNREAD if signature.match(content)), None)
