"""Generated images that are broken, odd or hostile, as an SQL user could pass them to a function, by name."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from tests.models.pictures import drawing

MEBIBYTE = 1 << 20
NOT_A_PICTURE = "not an image in a format that is read"
CUT_SHORT = "damaged image: it ends too early"
DAMAGED = "damaged image"
OVERLAPPING_TAGS = "the image's TIFF tags have \\d+ bytes, and the file only \\d+"
TOO_MANY_PIXELS = r"the image (is \d+ x \d+ pixels, at most \d+ are decoded|exceeds the limit of \d+ pixels)"

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>secret</body></html>\n"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script/></svg>'
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(secret) print\n"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """``image`` as a file of format ``kind``."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"\0" * 72) -> bytes:
    """A grey PNG whose header says ``width`` x ``height``, with ``chunks`` before its compressed ``data``."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def tiff(tags: dict[int, tuple[int, int, int]], rest: bytes = b"") -> bytes:
    """A TIFF of one directory: tag -> (type, count, value or offset), and ``rest`` behind it."""
    entries = b"".join(struct.pack("<HHLL", tag, *entry) for tag, entry in sorted(tags.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + b"\0\0\0\0" + rest


def grey_tiff(
    width: int, height: int, compression: int, **others: tuple[int, int, int]
) -> dict[int, tuple[int, int, int]]:
    """Tags of an 8-bit grey TIFF; ``others`` by their number after a ``t``."""
    short, long = 3, 4
    tags = {256: (long, 1, width), 257: (long, 1, height), 258: (short, 1, 8), 259: (short, 1, compression)}
    return tags | {262: (short, 1, 1), 277: (short, 1, 1)} | {int(name[1:]): entry for name, entry in others.items()}


def overlapping_tiff() -> bytes:
    """A TIFF of a megabyte in which a thousand tags each claim all of it."""
    tags = {0x9000 + number: (7, MEBIBYTE, 8) for number in range(1000)}
    return tiff(grey_tiff(8, 8, 1, t273=(4, 1, 100), t279=(4, 1, 64), t278=(4, 1, 8)) | tags, b"\0" * MEBIBYTE)


def overlapping_big_tiff() -> bytes:
    """The same as a BigTIFF, most significant byte first, with nothing but those tags."""
    entries = b"".join(struct.pack(">HHQQ", 0x9000 + number, 7, MEBIBYTE, 8) for number in range(1000))
    return b"MM\0+" + struct.pack(">HHQQ", 8, 0, 16, 1000) + entries + b"\0" * (8 + MEBIBYTE)


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_start(jpeg: bytes, *segments: bytes) -> bytes:
    """``jpeg`` with ``segments`` behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif_of_overlapping_tags(count: int) -> bytes:
    """An EXIF block whose ``count`` tags each claim the same 60 000 bytes."""
    tags = {0x9000 + number: (7, 60_000 - 12 * count, 8) for number in range(count)}
    return (b"Exif\0\0" + tiff(tags, b"x" * 60_000))[:65_000]


