"""The material to encode: captions as long as LAION's, and JPEGs with the structure and sizes of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# Width and height; a LAION image is rarely above two megapixels.
SIZES = ((640, 480), (480, 640), (800, 533), (1024, 768), (768, 1024), (1200, 800), (1280, 960), (1600, 1067))
_SCENES = 6
_CANVAS = (2048, 1536)

_SUBJECTS = (
    "dog cat horse lighthouse bridge street market kitchen mountain lake forest beach bicycle tractor train "
    "wedding portrait guitar cake coffee sofa lamp dress jacket sneakers watch necklace poster map garden rose tulip "
    "owl butterfly castle church skyline sunset harbour airplane truck motorcycle laptop phone keyboard bottle"
)
_QUALITIES = (
    "old red vintage black wooden small modern handmade stylish blue beautiful rustic golden floral abstract "
    "white large antique colourful leather snowy elegant green outdoor digital classic framed cosy rainy famous"
)
_PLACES = """in the morning|near the old town|with white background|at night|for sale|on a table|stock photo|by the sea
|from above|in Amsterdam|isolated|with free shipping|2014 edition|- Page 3|in black and white|high resolution
|vector illustration|in the park|for the living room|with natural light""".replace("\n", "").split("|")


def captions(count: int, seed: int = 1) -> list[str]:
    """Different captions; their lengths follow LAION's: mostly 5-15 words, a long tail to several dozen.

    Returns:
        ``count`` texts, the same for the same seed.
    """
    random = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        length = int(np.clip(random.lognormal(2.2, 0.55), 3, 60))
        words: list[str] = []
        while len(words) < length:
            words += [str(random.choice(_QUALITIES.split())), str(random.choice(_SUBJECTS.split()))]
            if random.random() < 0.4:
                words += str(random.choice(_PLACES)).split()
        text = " ".join(words[:length])
        found[text.capitalize() + (f" {random.integers(1, 3000)}" if random.random() < 0.3 else "")] = None
    return list(found)


def pictures(directory: Path, count: int, seed: int = 2) -> list[Path]:
    """JPEGs of several photo sizes: skies, hills and textured objects with the spectrum of natural images.

    Existing files are kept.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{number:04d}.jpg" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    random = np.random.default_rng(seed)
    scenes = [scene(random) for _ in range(min(_SCENES, count))]
    for number, path in enumerate(paths):
        width, height = SIZES[number % len(SIZES)]
        part = random.uniform(0.5, 1.0) * min(_CANVAS[0] / width, _CANVAS[1] / height)
        across, down = int(width * part), int(height * part)
        left, top = random.integers(0, _CANVAS[0] - across + 1), random.integers(0, _CANVAS[1] - down + 1)
        whole = scenes[int(random.integers(len(scenes)))]
        picture = whole.resize(
            (width, height), Image.Resampling.BICUBIC, (int(left), int(top), int(left) + across, int(top) + down)
        )
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture.save(path, "JPEG", quality=int(random.integers(80, 95)))
    return paths


def scene(random: np.random.Generator) -> Image.Image:
    """A picture of :data:`_CANVAS` with sky, hills and things."""
    width, height = _CANVAS
    sky = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    upper, lower = random.uniform(0.3, 1.0, (2, 3)).astype(np.float32)
    pixels = upper * (1 - sky) + lower * sky + 0.12 * _clouds(random, 1.8)[..., None]
    for layer in range(3):
        ridge = height * (0.35 + 0.2 * layer) + 90 * _clouds(random, 2.2)[0] * (layer + 1)
        below = np.arange(height)[:, None] > ridge[None, :]
        tint = random.uniform(0.1, 0.8, 3).astype(np.float32)
        ground = tint + 0.16 * _clouds(random, 1.2)[..., None]
        pixels = np.where(below[..., None], ground, pixels)
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = int(random.integers(width)), int(random.integers(height // 3, height))
        size = int(random.integers(40, 320))
        colour = tuple(int(level) for level in random.integers(20, 235, 3))
        if random.random() < 0.5:
            draw.ellipse((x, y, x + size, y + size * 0.8), fill=colour, outline=(15, 15, 15), width=4)
        else:
            draw.polygon([(x, y), (x + size, y + size // 5), (x + size // 2, y + size)], fill=colour)
    soft = image.filter(ImageFilter.GaussianBlur(1.2))
    grain = (random.standard_normal((height, width, 1)) * 3).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(soft, np.float32) + grain, 0, 255).astype(np.uint8))


def _clouds(random: np.random.Generator, steepness: float) -> NDArray[np.float32]:
    """Smooth noise whose amplitude falls with frequency as it does in photographs: mean 0, deviation 1."""
    width, height = _CANVAS
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    phase = np.exp(2j * np.pi * random.random(frequency.shape))
    field = np.fft.irfft2(phase * frequency**-steepness, (height, width))
    return ((field - field.mean()) / field.std()).astype(np.float32)
