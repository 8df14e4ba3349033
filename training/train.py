"""Train the model: `python -m training.train`; started again, it resumes from its last checkpoint."""

import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from training import paths
from training.augment import Dice
from training.captions import Captions, build_captions
from training.data import load_pictures
from training.evaluation import evaluate
from training.kinship import kinship
from training.losses import multi_positive, to_concepts
from training.model import (
    Average,
    MixStyle,
    TrainableClip,
    Vocabulary,
    normalised,
    refresh_batch_norm,
    save_shipped,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the result, besides the data and the seed."""

    steps: int
    batch: int = 128
    captioned: int = 32
    chinese: float = 0.5
    unknown: float = 0.04
    image_rate: float = 1.5e-3
    text_rate: float = 5e-4
    weight_decay: float = 0.05
    warm_up: int = 300
    decay: float = 0.35
    average: float = 0.998
    kin: float = 0.25

    def rate(self, step: int) -> float:
        """Factor of the learning rates: warm-up, plateau, then linearly to nothing over the last `decay`."""
        return min(1.0, (step + 1) / self.warm_up, (self.steps - step) / (self.decay * self.steps))


class Trainer:
    """One run: model, averaged model, optimiser and random numbers."""

    def __init__(self, recipe: Recipe, data: Path, seed: int, rank: int = 0) -> None:
        """Everything fresh; workers of other ranks start from the same weights and draw other batches."""
        torch.manual_seed(seed)
        self.recipe = recipe
        self.data = data
        self.pictures, self.concepts = load_pictures(data)
        self._learn(build_captions(self.concepts, seed))
        own = torch.eye(len(self.concepts))
        self.depicted = torch.lerp(own, torch.from_numpy(kinship(self.concepts)), recipe.kin)
        self.model = TrainableClip(self.vocabulary)
        visual = self.model.clip.visual
        for stage in (visual.avgpool, visual.layer1, visual.layer2):
            stage.register_forward_hook(MixStyle())
        self.concept_vectors = nn.Parameter(torch.randn(len(self.concepts), self.model.clip.text_projection.shape[1]))
        self.average = Average(self.model, recipe.average)
        self.optimiser = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), fused=True)
        self.seed = (seed, rank)
        self.step = 0
        self._reseed()

    def _learn(self, captions: Captions) -> None:
        """Draw these captions from now on."""
        self.captions = captions
        self.vocabulary = Vocabulary(captions.tokens)
        self.rows = torch.from_numpy(self.vocabulary.rows(captions.tokens))

    def begin_text_phase(self, model: TrainableClip) -> None:
        """Draw the captions of the text phase from now on, and give `model` rows for their words."""
        before = self.vocabulary
        self._learn(build_captions(self.concepts, self.seed[0], text_phase=True))
        model.extend(before, self.vocabulary)

    def _reseed(self) -> None:
        """Random numbers that depend on the seed, the worker and the step at which it starts or goes on."""
        self.numbers = np.random.default_rng((*self.seed, self.step))
        self.dice = Dice(torch.Generator().manual_seed(int(self.numbers.integers(2**62))))
        torch.manual_seed(int(self.numbers.integers(2**62)))

    def _groups(self) -> list[dict]:
        towers = {True: self.recipe.image_rate, False: self.recipe.text_rate}
        groups = [{"params": [self.concept_vectors], "base": self.recipe.image_rate, "weight_decay": 0.0}]
        for visual, rate in towers.items():
            for matrix in (True, False):
                params = [
                    parameter
                    for name, parameter in self.model.named_parameters()
                    if name.startswith("clip.visual") == visual and (parameter.ndim > 1) == matrix
                ]
                decay = self.recipe.weight_decay if matrix else 0.0
                groups.append({"params": params, "base": rate, "weight_decay": decay})
        return groups

    def caption_batch(self, captions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows of captions, some words made unknown, and their targets (captions, concepts)."""
        rows = self.rows[captions]
        words = (rows != 0) & (rows != rows.max()) & (torch.arange(rows.shape[1]) > 0)
        rows = rows.masked_fill(words & (self.dice.uniform(0, 1, *rows.shape) < self.recipe.unknown), 0)
        return rows, torch.from_numpy(self.captions.target_matrix(captions, len(self.concepts)))

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures in 0..1 and their concepts; caption rows and targets for the first `captioned` of them."""
        drawn = self.pictures.draw(self.recipe.batch, self.numbers)
        concepts = self.pictures.concept[drawn]
        captioned = concepts[: self.recipe.captioned]
        captions = self.captions.sample(captioned, self.numbers, self.recipe.chinese)
        rows, targets = self.caption_batch(captions)
        return self.pictures.augmented(drawn, self.dice), torch.from_numpy(concepts), rows, targets

    def train_step(self) -> list[float]:
        """One update; return the three losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * self.recipe.rate(self.step)
        pictures, concepts, rows, targets = self.batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images, texts = self.model.encode_image(normalised(pictures)), self.model.encode_text(rows)
        scale = self.model.clip.logit_scale.exp().clamp(max=50)
        losses = [
            to_concepts(images, self.concept_vectors, self.depicted[concepts]),
            to_concepts(texts, self.concept_vectors, targets),
            multi_positive(images[: len(texts)], texts, targets, concepts[: len(texts)], scale),
        ]
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses).backward()
        if dist.is_initialized():
            average_gradients([p for group in self.optimiser.param_groups for p in group["params"]])
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.step()
        self.average.update(self.model)
        self.step += 1
        return [loss.item() for loss in losses]

    def finished_average(self, batches: int) -> TrainableClip:
        """The averaged model, in evaluation mode, batch normalisation recomputed."""
        model = self.average.model.eval()
        refresh_batch_norm(model, lambda: self.batch()[0], batches)
        return model

    def save(self, path: Path) -> None:
        """Save everything needed to resume, atomically."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "updates": self.average.updates,
            "concept_vectors": self.concept_vectors.data,
            "optimiser": self.optimiser.state_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)

    def load(self, path: Path) -> None:
        """Resume from what `save` wrote."""
        state = torch.load(path, weights_only=False)
        self.step, self.average.updates = state["step"], state["updates"]
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.concept_vectors.data.copy_(state["concept_vectors"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._reseed()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace every worker's gradients by their mean over the workers."""
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    start = 0
    for parameter in parameters:
        parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()


