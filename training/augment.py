"""Style augmentation on whole batches.

Every function takes and gives float32 (batch, 3, 64, 64) in 0..1 unless it says otherwise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

IMAGE_SIZE = 64
LUMA = torch.tensor([0.299, 0.587, 0.114])
COLOUR_WORDS = {
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "brown",
    "black",
    "white",
    "grey",
    "pink",
}


@dataclass
class Dice:
    """Random numbers of one generator, in the shapes that the augmentations want."""

    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform float32 in low..high."""
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def some(self, share: float, batch: int) -> Tensor:
        """Indices of about `share` of a batch; int64."""
        return (torch.rand(batch, generator=self.generator) < share).nonzero(as_tuple=True)[0]

    def whole(self, low: int, high: int) -> int:
        """A whole number, low <= n < high."""
        return int(torch.randint(low, high, (), generator=self.generator))


def placed(pictures: Tensor, flippable: Tensor, dice: Dice) -> Tensor:
    """Resample at a random sharpness, then rotate, scale, shear, shift and flip.

    `pictures`: uint8 premultiplied RGBA, (batch, 4, any, any); `flippable`: bool (batch,). Gives float32
    (batch, 4, 64, 64) in 0..1.
    """
    batch = len(pictures)
    small = dice.whole(52, 84)
    pictures = F.interpolate(pictures, size=(small, small), mode="bilinear", antialias=True).float().div_(255)
    turn = dice.uniform(-1, 1, batch) ** 3 * 0.35
    scale = torch.exp(dice.uniform(-0.12, 0.22, batch))
    aspect = torch.exp(dice.uniform(-0.1, 0.1, batch))
    shear = dice.uniform(-0.08, 0.08, batch)
    mirror = torch.where(flippable & (dice.uniform(0, 1, batch) < 0.25), -1.0, 1.0)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    shift = dice.uniform(-0.08, 0.08, batch, 2)
    rows = [
        torch.stack([cos * aspect * mirror, -sin + shear, shift[:, 0]], 1),
        torch.stack([sin * mirror, cos / aspect, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [batch, 4, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", align_corners=False)


def hue_turn(angle: Tensor) -> Tensor:
    """Matrices that turn the hue by `angle` (batch,) radians, grey kept: (batch, 3, 3)."""
    axis = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return cos * torch.eye(3) + sin * axis + (1 - cos) / 3


def recoloured(rgb: Tensor, colour_matters: Tensor, dice: Dice) -> Tensor:
    """Turn hues, change saturation, drop colour; gently where colour is the meaning: bool (batch,)."""
    batch = len(rgb)
    free = (~colour_matters).float()
    wild = (dice.uniform(0, 1, batch) < 0.12).float() * free
    angle = dice.uniform(-1, 1, batch) * (0.15 * free + 3.0 * wild)
    saturation = torch.exp(dice.uniform(-0.6, 0.5, batch))
    grey = (dice.uniform(0, 1, batch) < 0.08) & ~colour_matters
    saturation = torch.where(grey, torch.zeros(()), saturation)[:, None, None]
    matrix = saturation * torch.eye(3) + (1 - saturation) * LUMA.expand(3, 3)
    matrix = matrix @ hue_turn(angle)
    return torch.bmm(matrix, rgb.flatten(2)).view_as(rgb)


def on_background(rgb: Tensor, alpha: Tensor, dice: Dice) -> Tensor:
    """Lay premultiplied pictures on white (mostly), black or a colour; `alpha`: (batch, 1, 64, 64)."""
    batch = len(rgb)
    kind = dice.uniform(0, 1, batch)[:, None]
    pale = dice.uniform(0.75, 1, batch, 3)
    colour = torch.where(kind < 0.12, pale, torch.ones(()))
    colour = torch.where(kind < 0.06, dice.uniform(0, 1, batch, 3), colour)
    # Dark drawings would vanish on black.
    bright = rgb.mean((1, 2, 3)) > 0.35 * alpha.mean((1, 2, 3))
    colour = torch.where((kind > 0.93) & bright[:, None], torch.zeros(()), colour)
    return torch.addcmul(rgb, 1 - alpha, colour[:, :, None, None])


def luma(rgb: Tensor) -> Tensor:
    """Brightness, (batch, 1, 64, 64)."""
    return F.conv2d(rgb, LUMA[None, :, None, None])


def edges(rgb: Tensor) -> Tensor:
    """Line art: dark where brightness changes."""
    grey = luma(rgb)
    change = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)
    return (1 - 2.0 * change).clamp(0, 1).expand(-1, 3, -1, -1)


def inked(rgb: Tensor) -> Tensor:
    """The colours with dark lines laid over every edge."""
    return rgb * edges(rgb)


def thicker(rgb: Tensor) -> Tensor:
    """Dark lines grow by a pixel."""
    return -F.max_pool2d(-rgb, 3, 1, 1)


def thinner(rgb: Tensor) -> Tensor:
    """Dark lines shrink by a pixel, halfway blended."""
    return (F.max_pool2d(rgb, 3, 1, 1) + rgb) / 2


def blurred(rgb: Tensor) -> Tensor:
    """A 3 x 3 mean."""
    return F.avg_pool2d(F.pad(rgb, (1, 1, 1, 1), mode="replicate"), 3, 1)


def posterised(rgb: Tensor, dice: Dice) -> Tensor:
    """Two to five levels per channel."""
    levels = dice.uniform(1, 4, len(rgb), 1, 1, 1).round().clamp(min=1)
    return (rgb * levels).round() / levels


def shaded(rgb: Tensor, dice: Dice) -> Tensor:
    """A smooth random pattern of light and colour."""
    field = dice.uniform(0.45, 1.25, len(rgb), 3, 3, 3)
    return rgb * F.interpolate(field, size=rgb.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 2)


def noisy(rgb: Tensor, dice: Dice) -> Tensor:
    """Gaussian noise."""
    return rgb + torch.randn(rgb.shape, generator=dice.generator) * dice.uniform(0.01, 0.1, len(rgb), 1, 1, 1)


def toned(rgb: Tensor, dice: Dice) -> Tensor:
    """Another gamma, contrast and brightness."""
    shape = (len(rgb), 1, 1, 1)
    bent = rgb.clamp(0, 1) ** torch.exp(dice.uniform(-0.5, 0.5, *shape))
    return (bent - 0.5) * dice.uniform(0.65, 1.15, *shape) + 0.5 + dice.uniform(-0.08, 0.08, *shape)


def cut_out(rgb: Tensor, dice: Dice) -> Tensor:
    """One rectangle of white or of any colour over each picture."""
    batch = len(rgb)
    axis = (torch.arange(IMAGE_SIZE) / IMAGE_SIZE)[None]
    corner, extent = dice.uniform(-0.1, 0.9, 2, batch, 1), dice.uniform(0.1, 0.4, 2, batch, 1)
    inside = [(axis >= corner[i]) & (axis < corner[i] + extent[i]) for i in range(2)]
    mask = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    colour = torch.where(dice.uniform(0, 1, batch, 1) < 0.5, torch.ones(()), dice.uniform(0, 1, batch, 3))
    return torch.where(mask, colour[:, :, None, None], rgb)


def swapped_palette(rgb: Tensor, dice: Dice) -> Tensor:
    """Give each picture the mean and spread of another picture's colours."""
    other = torch.randperm(len(rgb), generator=dice.generator)
    mean, spread = rgb.mean((2, 3), keepdim=True), rgb.std((2, 3), keepdim=True) + 0.05
    return (rgb - mean) / spread * spread[other] + mean[other]


def augment(pictures: Tensor, colour_matters: Tensor, flippable: Tensor, dice: Dice) -> Tensor:
    """Augmented pictures for training.

    `pictures`: uint8 premultiplied RGBA (batch, size, size, 4); the flags: bool (batch,). Gives float32
    (batch, 3, 64, 64) in 0..1.
    """
    moved = placed(pictures.permute(0, 3, 1, 2), flippable, dice)
    rgb = on_background(recoloured(moved[:, :3], colour_matters, dice), moved[:, 3:], dice).clamp_(0, 1)
    free = ~colour_matters
    batch = len(rgb)
    steps = (
        (0.06, inked, False),
        (0.08, lambda x: posterised(x, dice), True),
        (0.03, edges, True),
        (0.05, lambda x: swapped_palette(x, dice), True),
        (0.20, lambda x: toned(x, dice), False),
        (0.04, lambda x: shaded(x, dice), False),
        (0.06, thicker, False),
        (0.06, thinner, False),
        (0.06, blurred, False),
        (0.015, lambda x: 1 - x, True),
        (0.05, lambda x: noisy(x, dice), False),
        (0.08, lambda x: cut_out(x, dice), False),
    )
    for share, change, only_free in steps:
        chosen = dice.some(share, batch)
        if only_free:
            chosen = chosen[free[chosen]]
        if len(chosen):
            rgb[chosen] = change(rgb[chosen]).clamp(0, 1)
    return rgb
