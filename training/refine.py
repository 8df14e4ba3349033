"""Second phase, text only: `python -m training.refine` tunes the text tower to the frozen image tower."""

import copy
import logging
import os
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from training import paths
from training.losses import soft_cross_entropy
from training.model import TrainableClip, normalised, save_shipped
from training.train import Recipe, Trainer, report

log = logging.getLogger(__name__)
SCALE = 30.0
BATCH = 256


@torch.no_grad()
def picture_bank(trainer: Trainer, model: TrainableClip, rounds: int) -> Tensor:
    """Unit vectors of augmented pictures, one per concept and round: float32 (rounds, concepts, dim)."""
    bank = []
    for _ in range(rounds):
        rows = trainer.pictures.one_each(trainer.numbers)
        parts = [
            model.encode_image(normalised(trainer.pictures.augmented(part, trainer.dice)))
            for part in np.array_split(rows, max(1, len(rows) // BATCH))
        ]
        bank.append(torch.cat(parts))
    return torch.stack(bank)


def gallery_of(bank: Tensor, generator: torch.Generator) -> Tensor:
    """A gallery with one random picture of every concept: (concepts, dim)."""
    rounds, concepts, _ = bank.shape
    return bank[torch.randint(rounds, (concepts,), generator=generator), torch.arange(concepts)]


def text_step(
    trainer: Trainer, model: TrainableClip, bank: Tensor, optimiser: torch.optim.Optimizer
) -> float:
    """One update: captions of random concepts must find them in a random gallery."""
    concepts = trainer.numbers.integers(0, len(trainer.concepts), BATCH)
    rows, targets = trainer.caption_batch(concepts)
    gallery = gallery_of(bank, trainer.dice.generator)
    loss = soft_cross_entropy(SCALE * model.encode_text(rows) @ gallery.T, targets)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.item()


def refine(trainer: Trainer, model: TrainableClip, steps: int, rate: float, rounds: int) -> None:
    """Train the text tower of `model` in place; the learning rate falls linearly to nothing."""
    model.requires_grad_(False)
    bank = picture_bank(trainer, model, rounds)
    log.info("picture bank: %s", tuple(bank.shape))
    text = [parameter for name, parameter in model.named_parameters() if not name.startswith("clip.visual")]
    nn.ParameterList(text).requires_grad_(True)
    optimiser = torch.optim.AdamW(text, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    smooth = 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (1 - step / steps)
        loss = text_step(trainer, model, bank, optimiser)
        smooth = loss if step == 0 else 0.98 * smooth + 0.02 * loss
        if step % 100 == 0:
            log.info("text step %d loss %.3f", step, smooth)


@click.command()
@click.option("--steps", default=1500, show_default=True)
@click.option("--rate", default=5e-4, show_default=True)
@click.option(
    "--rounds", default=12, show_default=True, help="Augmented pictures per concept in the frozen bank."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--threads", default=os.cpu_count(), show_default="all cores")
@click.option("--data", type=click.Path(path_type=Path), default=paths.DATA)
@click.option(
    "--run", type=click.Path(path_type=Path), default=paths.RUNS / "main", help="Folder of the run's state."
)
@click.option("--output", type=click.Path(path_type=Path), default=paths.CHECKPOINT)
@click.option("--validation", default="fxemoji", show_default=True)
def main(
    steps: int,
    rate: float,
    rounds: int,
    seed: int,
    threads: int,
    data: Path,
    run: Path,
    output: Path,
    validation: str,
) -> None:
    """Tune the text tower of a finished run and write the shipped checkpoint."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    trainer = Trainer(Recipe(steps=1), data, seed)
    trainer.load(run / "state.pt")
    model = copy.deepcopy(trainer.finished_average(batches=24))
    report(trainer, model, validation)
    refine(trainer, model, steps, rate, rounds)
    report(trainer, model, validation)
    save_shipped(model, trainer.vocabulary, output)


if __name__ == "__main__":
    main()
