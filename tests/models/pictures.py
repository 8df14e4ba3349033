"""Pictures of every mode and many shapes, drawn here, as encoded files."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

SIZES = ((96, 72), (72, 96), (64, 64), (300, 200), (31, 17), (500, 60), (7, 200), (1, 1))


def drawing(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with smooth parts, edges and texture, so that any slip in resampling shows."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width]
    channels = [across * 255 / max(width - 1, 1), down * 255 / max(height - 1, 1), (across * down) % 256]
    image = Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.integers(0, width), random.integers(0, height)
        pen.ellipse((x, y, x + width // 3, y + height // 4), fill=tuple(random.integers(0, 256, 3).tolist()))
    noise = random.integers(-20, 20, (height, width, 3))
    return Image.fromarray((np.asarray(image).astype(int) + noise).clip(0, 255).astype(np.uint8))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def corpus() -> dict[str, bytes]:
    """Named files: modes x sizes, each decodable by Pillow."""
    files: dict[str, bytes] = {}
    for number, (width, height) in enumerate(SIZES):
        size = f"{width}x{height}"
        rgb = drawing(width, height, number)
        alpha = rgb.copy()
        alpha.putalpha(rgb.convert("L").rotate(90, expand=False))
        palette = rgb.quantize(50)
        files[f"rgb-{size}.png"] = _encoded(rgb, "PNG")
        files[f"rgb-{size}.jpg"] = _encoded(rgb, "JPEG", quality=90)
        files[f"rgba-{size}.png"] = _encoded(alpha, "PNG")
        files[f"la-{size}.png"] = _encoded(alpha.convert("LA"), "PNG")
        files[f"l-{size}.png"] = _encoded(rgb.convert("L"), "PNG")
        files[f"l-{size}.jpg"] = _encoded(rgb.convert("L"), "JPEG")
        files[f"p-{size}.png"] = _encoded(palette, "PNG")
        files[f"p-transparent-{size}.png"] = _encoded(palette, "PNG", transparency=3)
        files[f"1-{size}.png"] = _encoded(rgb.convert("1"), "PNG")
        files[f"cmyk-{size}.jpg"] = _encoded(rgb.convert("CMYK"), "JPEG")
        deep = (np.asarray(rgb.convert("L")).astype(np.uint16) << 8) + 77
        files[f"i16-{size}.png"] = _encoded(Image.fromarray(deep), "PNG")
        files[f"rgba-{size}.webp"] = _encoded(alpha, "WEBP", lossless=True)
        files[f"animated-{size}.gif"] = _encoded(
            palette,
            "GIF",
            save_all=True,
            append_images=[drawing(width, height, 99).quantize(20)],
            duration=50,
        )
        files[f"rgb-{size}.bmp"] = _encoded(rgb, "BMP")
        files[f"rgb-{size}.tiff"] = _encoded(rgb, "TIFF")
    return files
