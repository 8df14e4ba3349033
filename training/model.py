"""The open_clip model as it is trained: only the token rows that occur; averaging; the shipped file."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from training.paths import MODEL_CONFIG

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
LENGTH_GROUPS = 4


def register_config(config: Path = MODEL_CONFIG) -> str:
    """Register the configuration with open_clip; return its name."""
    open_clip.add_model_config(config)
    return config.stem


def normalised(pictures: Tensor) -> Tensor:
    """From 0..1 to the statistics of open_clip's preprocessing; float32 (batch, 3, 64, 64), channels last."""
    shifted = (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return shifted.contiguous(memory_format=torch.channels_last)


class Vocabulary:
    """Token ids in use, and their rows in the compact embedding; row 0 is the shared unknown token."""

    def __init__(self, tokens: np.ndarray) -> None:
        """Rows keep the order of the ids, so the end token stays last; `tokens`: ids of all captions."""
        self.used = np.unique(tokens[tokens != 0])
        self.row_of = np.zeros(49408, np.int64)
        self.row_of[self.used] = np.arange(1, len(self.used) + 1)

    def __len__(self) -> int:
        """Rows of the compact embedding."""
        return len(self.used) + 1

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """Compact rows of token ids; padding (id 0) behind the end token becomes the unknown row."""
        return self.row_of[tokens]


class TrainableClip(nn.Module):
    """open_clip's CLIP with a compact token embedding and captions no longer than needed."""

    def __init__(self, vocabulary: Vocabulary, config: Path = MODEL_CONFIG) -> None:
        """A freshly initialised model."""
        super().__init__()
        self.clip = open_clip.create_model(register_config(config), pretrained=None, precision="fp32")
        width = self.clip.token_embedding.embedding_dim
        self.clip.token_embedding = nn.Embedding(len(vocabulary), width)
        nn.init.normal_(self.clip.token_embedding.weight, std=0.02)
        self.clip.visual.to(memory_format=torch.channels_last)

    def extend(self, before: Vocabulary, after: Vocabulary) -> None:
        """Take the rows of a larger vocabulary; tokens that were not there before start as the unknown one."""
        kept = torch.from_numpy(np.concatenate([[0], before.row_of[after.used]]))
        self.clip.token_embedding = nn.Embedding.from_pretrained(self.clip.token_embedding.weight[kept], freeze=False)

    def encode_image(self, pictures: Tensor) -> Tensor:
        """Unit vectors, float32 (batch, 512), of normalised pictures (batch, 3, 64, 64)."""
        return F.normalize(self.clip.visual(pictures).float(), dim=-1)

    def encode_text(self, rows: Tensor) -> Tensor:
        """Unit vectors, float32 (batch, 512), of compact rows (batch, length).

        Captions of similar length go together, without the padding: the tower is causal.
        """
        ends = rows.argmax(-1)
        order = ends.argsort()
        parts = [self._encode_text(rows[part, : int(ends[part].max()) + 1]) for part in order.chunk(LENGTH_GROUPS)]
        return torch.cat(parts)[order.argsort()]

    def _encode_text(self, rows: Tensor) -> Tensor:
        clip, length = self.clip, rows.shape[1]
        hidden = clip.token_embedding(rows) + clip.positional_embedding[:length]
        hidden = clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length])
        last = hidden[torch.arange(len(rows)), rows.argmax(-1)]
        return F.normalize((clip.ln_final(last) @ clip.text_projection).float(), dim=-1)


class MixStyle:
    """Training-time hook: mixes channel statistics between pictures of a batch (Zhou et al., 2021)."""

    def __init__(self, share: float = 0.1, spread: float = 0.2) -> None:
        """`share` of the batches is mixed, with weights from Beta(spread, spread)."""
        self.share = share
        self.weights = torch.distributions.Beta(spread, spread)

    def __call__(self, module: nn.Module, _inputs: tuple, features: Tensor) -> Tensor:
        """Mixed features (batch, channels, height, width)."""
        if not module.training or torch.rand(()) > self.share:
            return features
        mean = features.mean((2, 3), keepdim=True).detach()
        std = (features.var((2, 3), keepdim=True) + 1e-5).sqrt().detach()
        weight = self.weights.sample((len(features), 1, 1, 1)).to(features.dtype)
        other = torch.randperm(len(features))
        mixed_mean = weight * mean + (1 - weight) * mean[other]
        mixed_std = weight * std + (1 - weight) * std[other]
        return (features - mean) / std * mixed_std + mixed_mean


class Average:
    """Exponential moving average of the weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's present weights."""
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model; faster in the beginning."""
        self.updates += 1
        rate = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(its.detach(), rate)


@torch.no_grad()
def refresh_batch_norm(model: TrainableClip, batch_of: Callable[[], Tensor], batches: int) -> None:
    """Recompute the running statistics of batch normalisation as plain means over `batches` batches."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for _ in range(batches):
        model.encode_image(normalised(batch_of()))
    for layer in layers:
        layer.eval()


def shipped_state(model: TrainableClip, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """The state dict for open_clip, float16; tokens that never occurred share the unknown row."""
    state = {name: value.detach() for name, value in model.clip.state_dict().items()}
    state["token_embedding.weight"] = state["token_embedding.weight"][torch.from_numpy(vocabulary.row_of)]
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}


def save_shipped(model: TrainableClip, vocabulary: Vocabulary, path: Path) -> None:
    """Write the checkpoint atomically, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(shipped_state(model, vocabulary), partial)
    partial.chmod(0o644)
    partial.replace(path)
