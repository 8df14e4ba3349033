"""Limits on what a JPEG 2000 header declares, checked before a decoder allocates it.

A file of two hundred bytes can declare millions of precincts and code-blocks, for each of which OpenJPEG keeps about
150 bytes. Source: ISO/IEC 15444-1, annexes A and B.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from clip_udfs.errors import ValueRefused

_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ
_SOT, _SOD, _EOC, _COD, _COC = 0xFF90, 0xFF93, 0xFFD9, 0xFF52, 0xFF53
_SIZE = struct.Struct(">HHIIIIIIIIH")
_MAX_COMPONENTS = 4
_MAX_TILES = 4096
_MAX_LAYERS = 256
_MAX_LEVELS = 32
# Precincts and code-blocks of a tile: usually a thousandth of its pixels; small images have some in any case.
_MIN_PARTS, _PIXELS_OF_PART = 65_536, 128


@dataclass(frozen=True)
class _Size:
    width: int
    height: int
    components: int


def check_jpeg2000(content: bytes) -> None:
    """Refuse a file that declares more structure than its pixels need.

    Raises:
        ValueRefused: It does; the message names what there is too much of.
    """
    place = content.find(_CODESTREAM)
    if place < 0:
        raise ValueRefused("damaged image: its decoder cannot read it")
    while place >= 0:  # a decoy before the real one must not hide it
        try:
            _check_codestream(content, place)
        except (struct.error, IndexError) as error:
            raise ValueRefused("damaged image: it ends too early") from error
        place = content.find(_CODESTREAM, place + 1)


def _check_codestream(content: bytes, start: int) -> None:
    tile, place = _tile(content, start + 4)
    in_header = True
    while place + 4 <= len(content):
        marker, length = struct.unpack_from(">HH", content, place)
        if marker == _EOC:
            return
        if marker == _SOT:
            begin, in_header = place, False
            (part,) = struct.unpack_from(">I", content, place + 6)
        elif marker == _COD:
            _check_style(content[place + 4 : place + 2 + length], tile)
        elif marker == _COC:
            _check_coding(content[place + 6 : place + 2 + length], tile, precincts=content[place + 5] & 1)
        elif marker == _SOD:
            if in_header or not part:
                return  # the last tile reaches to the end
            place = begin + max(part, 14)
            continue
        elif marker < 0xFF00:
            return
        place += 2 + max(length, 2)


def _tile(content: bytes, place: int) -> tuple[_Size, int]:
    """Width and height of the largest tile and the number of components; and where the next segment begins."""
    length, _, width, height, left, top, across, down, tile_left, tile_top, components = _SIZE.unpack_from(
        content, place
    )
    if not 1 <= components <= _MAX_COMPONENTS:
        raise ValueRefused(f"the image has {components} components, at most {_MAX_COMPONENTS} are decoded")
    if not across or not down or width <= left or height <= top:
        raise ValueRefused("damaged image: its decoder cannot read it")
    tiles = -(-(width - tile_left) // across) * -(-(height - tile_top) // down)
    if tiles > _MAX_TILES:
        raise ValueRefused(f"the image has {tiles} tiles, at most {_MAX_TILES} are decoded")
    return _Size(min(across, width - left), min(down, height - top), components), place + length


def _check_style(body: bytes, tile: _Size) -> None:
    (layers,) = struct.unpack_from(">H", body, 2)
    if layers > _MAX_LAYERS:
        raise ValueRefused(f"the image has {layers} quality layers, at most {_MAX_LAYERS} are decoded")
    _check_coding(body[5:], tile, precincts=body[0] & 1)


def _check_coding(body: bytes, tile: _Size, *, precincts: int) -> None:
    levels, across, down = body[0], (body[1] & 15) + 2, (body[2] & 15) + 2
    if levels > _MAX_LEVELS:
        raise ValueRefused("damaged image: its decoder cannot read it")
    parts = 0
    for level in range(levels + 1):
        exponents = body[5 + level] if precincts else 0xFF
        shift = levels - level
        width, height = (tile.width >> shift) + 1, (tile.height >> shift) + 1
        precinct_width, precinct_height = exponents & 15, exponents >> 4
        halved = 1 if level else 0  # a precinct is divided among bands of half the resolution
        block_width = min(across, max(precinct_width - halved, 0))
        block_height = min(down, max(precinct_height - halved, 0))
        parts += ((width >> precinct_width) + 1) * ((height >> precinct_height) + 1)
        parts += ((width >> block_width) + 1) * ((height >> block_height) + 1)
    parts *= tile.components
    if parts > max(_MIN_PARTS, tile.width * tile.height * tile.components // _PIXELS_OF_PART):
        raise ValueRefused(
            f"the image has {parts} precincts and code-blocks in a tile of {tile.width} x {tile.height} pixels, "
            "more than are decoded: save it with larger ones"
        )
