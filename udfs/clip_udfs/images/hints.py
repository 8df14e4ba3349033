"""Recognises what people pass instead of an image's path or content, and says what to use instead."""

from __future__ import annotations

import re

from clip_udfs.errors import ValueRefused

_ADDRESS = re.compile(r"\s*(https?|ftp|s3|gs|file|data):", re.IGNORECASE)
# The first base64 and hexadecimal digits of JPEG, PNG, GIF and WebP files.
_BASE64 = re.compile(r"\s*(/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/=\s]{40,}")
_HEXADECIMAL = re.compile(r"\s*(\\x|0x)?(ffd8ff|89504e47|47494638|52494646)[0-9a-f]{40,}", re.IGNORECASE)
_PATH = re.compile(r"\s*[^\n<>]{1,4000}\.(jpe?g|png|gif|webp|bmp|tiff?|avif|heic)\s*", re.IGNORECASE)
_FETCH = {
    "http": "url('…', RawBLOB)",
    "https": "url('…', RawBLOB)",
    "s3": "s3('…', RawBLOB)",
    "gs": "gcs('…', RawBLOB)",
}
_LONGEST = 4096


def instead_of_path(value: str) -> ValueRefused | None:
    """The refusal of an address, or of an image's content, in place of a path; None if it may be a path."""
    found = _ADDRESS.match(value)
    scheme = found[1].lower() if found else ""
    if scheme == "file":
        return ValueRefused("an address, not a path: leave out 'file://'")
    if scheme == "data" or _BASE64.match(value):
        return ValueRefused("an image in base64, not a path: use encode_image_bytes(base64Decode('…'))")
    if found:
        source = _FETCH.get(scheme, "url('…', RawBLOB)")
        return ValueRefused(f"an address, not a path: use SELECT encode_image_bytes(raw_blob) FROM {source}")
    return None


def instead_of_content(content: bytes) -> ValueRefused | None:
    """The refusal of an address, a path or a text in place of an image's content; None for anything else."""
    text = content[:_LONGEST].decode("latin-1")
    found = _ADDRESS.match(text)
    scheme = found[1].lower() if found else ""
    if scheme == "data":
        return ValueRefused("a data: address, not the content of an image: give base64Decode() what follows its comma")
    if found and len(content) <= _LONGEST:
        source = _FETCH.get(scheme, "file('…', RawBLOB)" if scheme == "file" else "url('…', RawBLOB)")
        return ValueRefused(f"an address, not the content of an image: use SELECT raw_blob FROM {source}")
    if _BASE64.match(text):
        return ValueRefused("an image in base64, not its content: use base64Decode('…')")
    if _HEXADECIMAL.match(text):
        return ValueRefused("an image in hexadecimal digits, not its content: use unhex('…')")
    if len(content) <= _LONGEST and _PATH.fullmatch(text):
        return ValueRefused("a path, not the content of an image: use the function without _bytes")
    return None
