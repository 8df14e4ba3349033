"""Every family of models that open_clip holds, each by a member made small: the same structure, few and narrow layers.

``python -m tests.models.families`` builds them all and writes the table of ``docs/models.md``.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.models import model_entrypoint, register_model

from clip_installer.models.build import build_model
from clip_installer.models.build.parity import Parity, distance
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import open_encoder
from clip_udfs.images.preprocessing import decode
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer
from tests.models.hub import VOCABULARY, text_tower_folder, tokenizer_folder
from tests.models.pictures import corpus

PAGE = Path(__file__).parents[2] / "docs/models.md"
HEAD = (
    "| family | smallest member tried | built for | largest difference | cosine | text |",
    "|---|---|---|---|---|---|",
)

VIT = {"layers": 2, "width": 64, "head_width": 32, "image_size": 64, "patch_size": 16}
TRUNK = {"depth": 1, "embed_dim": 64, "num_heads": 2, "img_size": 64}
STAGES = {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}


@dataclass(frozen=True)
class Family:
    """A family and the member that stands for it.

    Attributes:
        name: Name of the family.
        member: The architecture whose configuration is taken.
        vision: What is changed in its image tower's configuration.
        trunk: What is changed in timm's image model, where it is one.
        text: What is changed in its text tower's configuration.
        tokenizer: Class of a Hugging Face tokenizer that is made for it, and its options.
        tower: Type of a Hugging Face text tower that is made for it.
    """

    name: str
    member: str
    vision: Mapping[str, Any] = field(default_factory=lambda: VIT)
    trunk: Mapping[str, Any] | None = None
    text: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: tuple[str, Mapping[str, Any]] | None = None
    tower: str | None = None


def of_timm(name: str, member: str, trunk: Mapping[str, Any], size: int = 64, **more: Any) -> Family:
    """A family whose image tower is timm's; one layer is enough for a text tower that other families have too."""
    text = {} if "tokenizer" in more else {"layers": 1}
    return Family(name, member, {"image_size": size}, trunk, text, **more)


