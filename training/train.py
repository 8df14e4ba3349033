"""Train the model: `python -m training.train`; started again, it goes on from its last checkpoint."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from training import paths
from training.augment import Dice
from training.captions import build_captions
from training.data import load_pictures
from training.evaluation import evaluate
from training.losses import multi_positive, to_concepts
from training.model import Average, MixStyle, TrainableClip, Vocabulary, normalised, refresh_batch_norm, save_shipped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, next to the data and the seed."""

    steps: int
    batch: int = 256
    chinese: float = 0.45
    unknown: float = 0.04
    image_rate: float = 2e-3
    text_rate: float = 6e-4
    weight_decay: float = 0.05
    warm_up: int = 200
    decay: float = 0.35
    average: float = 0.998

    def rate(self, step: int) -> float:
        """Factor of the learning rates: warm-up, plateau, then linearly to nothing over the last `decay`."""
        return min(1.0, (step + 1) / self.warm_up, (self.steps - step) / (self.decay * self.steps))


class Trainer:
    """One run: model, averaged model, optimiser and random numbers."""

    def __init__(self, recipe: Recipe, data: Path, seed: int) -> None:
        """Everything fresh."""
        torch.manual_seed(seed)
        self.recipe = recipe
        self.data = data
        self.pictures, self.concepts = load_pictures(data)
        self.captions = build_captions(self.concepts, seed)
        self.vocabulary = Vocabulary(self.captions.tokens)
        self.rows = torch.from_numpy(self.vocabulary.rows(self.captions.tokens))
        self.model = TrainableClip(self.vocabulary)
        visual = self.model.clip.visual
        for stage in (visual.avgpool, visual.layer1, visual.layer2):
            stage.register_forward_hook(MixStyle())
        self.concept_vectors = nn.Parameter(torch.randn(len(self.concepts), self.model.clip.text_projection.shape[1]))
        self.average = Average(self.model, recipe.average)
        self.optimiser = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
        self.numbers = np.random.default_rng(seed)
        self.dice = Dice(torch.Generator().manual_seed(seed))
        self.step = 0

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

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures in 0..1, their concepts, caption rows and caption targets."""
        drawn = self.pictures.draw(self.recipe.batch, self.numbers)
        concepts = self.pictures.concept[drawn]
        captions = self.captions.sample(concepts, self.numbers, self.recipe.chinese)
        rows = self.rows[captions]
        words = (rows != 0) & (rows != rows.max()) & (torch.arange(rows.shape[1]) > 0)
        rows = rows.masked_fill(words & (self.dice.uniform(0, 1, *rows.shape) < self.recipe.unknown), 0)
        targets = torch.from_numpy(self.captions.target_matrix(captions, len(self.concepts)))
        return self.pictures.augmented(drawn, self.dice), torch.from_numpy(concepts), rows, targets

    def train_step(self) -> list[float]:
        """One update; answers the three losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * self.recipe.rate(self.step)
        pictures, concepts, rows, targets = self.batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images, texts = self.model.encode_image(normalised(pictures)), self.model.encode_text(rows)
        scale = self.model.clip.logit_scale.exp().clamp(max=50)
        losses = [
            to_concepts(images, self.concept_vectors, concepts),
            to_concepts(texts, self.concept_vectors, targets),
            multi_positive(images, texts, targets, concepts, scale),
        ]
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses).backward()
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
        """Everything needed to go on, in one step."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "updates": self.average.updates,
            "concept_vectors": self.concept_vectors.data,
            "optimiser": self.optimiser.state_dict(),
            "numbers": self.numbers.bit_generator.state,
            "dice": self.dice.generator.get_state(),
            "torch": torch.get_rng_state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)

    def load(self, path: Path) -> None:
        """Go on where `save` stopped."""
        state = torch.load(path, weights_only=False)
        self.step, self.average.updates = state["step"], state["updates"]
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.concept_vectors.data.copy_(state["concept_vectors"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.numbers.bit_generator.state = state["numbers"]
        self.dice.generator.set_state(state["dice"])
        torch.set_rng_state(state["torch"])


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
        if trainer.step % 50 == 0:
            pace = (time.monotonic() - started) / (trainer.step - first)
            log.info("step %d losses %s, %.2f s a step", trainer.step, np.round(smooth, 3), pace)
        if trainer.step % every == 0 or trainer.step == trainer.recipe.steps:
            trainer.save(run / "state.pt")
            model = trainer.finished_average(batches=8)
            save_shipped(model, trainer.vocabulary, output)
            report(trainer, model, style)


@click.command()
@click.option("--steps", default=6000, show_default=True)
@click.option("--every", default=400, show_default=True, help="Steps between checkpoints with validation figures.")
@click.option("--batch", default=256, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=os.cpu_count(), show_default="all cores")
@click.option("--data", type=click.Path(path_type=Path), default=paths.DATA)
@click.option("--run", type=click.Path(path_type=Path), default=paths.RUNS / "main", help="Folder of the run's state.")
@click.option("--output", type=click.Path(path_type=Path), default=paths.CHECKPOINT)
@click.option("--validation", default="fxemoji", show_default=True, help="Style of the figures on the way.")
def main(steps: int, every: int, batch: int, seed: int, threads: int, data: Path, run: Path, output: Path, validation: str) -> None:
    """Train both towers together; `python -m training.refine` follows."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    trainer = Trainer(Recipe(steps=steps, batch=batch), data, seed)
    if (run / "state.pt").exists():
        trainer.load(run / "state.pt")
        log.info("going on at step %d", trainer.step)
    run_steps(trainer, run, output, every, validation)


if __name__ == "__main__":
    main()
