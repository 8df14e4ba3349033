"""What cannot be an image's content is refused with what to use instead; anything else keeps its own reason."""

from __future__ import annotations

import base64

import pytest

from clip_udfs.images.hints import instead_of_content

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


@pytest.mark.parametrize(
    ("content", "way"),
    [
        (b"https://example.org/cat.jpg", "FROM url('…', RawBLOB)"),
        (b" s3://bucket/cat.jpg", "FROM s3('…', RawBLOB)"),
        (b"gs://bucket/cat.jpg", "FROM gcs('…', RawBLOB)"),
        (b"file:///pictures/cat.jpg", "FROM file('…', RawBLOB)"),
        (b"data:image/png;base64," + base64.b64encode(PNG * 100), "base64Decode"),
        (base64.b64encode(PNG), "base64Decode"),
        (base64.encodebytes(PNG * 100), "base64Decode"),
        (PNG.hex().encode(), "unhex"),
        (b"\\x" + PNG.hex().upper().encode(), "unhex"),
        (b"pictures/my cat.JPEG", "without _bytes"),
        ("图片/猫.webp".encode(), "without _bytes"),
    ],
)
def test_anything_but_content_is_refused_with_what_to_use(content: bytes, way: str) -> None:
    assert way in str(instead_of_content(content))


@pytest.mark.parametrize(
    "content", [b"", PNG, PNG * 100, b"a cat", b"<html>\n<img src='cat.jpg'>", b"<svg></svg>", b"version https://git"]
)
def test_anything_else_keeps_its_own_reason(content: bytes) -> None:
    assert instead_of_content(content) is None
