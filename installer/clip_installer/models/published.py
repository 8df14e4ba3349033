"""What is published of weights: licence and quality. docs/models.md has the same, with the sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """What is known of a model's weights.

    Attributes:
        licence: Licence of the weights, and what it forbids.
        imagenet: Zero-shot accuracy on ImageNet in percent; None where open_clip publishes none.
        crossmodal: Recall@1 of image retrieval on Crossmodal-3600 in percent, the mean of its languages; None likewise.
    """

    licence: str
    imagenet: float | None = None
    crossmodal: float | None = None

    def __str__(self) -> str:
        """For a list."""
        quality = [f"ImageNet {self.imagenet} %"] if self.imagenet is not None else []
        quality += [f"Crossmodal-3600 {self.crossmodal} %"] if self.crossmodal is not None else []
        return ", ".join((self.licence, *quality))


_MIT, _APACHE = "MIT", "Apache-2.0"
_NOT_COMMERCIAL = "CC-BY-NC: no commercial use"
_APPLE, _RESEARCH = "Apple's own licence: read it first", "apple-amlr: research only"

# By architecture and tag; a family's name stands for all that begin with it.
PUBLISHED = {
    ("ViT-B-32-quickgelu", "openai"): Published(_MIT, 63.3, 4.1),
    ("ViT-B-32", "laion2b_s34b_b79k"): Published(_MIT, 66.6, 7.0),
    ("ViT-B-32-256", "datacomp_s34b_b86k"): Published(_MIT, 72.8, 7.8),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"): Published(_MIT, 73.5, 7.4),
    ("ViT-L-14", "openai"): Published(_MIT, 75.5, 5.3),
    ("ViT-L-14", "datacomp_xl_s13b_b90k"): Published(_MIT, 79.2, 8.5),
    ("ViT-B-16-SigLIP", "webli"): Published(_APACHE, 76.0, 16.7),
    ("ViT-L-16-SigLIP2-256", "webli"): Published(_APACHE, 82.5),
    ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"): Published(_MIT, 62.4, 42.6),
    ("xlm-roberta-large-ViT-H-14", "frozen_laion5b_s13b_b90k"): Published(_MIT, 77.0, 50.2),
    ("ViT-B-16-SigLIP-i18n-256", "webli"): Published(_APACHE, 75.1, 44.1),
    ("nllb-clip-large-siglip", "mrl"): Published(_NOT_COMMERCIAL, None, 60.8),
    ("ViT-B-32-quickgelu", "metaclip_fullcc"): Published(_NOT_COMMERCIAL, 67.7, 6.8),
    ("ViT-H-14-quickgelu", "dfn5b"): Published(_APPLE, 83.4, 24.4),
}
FAMILIES = {"MobileCLIP2-": Published(_RESEARCH)}


def published(architecture: str, tag: str) -> Published | None:
    """What is known of the weights ``tag`` of ``architecture``; None where docs/models.md says nothing of them."""
    for family, found in FAMILIES.items():
        if architecture.startswith(family):
            return found
    return PUBLISHED.get((architecture, tag))
