"""Fetch the picture sets from npm and render them: `python -m training.fetch`."""

import json
import logging
import random
import subprocess
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import click
import numpy as np
from PIL import Image

from training import paths
from training.concepts import Concept, NameIndex, read_concepts, write_concepts
from training.render import MANNERS, premultiplied, redraw
from training.sources import EMOJIBASE, EMOJILIB, SOURCES, Role, Source

log = logging.getLogger(__name__)
RENDER_SIZE = 96
GALLERY_SIZE = 112
GALLERY_COLOURS = 64
GALLERY_STYLES = ("fxemoji", "openmoji", "fluent-emoji-flat")


def install_packages() -> Path:
    """Install the pinned npm packages below the cache; return their `node_modules`."""
    paths.NPM.mkdir(parents=True, exist_ok=True)
    (paths.NPM / "package.json").write_text("{}")
    wanted = [f"{source.package}@{source.version}" for source in SOURCES] + ["@".join(EMOJIBASE), "@".join(EMOJILIB)]
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *wanted]
    subprocess.run(command, cwd=paths.NPM, check=True)
    return paths.NPM / "node_modules"


def icons_of(source: Source, modules: Path, index: NameIndex) -> dict[str, tuple[int, dict, dict]]:
    """By icon name: concept number, the icon and the set's defaults."""
    folder = modules / source.package
    icon_set = json.loads((folder / "icons.json").read_text())
    chars = folder / "chars.json"
    matched = index.match(
        list(icon_set["icons"]), json.loads(chars.read_text()) if chars.exists() else {}, source.names
    )
    icons = icon_set["icons"] | {
        name: icon_set["icons"][alias["parent"]] | alias
        for name, alias in icon_set.get("aliases", {}).items()
        if alias["parent"] in icon_set["icons"]
    }
    return {name: (concept, icons[name], icon_set) for name, concept in matched.items() if name in icons}


def manners_of(source: Source, modules: Path, concept: Concept) -> tuple[str, ...]:
    """The variants in which an icon is drawn: flags unchanged, monochrome sets without a second outline."""
    if concept.subgroup.endswith("-flag") or concept.subgroup == "flag":
        return ("plain",)
    info = json.loads((modules / source.package / "info.json").read_text())
    return ("plain", "outlined", "drawn") if info.get("palette") else ("plain", "drawn")


def drawing(job: tuple[dict, dict, str, float]) -> np.ndarray | None:
    """One job of the pool; None if the renderer refuses the icon."""
    icon, defaults, manner, stroke = job
    try:
        return premultiplied(redraw(icon, defaults, manner, RENDER_SIZE, stroke))
    except ValueError:
        return None


def training_jobs(
    modules: Path, index: NameIndex, concepts: list[Concept]
) -> Iterator[tuple[int, int, int, tuple[dict, dict, str, float]]]:
    """Style, concept, manner (numbers) and rendering job of every training picture, in a fixed order."""
    dice = random.Random(0)
    for style, source in enumerate(SOURCES):
        if source.role is not Role.TRAIN:
            continue
        for _, (concept, icon, icon_set) in sorted(icons_of(source, modules, index).items()):
            defaults = {key: icon_set[key] for key in ("width", "height") if key in icon_set}
            for manner in manners_of(source, modules, concepts[concept]):
                number = list(MANNERS).index(manner)
                yield style, concept, number, (icon, defaults, manner, dice.uniform(0.016, 0.038))


def render_training(modules: Path, index: NameIndex, concepts: list[Concept], folder: Path) -> None:
    """Write `pictures.npy` (uint8 premultiplied RGBA, N x 96 x 96 x 4) and what each row is."""
    styles, numbers, manners, jobs = zip(*training_jobs(modules, index, concepts), strict=True)
    pictures = np.lib.format.open_memmap(
        folder / "pictures.npy", "w+", np.uint8, (len(jobs), RENDER_SIZE, RENDER_SIZE, 4)
    )
    done = np.zeros(len(jobs), bool)
    with Pool() as pool:
        for row, picture in enumerate(pool.imap(drawing, jobs, chunksize=64)):
            if picture is not None and picture[..., 3].max() > 0:
                pictures[row], done[row] = picture, True
            if row % 5000 == 0:
                log.info("rendered %d of %d", row, len(jobs))
    log.info("%d icons could not be drawn", int((~done).sum()))
    np.savez(
        folder / "pictures.npz",
        style=np.array(styles, np.int16),
        concept=np.array(numbers, np.int16),
        manner=np.array(manners, np.int8),
        usable=done,
    )


def gallery_picture(icon: dict, icon_set: dict) -> Image.Image:
    """A picture as it is shipped: flattened on white, palette of 64 colours."""
    pixels = Image.fromarray(redraw(icon, icon_set, "plain", GALLERY_SIZE))
    white = Image.new("RGBA", pixels.size, "white")
    white.alpha_composite(pixels)
    return white.convert("RGB").quantize(GALLERY_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def chosen_icons(source: Source, modules: Path, index: NameIndex) -> dict[int, tuple[dict, dict]]:
    """One icon and its set's defaults per concept number, in the order of the concepts."""
    chosen: dict[int, tuple[dict, dict]] = {}
    for _, (concept, icon, icon_set) in sorted(icons_of(source, modules, index).items()):
        chosen.setdefault(concept, (icon, icon_set))
    return dict(sorted(chosen.items()))


def render_gallery(source: Source, modules: Path, index: NameIndex, folder: Path) -> None:
    """Write `gallery-STYLE.npz`: one uint8 RGB picture per concept and the concept numbers."""
    icons = chosen_icons(source, modules, index)
    pictures = np.stack([np.asarray(gallery_picture(*icon).convert("RGB")) for icon in icons.values()])
    path = folder / f"gallery-{source.style}.npz"
    np.savez_compressed(path, pictures=pictures, concept=np.array(list(icons), np.int16))
    log.info("%s: gallery of %d", source.style, len(icons))


@click.command()
def main() -> None:
    """Fetch everything and write it below `training/cache`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    modules = install_packages()
    paths.DATA.mkdir(parents=True, exist_ok=True)
    concepts = read_concepts(modules / EMOJIBASE[0], modules / EMOJILIB[0])
    write_concepts(concepts, paths.DATA / "concepts.json")
    index = NameIndex(concepts, modules / EMOJIBASE[0])
    by_style = {source.style: source for source in SOURCES}
    with Pool() as pool:
        build = partial(render_gallery, modules=modules, index=index, folder=paths.DATA)
        pool.map(build, [by_style[style] for style in GALLERY_STYLES], chunksize=1)
    render_training(modules, index, concepts, paths.DATA)


if __name__ == "__main__":
    main()
