"""How long each model of docs/models.md takes beside ViT-B-32: ``python -m benchmarks.worker.models``.

Makes the architectures with random weights, whose speed is that of trained ones, exports their towers as
``clip-udfs build-model`` does, and encodes one text and one image with each on one thread of ONNX Runtime, in turns
with ViT-B-32. CPU time counts, which other processes disturb less. Needs open_clip and transformers, but no network.
Each model's figures go at once into the record, which ``clip-udfs models --available`` shows and from which the page's
table is made; ``--only NAME`` measures some, ``--page`` writes the table alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.record import ROOT, rendered
from clip_installer.models.build.source.model import SourceModel, quiet
from clip_installer.models.published import FAMILIES, PUBLISHED, Published
from clip_installer.models.speed import BESIDE, RECORD, times
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.encoders.prepared import TOWERS
from clip_udfs.functions import Tower
from clip_udfs.manifest import FileRecord, Manifest, TextManifest

PAGE = ROOT / "docs" / "models.md"
SECTION = "models"
TOKENS = 12  # of the text that is encoded, where the tower needs no padding: as many as LAION's captions have
ROUNDS = 5
_TURN_SECONDS = 0.3
_START, _END, _WORD, _CONTEXT = 49406, 49407, 320, 77
# A tower looks up as many rows of its embedding table as a text has tokens, however many the table has.
_VOCABULARY = 1000


def _roberta(width: int, layers: int) -> dict[str, Any]:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    heads = {"num_attention_heads": width // 64, "max_position_embeddings": 514, "type_vocab_size": 1}
    return {"model_type": "xlm-roberta", "pad_token_id": 1, **sizes, **heads}


# The text towers whose configurations are on the Hugging Face hub.
HUB: dict[str, dict[str, Any]] = {
    "xlm-roberta-base": _roberta(768, 12),
    "xlm-roberta-large": _roberta(1024, 24),
    "facebook/nllb-200-distilled-1.3B": {
        "model_type": "m2m_100",
        "is_encoder_decoder": True,
        "pad_token_id": 1,
        "d_model": 1024,
        "encoder_layers": 24,
        "encoder_attention_heads": 16,
        "encoder_ffn_dim": 8192,
        "decoder_layers": 1,
        "scale_embedding": True,
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, keep the record, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker.models", description=__doc__.splitlines()[0])
    names = list(dict.fromkeys(name for name, _ in PUBLISHED))
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="measure only this; repeatable")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page's table again")
    options = parser.parse_args(arguments)
    if not options.page:
        with tempfile.TemporaryDirectory() as scratch:
            beside = random_bundle(BESIDE, Path(scratch) / BESIDE)
            for name in options.only or names:
                bundle = beside if name == BESIDE else random_bundle(name, Path(scratch) / name)
                found = {tower: 1.0 if name == BESIDE else ratio(bundle, beside, tower) for tower in TOWERS}
                keep(name, found)
                sys.stdout.write(f"{name}: text {found['text']:.3g}, image {found['image']:.3g}\n")
                sys.stdout.flush()
                if bundle is not beside:
                    for path in bundle.directory.iterdir():
                        path.unlink()
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), SECTION, table()), encoding="utf-8")


def random_bundle(architecture: str, folder: Path) -> Bundle:
    """Both towers of an architecture, or of a JSON file, exported with random weights, and nothing else."""
    import open_clip

    from clip_installer.models.build.export import export_towers
    from clip_installer.models.build.preprocessing import image_of
    from clip_udfs.encoders.torch_modules.towers import trimmed

    folder.mkdir(parents=True)
    config = open_clip.get_model_config(architecture) or json.loads(Path(architecture).read_text(encoding="utf-8"))
    text = config["text_cfg"]
    context = text.get("context_length", _CONTEXT)
    own = TextManifest("lower", context, _START, _END, 0, trim=False)
    other = TextManifest("whitespace", context, -1, -1, 1, trim=False, framing="template")
    manifest = other if {"hf_tokenizer_name", "hf_model_name"} & text.keys() else own
    if manifest is other:
        text["vocab_size"] = _VOCABULARY
    if "hf_model_name" in text:
        tower = {**HUB[text["hf_model_name"]], "vocab_size": _VOCABULARY}
        (folder / "config.json").write_text(json.dumps(tower), encoding="utf-8")
        text["hf_model_name"] = str(folder)
    named = folder / f"random-{Path(architecture).stem}.json"
    named.write_text(json.dumps(config), encoding="utf-8")
    with quiet():
        open_clip.add_model_config(named)
        model = open_clip.create_model(named.stem, pretrained_text=False).eval()
    source = SourceModel(named.stem, "", model, None, _Tokens(manifest), image_of(model))
    manifest = trimmed(model, manifest)
    export_towers(source, folder, manifest)
    files = {path.name: FileRecord(path.stat().st_size, "") for path in folder.glob("*.onnx*")}
    return Bundle(folder, Manifest(architecture, named.stem, "", 1, manifest, source.image, "", {}, files))


class _Tokens:
    """Stands for a tokenizer: the same token ids whatever the text."""

    def __init__(self, manifest: TextManifest) -> None:
        self._manifest = manifest

    def __call__(self, texts: Sequence[str]) -> Any:
        import torch

        row = tokens(self._manifest, self._manifest.context_length)
        return torch.from_numpy(np.repeat(row, len(texts), axis=0))


def tokens(manifest: TextManifest, length: int) -> NDArray[np.int64]:
    """A text of :data:`TOKENS` tokens, padded to ``length``, int64 (1, ``length``)."""
    row = np.full((1, length), manifest.pad_id, np.int64)
    row[0, :TOKENS] = _WORD
    if manifest.framing == "clip":
        row[0, 0], row[0, TOKENS - 1] = _START, _END
    return row


def ratio(bundle: Bundle, beside: Bundle, tower: Tower) -> float:
    """How many times as long as that of ``beside`` a tower of ``bundle`` takes for one row: the median of the turns."""
    ours, theirs = (encoding(one, tower) for one in (bundle, beside))
    for warm in (ours, theirs):
        warm()
    return statistics.median(seconds(ours) / seconds(theirs) for _ in range(ROUNDS))


def encoding(bundle: Bundle, tower: Tower) -> Callable[[], object]:
    """What encodes one row on one thread."""
    encoder, text = OnnxEncoder(bundle, tower, 1), bundle.manifest.text
    row: NDArray[Any] = tokens(text, TOKENS if text.trim else text.context_length)
    if tower == "image":
        row = np.random.default_rng(5).integers(0, 255, (1, *bundle.manifest.image.size, 3), dtype=np.uint8)
    return lambda: encoder.encode(row)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of several runs."""
    taken: list[float] = []
    while sum(taken) < _TURN_SECONDS:
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def keep(name: str, found: dict[Tower, float]) -> None:
    """Put a model's figures into the record; those of another CPU or version of the engine are dropped."""
    described = machine.describe()
    here = {key: described[key] for key in ("cpu", "onnxruntime")}
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    same = record.get("machine") == here
    rounded = {tower: float(f"{value:.2g}") for tower, value in found.items()}
    measured = {**(record["times"] if same else {}), name: rounded}
    order = dict.fromkeys(one for one, _ in PUBLISHED if one in measured)
    record = {
        "command": "python -m benchmarks.worker.models",
        "machine": here,
        "times": {one: measured[one] for one in order},
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def table() -> str:
    """The page's table of models."""
    heading = ("model", "tag", "licence of the weights", "ImageNet", "Crossmodal-3600, mean / English / Chinese")
    lines = [f"| {' | '.join(heading)} | text | image |", "|---|---|---|---:|---:|---:|---:|"]
    return "\n".join([*lines, *(_row(name, tag, known) for (name, tag), known in PUBLISHED.items())])


def _row(name: str, tag: str, known: Published) -> str:
    family = " and its family" if any(name.startswith(one) for one in FAMILIES) else ""
    licence, colon, rest = known.licence.partition(":")
    if known.commercial is False:
        licence = f"**{licence}**"
    imagenet = "" if known.imagenet is None else f"{known.imagenet} %"
    shares = (known.crossmodal, known.crossmodal_english, known.crossmodal_chinese)
    crossmodal = "" if None in shares else " / ".join(map(str, shares)) + " %"
    taken = times(name) or {}
    each = (f"{taken[tower]:.3g}" if tower in taken else "" for tower in TOWERS)
    cells = (f"`{name}`{family}", f"`{tag}`", f"{licence}{colon}{rest}", imagenet, crossmodal, *each)
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


if __name__ == "__main__":
    main()
