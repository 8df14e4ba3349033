"""The effect of --exif-orientation: sideways photographs are found again."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

import clip_installer.demo
from clip_installer import resources
from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import WorkerSettings
from tests.pipelines import pipeline_of

PICTURES = 60
# How a camera that was held so stores the picture: what undoes each orientation.
_STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def demo_pictures() -> list[Image.Image]:
    with zipfile.ZipFile(Path(clip_installer.demo.__file__).parent / "pictures.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("openmoji/") and name.endswith(".png"))
        chosen = names[:: len(names) // PICTURES][:PICTURES]
        return [Image.open(BytesIO(archive.read(name))).convert("RGB") for name in chosen]


def stored(image: Image.Image, orientation: int | None) -> bytes:
    """The file of a camera that was held in ``orientation``; None is upright and says nothing."""
    written, exif = BytesIO(), Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
        image = image.transpose(_STORED[orientation])
    image.save(written, "PNG", exif=exif)
    return written.getvalue()


def encoded(contents: list[bytes], *, turned: bool) -> np.ndarray:
    settings = WorkerSettings(resources.builtin_models() / "emoji", exif_orientation=turned, threads=1)
    pipeline = pipeline_of(FUNCTIONS["encode_image_bytes"], settings)
    return np.concatenate([part.matrix for part in pipeline.encode(iter(contents))])


def recall(turned: bool) -> float:
    """Share of the turned pictures whose nearest neighbour among the upright ones is the same picture."""
    images = demo_pictures()
    upright = encoded([stored(image, None) for image in images], turned=turned)
    held = [(3, 6, 8)[number % 3] for number in range(len(images))]
    sideways = encoded([stored(image, one) for image, one in zip(images, held, strict=True)], turned=turned)
    return float(np.mean((sideways @ upright.T).argmax(axis=1) == np.arange(len(images))))


def test_turned_pictures_are_found_again_only_where_orientation_is_heeded() -> None:
    """docs/pictures.md has the figures."""
    assert recall(turned=True) == 1.0
    assert recall(turned=False) < 0.9


if __name__ == "__main__":
    print(f"recall@1 with orientation {recall(True):.2f}, without {recall(False):.2f}")  # noqa: T201
