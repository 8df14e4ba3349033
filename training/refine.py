"""Second phase, text only: `python -m training.refine` tunes the text tower to the frozen image tower.

It runs twice from the same weights, and the two text towers are averaged: one pass draws captions by concept, so that
    words shared by many emoji come up more often; the other draws every text equally often, so that rare words are
    learned too.
"""

import copy
import logging
import os
from collections.abc import Callable
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
CHINESE = 0.55


def captions_by_concept(trainer: Trainer) -> np.ndarray:
    """Caption numbers (BATCH,): concepts equally often."""
    concepts = trainer.numbers.integers(0, len(trainer.concepts), BATCH)
    return trainer.captions.sample(concepts, trainer.numbers, CHINESE)


def captions_evenly(trainer: Trainer) -> np.ndarray:
    """Caption numbers (BATCH,): texts equally often."""
    return trainer.captions.sample_evenly(BATCH, trainer.numbers, CHINESE)


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


def text_parameters(model: TrainableClip) -> list[nn.Parameter]:
    """Everything but the image tower."""
    return [parameter for name, parameter in model.named_parameters() if not name.startswith("clip.visual")]


def tune_text(
    trainer: Trainer,
    model: TrainableClip,
    bank: Tensor,
    draw: Callable[[Trainer], np.ndarray],
    steps: int,
    rate: float,
) -> None:
    """Train the text tower in place: captions must find the concepts that they name in random galleries."""
    parameters = text_parameters(model)
    nn.ParameterList(parameters).requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    smooth = 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (1 - step / steps)
        rows, targets = trainer.caption_batch(draw(trainer))
        gallery = gallery_of(bank, trainer.dice.generator)
        loss = soft_cross_entropy(SCALE * model.encode_text(rows) @ gallery.T, targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        if step % 100 == 0:
            log.info("text step %d loss %.3f", step, smooth)


def refine(trainer: Trainer, model: TrainableClip, steps: int, rate: float, rounds: int) -> TrainableClip:
    """A copy of `model` whose text tower is the mean of both passes."""
    model.requires_grad_(False)
    passes = []
    for draw in (captions_by_concept, captions_evenly):
        tuned = copy.deepcopy(model)
        tune_text(trainer, tuned, picture_bank(trainer, model, rounds), draw, steps, rate)
        passes.append(tuned.requires_grad_(False))
    mean, other = passes
    for mine, its in zip(text_parameters(mean), text_parameters(other), strict=True):
        mine.lerp_(its, 0.5)
    return mean


@click.command()
@click.option("--steps", default=1600, show_default=True, help="Steps of each of the two passes.")
@click.option("--rate", default=5e-4, show_default=True)
@click.option("--rounds", default=8, show_default=True, help="Augmented pictures per concept in the frozen bank.")
@click.option("--seed", default=0, show_default=True, help="As in the training: the captions depend on it.")
@click.option("--threads", default=os.cpu_count(), show_default="all cores")
@click.option("--data", type=click.Path(path_type=Path), default=paths.DATA)
@click.option("--run", type=click.Path(path_type=Path), default=paths.RUNS / "main", help="The run's state.")
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
    trainer.begin_text_phase(model)
    refined = refine(trainer, model, steps, rate, rounds)
    report(trainer, refined, validation)
    save_shipped(refined, trainer.vocabulary, output)


if __name__ == "__main__":
    main()