def report(trainer: Trainer, model: TrainableClip, style: str) -> None:
    """Log the figures of a style."""
    gallery = trainer.data / f"gallery-{style}.npz"
    for lang, found in evaluate(model, trainer.vocabulary, gallery, trainer.concepts).items():
        shares = " ".join(f"{name}={100 * value:.1f}" for name, value in vars(found).items())
        log.info("step %d %s %s %s", trainer.step, style, lang, shares)


def run_steps(trainer: Trainer, run: Path, output: Path, every: int, style: str) -> None:
    """Train to the last step, with figures of the validation style and a file for use every `every` steps."""
    started, first = time.monotonic(), trainer.step
    smooth = np.zeros(3)
    while trainer.step < trainer.recipe.steps:
        losses = np.array(trainer.train_step())
        smooth = losses if not smooth.any() else 0.98 * smooth + 0.02 * losses
        if trainer.seed[1] == 0 and trainer.step % 50 == 0:
            pace = (time.monotonic() - started) / (trainer.step - first)
            log.info("step %d losses %s, %.2f s a step", trainer.step, np.round(smooth, 3), pace)
        last = trainer.step == trainer.recipe.steps
        if trainer.seed[1] == 0 and (last or trainer.step % every == 0):
            trainer.save(run / "state.pt")
            model = trainer.finished_average(batches=8)
            save_shipped(model, trainer.vocabulary, output)
            report(trainer, model, style)


@dataclass(frozen=True)
class Job:
    """A run, as given on the command line."""

    steps: int
    every: int
    batch: int
    seed: int
    workers: int
    data: Path
    run: Path
    output: Path
    validation: str


def work(rank: int, job: Job) -> None:
    """One of `job.workers` processes, each with its share of the batch and one thread."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    if job.workers > 1:
        meeting = f"file://{job.run.resolve()}/meeting-{os.getppid()}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=job.workers)
    share = job.batch // job.workers
    trainer = Trainer(Recipe(job.steps, batch=share, captioned=share // 4), job.data, job.seed, rank)
    if (job.run / "state.pt").exists():
        trainer.load(job.run / "state.pt")
        log.info("going on at step %d", trainer.step)
    run_steps(trainer, job.run, job.output, job.every, job.validation)
    if job.workers > 1:
        dist.barrier()
        dist.destroy_process_group()


@click.command()
@click.option("--steps", default=15000, show_default=True)
@click.option("--every", default=500, show_default=True, help="Steps between checkpoints with figures.")
@click.option("--batch", default=128, show_default=True, help="Pictures a step, over all workers.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Processes of one thread each.")
@click.option("--data", type=click.Path(path_type=Path), default=paths.DATA)
@click.option("--run", type=click.Path(path_type=Path), default=paths.RUNS / "main", help="The run's state.")
@click.option("--output", type=click.Path(path_type=Path), default=paths.CHECKPOINT)
@click.option("--validation", default="fxemoji", show_default=True, help="Style of the figures on the way.")
def main(**options: Any) -> None:
    """Train both towers together; `python -m training.refine` follows."""
    job = Job(**options)
    job.run.mkdir(parents=True, exist_ok=True)
    if job.workers > 1:
        # A terminated parent leaves through the interpreter's exit, which ends daemonic workers.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        torch.multiprocessing.spawn(work, (job,), nprocs=job.workers, daemon=True)
    else:
        work(0, job)


if __name__ == "__main__":
    main()
