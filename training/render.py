"""Renders SVG icons as pixels, unchanged or in other styles."""

import io
import re
from collections.abc import Callable

import numpy as np
import resvg_py
from PIL import Image

SHAPES = "path,circle,ellipse,rect,polygon,polyline"


def outlined(width: float) -> str:
    """CSS: a dark outline around every shape, colours kept; `width` in the icon's own units."""
    return f"{SHAPES}{{stroke:#111;stroke-width:{width:.3f};stroke-linejoin:round;stroke-linecap:round}}"


def drawn(width: float) -> str:
    """CSS: line art; every shape white with a black outline, so that nearer shapes hide further ones."""
    return f"{outlined(width)} {SHAPES}{{fill:#fff;stroke:#000;fill-opacity:1}}"


def plain(width: float) -> str:
    """CSS: the original drawing."""
    del width
    return ""


MANNERS: dict[str, Callable[[float], str]] = {"plain": plain, "outlined": outlined, "drawn": drawn}


def svg_of(icon: dict, defaults: dict) -> tuple[str, float]:
    """A whole SVG document for one iconify icon, and its width in its own units."""
    left, top = icon.get("left", 0), icon.get("top", 0)
    width = icon.get("width", defaults.get("width", 16))
    height = icon.get("height", defaults.get("height", 16))
    body = icon["body"].replace("currentColor", "#111111")
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {head} viewBox="{left} {top} {width} {height}">{body}</svg>', float(max(width, height))


def render(svg: str, size: int, style_sheet: str = "") -> np.ndarray:
    """Pixels of an SVG: uint8 RGBA of shape (size, size, 4), centred, straight alpha."""
    viewbox = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)
    wide = viewbox is not None and float(viewbox[1]) >= float(viewbox[2])
    fit = {"width": size} if wide else {"height": size}
    if style_sheet:
        # A style sheet outranks attributes, but not style="…".
        svg = re.sub(r' style="[^"]*"', "", svg)
    png = resvg_py.svg_to_bytes(svg_string=svg, style_sheet=style_sheet or None, skip_system_fonts=True, **fit)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(canvas)


def premultiplied(pixels: np.ndarray) -> np.ndarray:
    """Straight to premultiplied alpha; uint8 (size, size, 4) both."""
    scaled = pixels[..., :3].astype(np.uint16) * pixels[..., 3:] + 127
    return np.concatenate([(scaled // 255).astype(np.uint8), pixels[..., 3:]], -1)


def redraw(icon: dict, defaults: dict, manner: str, size: int, stroke: float = 0.028) -> np.ndarray:
    """One icon in one style: uint8 RGBA (size, size, 4); `stroke` is a share of the icon's width."""
    svg, width = svg_of(icon, defaults)
    return render(svg, size, MANNERS[manner](stroke * width))
