"""What is published of weights: licence and quality; ``python -m benchmarks.worker.models`` writes it into the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """What is known of a model's weights.

    Attributes:
        licence: Licence of the weights, and what it forbids.
        imagenet: Zero-shot accuracy on ImageNet in percent; None where open_clip publishes none.
        crossmodal: Recall@1 of image retrieval on Crossmodal-3600 in percent, the mean of its languages; None likewise.
        crossmodal_english: The same of the English captions.
        crossmodal_chinese: The same of the Chinese captions.
        commercial: Whether the licence allows commercial use; None if one has to read it.
    """

    licence: str
    imagenet: float | None = None
    crossmodal: float | None = None
    crossmodal_english: float | None = None
    crossmodal_chinese: float | None = None
    commercial: bool | None = True

    def __str__(self) -> str:
        """For a list."""
        quality = [f"ImageNet {self.imagenet} %"] if self.imagenet is not None else []
        quality += [f"Crossmodal-3600 {self.crossmodal} %"] if self.crossmodal is not None else []
        return ", ".join((self.licence, *quality))


_MIT, _APACHE = "MIT", "Apache-2.0"
_NOT_COMMERCIAL = "CC-BY-NC: no commercial use"
_APPLE, _RESEARCH = "Apple's own licence: read it first", "apple-amlr: research only"

# By architecture and tag, in the order of the page; a family's name stands for all that begin with it.
PUBLISHED = {
    ("ViT-B-32-quickgelu", "openai"): Published(_MIT, 63.3, 4.1, 37.2, 0.4),
    ("ViT-B-32", "laion2b_s34b_b79k"): Published(_MIT, 66.6, 7.0, 47.6, 0.7),
    ("ViT-B-32-256", "datacomp_s34b_b86k"): Published(_MIT, 72.8, 7.8, 47.9, 2.4),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"): Published(_MIT, 73.5, 7.4, 46.6, 1.3),
    ("ViT-L-14", "openai"): Published(_MIT, 75.5, 5.3, 38.5, 0.3),
    ("ViT-L-14", "datacomp_xl_s13b_b90k"): Published(_MIT, 79.2, 8.5, 48.5, 1.9),
    ("ViT-B-16-SigLIP", "webli"): Published(_APACHE, 76.0, 16.7, 51.5, 0.1),
    ("ViT-L-16-SigLIP2-256", "webli"): Published(_APACHE, 82.5),
    ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"): Published(_MIT, 62.4, 42.6, 47.0, 53.7),
    ("xlm-roberta-large-ViT-H-14", "frozen_laion5b_s13b_b90k"): Published(_MIT, 77.0, 50.2, 51.3, 59.1),
    ("ViT-B-16-SigLIP-i18n-256", "webli"): Published(_APACHE, 75.1, 44.1, 49.1, 47.4),
    ("nllb-clip-large-siglip", "mrl"): Published(_NOT_COMMERCIAL, None, 60.8, 52.1, 59.5, commercial=False),
    ("ViT-B-32-quickgelu", "metaclip_fullcc"): Published(_NOT_COMMERCIAL, 67.7, 6.8, 47.0, 0.6, commercial=False),
    ("ViT-H-14-quickgelu", "dfn5b"): Published(_APPLE, 83.4, 24.4, 55.4, 7.1, commercial=None),
    ("MobileCLIP2-S0", "dfndr2b"): Published(_RESEARCH, commercial=False),
}
FAMILIES = {"MobileCLIP2-": PUBLISHED["MobileCLIP2-S0", "dfndr2b"]}


def published(architecture: str, tag: str) -> Published | None:
    """What is known of the weights ``tag`` of ``architecture``; None where docs/models.md says nothing of them."""
    for family, found in FAMILIES.items():
        if architecture.startswith(family):
            return found
    return PUBLISHED.get((architecture, tag))
