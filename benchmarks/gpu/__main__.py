"""``python -m benchmarks.gpu``: measure what one GPU encodes, step by step, in at most ``--seconds``.

Needs PyTorch, torchvision, open_clip and this repository with its default dependencies; neither ClickHouse nor weights
nor a network. The model is a ViT-B-32 with random weights: its speed is that of trained ones. Steps run in order of
importance and are written as they finish, so that an interrupted run leaves its figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.gpu import decoding, model, workers
from benchmarks.gpu.figure import Figure, table

OUTPUT = Path(__file__).parents[1] / "out" / "gpu"


def main() -> None:
    """Run the steps and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="PyTorch device; cpu is a dry run [default: cuda]")
    parser.add_argument("--seconds", type=float, default=280, help="start no step after this long [default: 280]")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="directory for gpu.json, gpu.md and the model")
    parser.add_argument("--model", default=model.ARCHITECTURE, help="architecture, or its JSON file")
    parser.add_argument("--quick", action="store_true", help="few rows, to see that every step runs")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    options.output.mkdir(parents=True, exist_ok=True)
    scale = model.QUICK if options.quick else model.FULL
    bundle = model.random_bundle(options.output / "models", options.model)
    pictures = model.pictures(options.output / "pictures", scale)
    figures: list[Figure] = []
    steps = plan(bundle, pictures, options.device, scale)
    for name, step in steps:
        if time.monotonic() > deadline:
            say(f"{name}: left out, {options.seconds:.0f} seconds are over")
            continue
        say(name)
        for figure in _guarded(name, step):
            say(f"  {figure.line()}")
            figures.append(figure)
            write(options.output, options.device, figures)
    sys.stdout.write(table(figures))


def plan(bundle: Path, pictures: list[Path], device: str, scale: model.Scale) -> Iterator[tuple[str, Step]]:
    """The steps by name, the most important first."""
    from benchmarks.gpu import towers  # not at the top: decoding processes import this module and would load torch

    yield "towers by precision", partial(towers.precisions, bundle, device, scale)
    yield "whole workers", partial(workers.whole, bundle, pictures, device, scale)
    yield "towers by batch size", partial(towers.batches, bundle, device, scale)
    yield "several workers on one GPU", partial(workers.together, bundle, pictures, device, scale)
    yield "decoding", partial(decoding.decoders, bundle, pictures, device)
    yield "CUDA graphs", partial(towers.graphs, bundle, device, scale)
    yield "torch.compile", partial(towers.compiled, bundle, device, scale)


def write(folder: Path, device: str, figures: list[Figure]) -> None:
    """Write the figures so far into ``gpu.json`` and ``gpu.md``."""
    record = {
        "device": model.device_name(device),
        "machine": machine.describe(),
        "figures": [figure.to_dict() for figure in figures],
    }
    (folder / "gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "gpu.md").write_text(table(figures), encoding="utf-8")


def say(line: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _guarded(name: str, step: Step) -> Iterator[Figure]:
    try:
        yield from step()
    except Exception as error:  # a step that fails on this machine must not prevent the others
        say(f"  {name} ended early: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


Step = Callable[[], Iterator[Figure]]


if __name__ == "__main__":
    main()