SIGLIP = ("T5Tokenizer", {"extra_ids": 0, "pad_token": "</s>"})
MT5 = ("T5Tokenizer", {"extra_ids": 0})
XLM = ("XLMRobertaTokenizer", {})
RESNET18 = {"timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}

FAMILIES = (
    Family("ViT, GELU", "ViT-S-32"),
    Family("ViT, QuickGELU", "ViT-B-32-quickgelu"),
    Family("ResNet, modified", "RN50", {"layers": (1, 1, 1, 1), "width": 16, "image_size": 64}),
    Family("ResNet, timm's", "RN50", {"layers": 12, "width": 768, **RESNET18}, {}),
    of_timm("ConvNeXt", "convnext_tiny", STAGES),
    of_timm("ConvNeXt, deep head", "convnext_large_d", STAGES),
    of_timm("Swin", "swin_base_patch4_window7_224", {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}, 224),
    of_timm("ViT, timm's, averaged", "vit_medium_patch16_gap_256", TRUNK),
    of_timm("ViT, timm's, relative positions", "vit_relpos_medium_patch16_cls_224", TRUNK),
    of_timm("EVA-01", "EVA01-g-14", {**TRUNK, "img_size": 56}, 56),
    of_timm("EVA-02", "EVA02-B-16", TRUNK),
    Family("CoCa", "coca_ViT-B-32"),
    Family("CoCa, RoBERTa", "coca_roberta-ViT-B-32", tokenizer=("RobertaTokenizer", {}), tower="roberta"),
    of_timm("SigLIP", "ViT-B-16-SigLIP", TRUNK, tokenizer=SIGLIP),
    of_timm("SigLIP 2", "ViT-B-32-SigLIP2-256", TRUNK, tokenizer=MT5),
    of_timm("MobileCLIP S", "MobileCLIP-S1", {"layers": (1, 1, 1, 1)}, 128),
    of_timm("MobileCLIP B", "MobileCLIP-B", {"depth": 1, "num_heads": 4, "img_size": 64}),
    of_timm("MobileCLIP 2", "MobileCLIP2-S0", {"layers": (1, 1, 1, 1)}, 128),
    of_timm("Perception Encoder", "PE-Core-T-16-384", TRUNK),
    of_timm("ViTamin", "ViTamin-S", {"depth": 1}, 224),
    Family("CLIPA", "ViT-L-14-CLIPA", tokenizer=("BertTokenizer", {})),
    Family("MetaCLIP 2 worldwide", "ViT-L-14-worldwide", tokenizer=MT5),
    Family("XLM-RoBERTa", "xlm-roberta-base-ViT-B-32", tokenizer=XLM, tower="xlm-roberta"),
    Family("RoBERTa", "roberta-ViT-B-32", tokenizer=("RobertaTokenizer", {}), tower="roberta"),
    Family("BERT", "roberta-ViT-B-32", tokenizer=("BertTokenizer", {}), tower="bert"),
    Family("mT5", "mt5-base-ViT-B-32", tokenizer=MT5, tower="mt5"),
    Family("NLLB", "nllb-clip-base", tokenizer=("NllbTokenizer", {}), tower="m2m_100"),
    of_timm("NLLB, SigLIP", "nllb-clip-base-siglip", TRUNK, tokenizer=("NllbTokenizer", {}), tower="m2m_100"),
)

TEXTS = (
    "",
    "a cat",
    "a photo of a dog, isn't it?",
    "一只在雪地里的猫",
    "Caf\u00e9 &amp; cr\u00e8me \N{GRINNING FACE} <end_of_text> x </s>",
    "the quick brown fox jumps over the lazy dog " * 12,
    *(f"{count} red hearts" + " and more" * count for count in range(1, 8)),
)


@dataclass(frozen=True)
class Result:
    """What a family's build came to.

    Attributes:
        bundle: The bundle.
        said: What the build reported.
        engines: How far each engine's vectors are from open_clip's, by engine and tower.
    """

    bundle: Bundle
    said: list[str]
    engines: Mapping[str, Mapping[str, Parity]]

    def row(self, family: Family) -> str:
        """The family's row of the table, for the engine that it is served with by default."""
        built = "ONNX" if "onnx" in self.engines else "torch"
        parities = self.engines[built.lower()].values()
        difference, cosine = max(one.max_difference for one in parities), min(one.min_cosine for one in parities)
        text = "trimmed" if self.bundle.manifest.text.trim else "padded"
        return f"| {family.name} | `{family.member}` | {built} | {difference:.0e} | {min(cosine, 1):.7f} | {text} |"


def measure(family: Family, folder: Path) -> Result:
    """Make the family's model with random weights in ``folder``, build it, and ask its engines and open_clip.

    The torch engine runs open_clip's own code, so it is asked only where a bundle brings more than that code: the
    tokenizer, and the configuration of the text tower.
    """
    config = write_config(family, folder)
    open_clip.add_model_config(config)
    model = randomised(open_clip.create_model(config.stem, pretrained_text=False).eval())
    weights = save(model, folder / "weights.safetensors")
    said: list[str] = []
    built = ("onnx",) if family.tokenizer is None else ("onnx", "torch")
    engine = "both" if "torch" in built else "auto"
    bundle = build_model(str(config), str(weights), folder / "bundle", engine=engine, report=said.append)
    pictures = list(corpus().values())[::11]
    expected = {"text": of_texts(model, config.stem), "image": of_pictures(model, pictures)}
    manifest = bundle.manifest
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), manifest.text)
    batches = {
        "text": tokenizer.pad(tokenizer(TEXTS)),
        "image": np.stack([decode(content, manifest.image, 1 << 24) for content in pictures]),
    }
    engines = {}
    for engine in built:
        settings = WorkerSettings(bundle.directory, engine=engine, device="cpu")
        engines[engine] = {
            tower: distance(open_encoder(settings, bundle, tower).encode(batches[tower]), expected[tower])
            for tower in ("text", "image")
        }
    return Result(bundle, said, engines)