def jpeg_of_scans(count: int) -> bytes:
    """A small progressive JPEG whose last scan comes ``count`` more times."""
    content = encoded(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def run_length_bmp(width: int, height: int) -> bytes:
    """A BMP of 8 bits a pixel that ends before its first run."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 2, 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return struct.pack("<2sIII", b"BM", start + 2, 0, start) + header + b"\0" * 1024 + b"\0\1"


def jpeg2000_of(
    width: int, height: int, *, tile: int = 0, components: int = 3, layers: int = 1, precinct: int = 0xFF
) -> bytes:
    """A JPEG 2000 codestream that declares this, with nothing in its tiles."""
    size = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, tile or width, tile or height, 0, 0, components)
    style = struct.pack(">BBHBBBBBBB", 1, 0, layers, 0, 0, 4, 4, 0, 1, precinct)
    quantization = b"\x40\x40"
    parts = ((0xFF51, size + b"\7\1\1" * components), (0xFF52, style), (0xFF5C, quantization))
    header = b"".join(struct.pack(">HH", marker, len(body) + 2) + body for marker, body in parts)
    return b"\xff\x4f" + header + b"\xff\x90\0\x0a\0\0\0\0\0\0\0\1\xff\x93" + b"\0" * 80 + b"\xff\xd9"


def lossless_webp_of_largest_size() -> bytes:
    """A lossless WebP whose header says 16384 x 16384."""
    content = bytearray(encoded(Image.new("RGB", (9, 9)), "WEBP", lossless=True))
    size = content.index(b"VP8L") + 9
    content[size : size + 4] = struct.pack("<I", (1 << 28) - 1)
    return bytes(content)


def resized(content: bytes, form: str, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """``content`` whose first size ``old``, packed as ``form``, says ``new`` instead."""
    before = struct.pack(form, *old)
    assert before in content
    return content.replace(before, struct.pack(form, *new), 1)


def gif_of_size(width: int, height: int) -> bytes:
    """A GIF whose screen and frame say ``width`` x ``height``."""
    small = encoded(Image.new("P", (8, 8)), "GIF")
    return resized(resized(small, "<HH", (8, 8), (width, height)), "<HH", (8, 8), (width, height))


def odd_but_whole() -> dict[str, bytes]:
    """Images that have pixels, whatever else is wrong with them."""
    rgb = drawing(40, 30)
    jpeg = encoded(rgb, "JPEG")
    frames = [drawing(16, 16, number) for number in range(200)]
    deep = np.arange(40 * 30, dtype=np.uint16).reshape(30, 40) * 50
    palette = rgb.quantize(5)
    return {
        "1x1.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "1x10000.png": encoded(Image.new("RGB", (1, 10000), "red"), "PNG"),
        "10000x1.png": encoded(Image.new("L", (10000, 1), 9), "PNG"),
        "65500x1.bmp": encoded(Image.new("RGB", (65500, 1), "red"), "BMP"),
        "1x65500.jpg": encoded(Image.new("L", (1, 65500), 9), "JPEG"),
        "png-named.jpg": encoded(rgb, "PNG"),
        "jpeg-named.png": jpeg,
        "200-frames.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "200-frames.png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "200-frames.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "200-pages.tiff": encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "many.mpo": encoded(rgb, "MPO", save_all=True, append_images=frames[:3]),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "cmyk.tiff": encoded(rgb.convert("CMYK"), "TIFF"),
        "lab.tiff": encoded(Image.merge("LAB", rgb.split()), "TIFF"),
        "float.tiff": encoded(Image.fromarray(np.where(deep % 7 == 0, np.nan, deep).astype(np.float32)), "TIFF"),
        "16-bit.png": encoded(Image.fromarray(deep), "PNG"),
        "16-bit.tiff": encoded(Image.fromarray(deep), "TIFF"),
        "16-bit.ppm": b"P6 2 1 65535\n" + bytes(range(12)),
        "1-bit.png": encoded(rgb.convert("1"), "PNG"),
        "palette-transparent.png": encoded(palette, "PNG", transparency=bytes(range(5))),
        "palette-of-1.gif": encoded(Image.new("P", (9, 9)), "GIF"),
        "grey-alpha.png": encoded(rgb.convert("LA"), "PNG"),
        "alpha.webp": encoded(rgb.convert("RGBA"), "WEBP"),
        "interlaced-palette.png": encoded(palette, "PNG", bits=4),
        "icc-garbage.jpg": after_start(jpeg, segment(0xE2, b"ICC_PROFILE\0\1\1" + b"garbage" * 9)),
        "icc-12-mebibytes.jpg": after_start(
            jpeg, *(segment(0xE2, b"ICC_PROFILE\0" + bytes([n + 1, 200]) + b"\0" * 60_000) for n in range(200))
        ),
        "exif-garbage.jpg": after_start(jpeg, segment(0xE1, b"Exif\0\0" + b"\xff" * 500)),
        "exif-turned.jpg": after_start(
            jpeg, segment(0xE1, b"Exif\0\0" + tiff({0x0112: (3, 1, 6), 0x011A: (5, 1, 0), 0x0128: (3, 1, 9)}))
        ),
        "exif-overlapping.jpg": after_start(jpeg, segment(0xE1, exif_of_overlapping_tags(400))),
        "mpf-garbage.jpg": after_start(jpeg, segment(0xE2, b"MPF\0" + b"II*\0\xff\xff\xff\xff" * 5)),
        "ztxt-64-mebibytes.png": png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (64 * MEBIBYTE)))),
        "iccp-64-mebibytes.png": png(8, 8, (b"iCCP", b"a\0\0" + zlib.compress(b"\0" * (64 * MEBIBYTE)))),
        "itxt-2-mebibytes.png": png(8, 8, (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"\0" * (2 * MEBIBYTE)))),
        "text-70-mebibytes.png": png(8, 8, (b"tEXt", b"a\0" + b"x" * (70 * MEBIBYTE))),
        "ztxt-many.png": png(8, 8, *[(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (MEBIBYTE - 1)))] * 100),
        "video-behind.jpg": jpeg + b"\xff\xda\0\0" * 5000,
        "ztxt-1-mebibyte-less.png": png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (MEBIBYTE - 1)))),
        "icc-1-mebibyte.webp": encoded(rgb, "WEBP", icc_profile=b"\0" * MEBIBYTE),
        "exif-garbage.webp": encoded(rgb, "WEBP", exif=b"Exif\0\0" + b"\xff" * 500),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    """Files without pixels, each with the expected refusal, for a limit of one megapixel."""
    rgb = drawing(64, 48)
    whole = {
        kind: encoded(rgb, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
    }
    files = {
        "empty.png": (b"", "the file is empty"),
        "page.jpg": (HTML, NOT_A_PICTURE),
        "drawing.svg": (SVG, NOT_A_PICTURE),
        "paper.pdf": (PDF, NOT_A_PICTURE),
        "program.eps": (EPS, NOT_A_PICTURE),
        "text.jpg": (b"no picture", NOT_A_PICTURE),
        "zeros.png": (b"\0" * 5000, NOT_A_PICTURE),
        "icon.ico": (encoded(rgb, "ICO"), NOT_A_PICTURE),
        "unsigned.tga": (encoded(rgb, "TGA"), NOT_A_PICTURE),
        "program": (b"\x7fELF\2\1\1" + b"\0" * 99, NOT_A_PICTURE),
        "only-signature.png": (b"\x89PNG\r\n\x1a\n", NOT_A_PICTURE),
        "0x0.png": (png(0, 0), f"{NOT_A_PICTURE}|{DAMAGED}"),
        "0x0.gif": (gif_of_size(0, 0), f"{NOT_A_PICTURE}|{DAMAGED}"),
        "broken-chunk.png": (whole["PNG"][:60] + b"secret" * 20, DAMAGED),
        "quoted-token.ppm": (b"P3 2 2 255 1 2 secret 3", DAMAGED),
        "pixels.png": (png(65_500, 65_500), TOO_MANY_PIXELS),
        "pixels-compressed.png": (png(8000, 8000, data=b"\0" * (8000 * 8001)), TOO_MANY_PIXELS),
        "pixels-beyond-pillow.png": (png(2**30, 2**30), TOO_MANY_PIXELS),
        "pixels.gif": (gif_of_size(65_535, 65_535), TOO_MANY_PIXELS),
        "pixels.bmp": (resized(whole["BMP"], "<ii", (64, 48), (9999, 9999)), TOO_MANY_PIXELS),
        "pixels.ppm": (b"P6 9999 9999 255\n" + b"\0" * 99, TOO_MANY_PIXELS),
        "pixels.jpg": (resized(whole["JPEG"], ">HH", (48, 64), (9999, 9999)), TOO_MANY_PIXELS),
        "pixels.jp2": (resized(whole["JPEG2000"], ">II", (48, 64), (9999, 9999)), TOO_MANY_PIXELS),
        "pixels.tiff": (tiff(grey_tiff(9999, 9999, 5, t273=(4, 1, 100), t279=(4, 1, 64))), TOO_MANY_PIXELS),
        "pixels.webp": (lossless_webp_of_largest_size(), TOO_MANY_PIXELS),
        "tile-900-mebibytes.tiff": (
            tiff(
                grey_tiff(16, 16, 8, t322=(4, 1, 30_000), t323=(4, 1, 30_000), t324=(4, 1, 200), t325=(4, 1, 100)),
                b"\0" * 400,
            ),
            TOO_MANY_PIXELS,
        ),
        "strip-of-4-gibibytes.tiff": (
            tiff(grey_tiff(16, 16, 5, t278=(4, 1, 2**32 - 1), t273=(4, 1, 200), t279=(4, 1, 100)), b"\0" * 400),
            DAMAGED,
        ),
        "overlapping-tags.tiff": (overlapping_tiff(), OVERLAPPING_TAGS),
        "overlapping-tags.big.tiff": (overlapping_big_tiff(), OVERLAPPING_TAGS),
        "codestream-larger-than-its-box.jp2": (
            resized(whole["JPEG2000"], ">II", (64, 48), (30_000, 30_000)),
            "the image has 293125 tiles",
        ),
        "1000-scans.jpg": (jpeg_of_scans(1000), r"the image has 10\d\d JPEG scans, at most 100 are decoded"),
        "rle-of-5-megapixels.bmp": (run_length_bmp(1000, 5000), TOO_MANY_PIXELS),
        "precincts-of-a-pixel.j2k": (jpeg2000_of(1000, 1000, precinct=0x00), "the image has \\d+ precincts"),
        "65535-layers.j2k": (jpeg2000_of(64, 64, layers=65_535), "the image has 65535 quality layers, at most 256"),
        "62500-tiles.j2k": (jpeg2000_of(1000, 1000, tile=4), "the image has 62500 tiles, at most 4096"),
        "5-components.j2k": (jpeg2000_of(64, 64, components=5), f"the image has 5 components|{NOT_A_PICTURE}"),
    }
    for kind, content in whole.items():
        files[f"half.{kind.lower()}"] = (content[: len(content) // 2], NOT_A_PICTURE if kind == "AVIF" else DAMAGED)
        files[f"start.{kind.lower()}"] = (content[:30], f"{NOT_A_PICTURE}|{DAMAGED}")
    return files
