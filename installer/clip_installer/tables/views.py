"""The search views, as data: which there are, what each is asked with and which vectors it compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """One search view.

    Attributes:
        name: Its name, without the suffix of a model.
        purpose: What it answers, as the comment above its definition.
        target: What is searched for: ``text``, ``path``, ``bytes`` or ``embedding``.
        vector: Whether ``image`` or ``text`` vectors are compared.
        filtered: Whether it takes the filter's parameters.
        relevant: Whether it takes ``min_relevance`` and leaves out what lies below.
        template: The template of ``sql/templates`` that it is rendered from.
    """

    name: str
    purpose: str
    target: str
    vector: str = "image"
    filtered: bool = False
    relevant: bool = False
    template: str = "schema/view"


VIEWS = (
    View("search_by_text", "Pictures that show what a text says", "text"),
    View("search_by_image", "Pictures that look like the picture in a file", "path"),
    View("search_by_image_bytes", "Pictures that look like a picture, given as the content of its file", "bytes"),
    View("search_by_embedding", "Pictures nearest to a vector of a text or of a picture", "embedding"),
    View("search_captions_by_text", "Captions that mean what a text says", "text", "text"),
    View(
        "search_captions_by_embedding",
        "Captions nearest to a vector of a text or of a picture",
        "embedding",
        "text",
    ),
    View(
        "search_filtered_by_text",
        "Pictures that pass a filter and show what a text says; an empty list or 0 lets everything pass",
        "text",
        filtered=True,
    ),
    View(
        "search_filtered_by_embedding", "Pictures that pass a filter, nearest to a vector", "embedding", filtered=True
    ),
    View(
        "search_relevant_by_text",
        "Pictures that show what a text says, and nothing where there is none like that",
        "text",
        relevant=True,
    ),
    View(
        "search_relevant_by_embedding",
        "Pictures near a vector, and nothing where there is none like that",
        "embedding",
        relevant=True,
    ),
    View(
        "search_hybrid",
        "Pictures that show what a text says, or whose caption has its words (ClickHouse 26.4 and newer)",
        "text",
        template="schema/hybrid_view",
    ),
    View(
        "label_images",
        "All pictures with the best of some labels and its probability, as the model was trained to tell it",
        "labels",
        template="schema/label_view",
    ),
)