def write_config(family: Family, folder: Path) -> Path:
    """The family's reduced configuration, as a file that ``--model`` takes, under a name of its own."""
    config = open_clip.get_model_config(family.member)
    vision, text = config["vision_cfg"], config["text_cfg"]
    config["embed_dim"] = 64
    vision.update(family.vision)
    if family.trunk is not None:
        vision["timm_model_name"] = reduced(vision["timm_model_name"], tuple(family.trunk.items()))
    text.update({"layers": 2, "width": 32, "heads": 2, **family.text})
    if "multimodal_cfg" in config:
        config["multimodal_cfg"].update({"layers": 1, "width": 64, "heads": 2})
    if family.tokenizer is not None:
        hub = tokenizer_folder(folder / "hub", family.tokenizer[0], **family.tokenizer[1])
        text.update({"hf_tokenizer_name": str(hub), "vocab_size": VOCABULARY})
        if family.tower is not None:
            text["hf_model_name"] = str(text_tower_folder(hub, family.tower))
    path = folder / f"small-{re.sub('[^a-z0-9]+', '-', family.name.lower())}.json"
    path.write_text(json.dumps(config))
    return path


@cache
def reduced(name: str, changes: tuple[tuple[str, Any], ...]) -> str:
    """Register timm's image model ``name`` with other sizes, under the name that is given back."""

    def entry(pretrained: bool = False, **options: Any) -> torch.nn.Module:
        return model_entrypoint(name)(pretrained=pretrained, **{**dict(changes), **options})

    entry.__name__ = f"{name}_reduced_{abs(hash(changes))}"
    register_model(entry)
    return entry.__name__


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Give each tensor random values that its name and shape decide, so that equal towers have equal weights.

    What starts as nought, one or next to nothing gets noise as well: no part of the model can go unnoticed.
    """

    def noise(name: str, tensor: torch.Tensor, scale: float) -> torch.Tensor:
        seed = crc32(repr((name.removeprefix("text."), tuple(tensor.shape))).encode())
        return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)) * scale

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                inputs = parameter.numel() / len(parameter)
                parameter.copy_(noise(name, parameter, 0.6 * inputs**-0.5))
            elif "logit" not in name:
                parameter.copy_(parameter.mean().round() + noise(name, parameter, 0.2))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(noise(name, buffer, 0.1))
            elif name.endswith("running_var"):
                buffer.add_(noise(name, buffer, 0.2).abs())
    return model


def save(model: torch.nn.Module, path: Path) -> Path:
    """Write the weights as a checkpoint file."""
    from safetensors.torch import save_file

    save_file({name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def of_texts(model: Any, architecture: str) -> NDArray[np.float32]:
    """open_clip's own vectors of :data:`TEXTS`."""
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(architecture)(list(TEXTS))
        return model.encode_text(tokens, normalize=True).numpy()


def of_pictures(model: Any, pictures: list[bytes]) -> NDArray[np.float32]:
    """open_clip's own vectors of encoded pictures."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    prepare: Callable[..., torch.Tensor] = image_transform_v2(
        PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), is_train=False
    )
    with torch.inference_mode():
        batch = torch.stack([prepare(Image.open(BytesIO(content))) for content in pictures])
        return model.encode_image(batch, normalize=True).numpy()


def page_rows() -> dict[str, str]:
    """The rows of the table on the page, by family."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(HEAD[1]) + 1
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows[line.split("|")[1].strip()] = line
    return rows


def write_page(rows: list[str]) -> None:
    """Replace the rows of the table on the page."""
    text = PAGE.read_text(encoding="utf-8")
    old = "\n".join(page_rows().values())
    assert old, "the page has no table"
    PAGE.write_text(text.replace(old, "\n".join(rows)), encoding="utf-8")


if __name__ == "__main__":
    found = []
    for one in FAMILIES:
        with tempfile.TemporaryDirectory() as scratch:
            found.append(measure(one, Path(scratch)).row(one))
    write_page(found)
