"""The search views, as data: their names, their parameters, and the vectors that they compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """A parameter of a view.

    Attributes:
        name: Its name.
        type: Its ClickHouse type, as a caller sees it; a view that refuses NULL itself may declare it Nullable.
        example: A value, as SQL; ``{suffix}`` stands for the ending of the model's functions, ``{photo}`` for a table
            function that reads a file.
    """

    name: str
    type: str
    example: str

    def __str__(self) -> str:
        """Name and type, for documentation."""
        return f"{self.name} {self.type}"


_TARGETS = {
    "text": Parameter("query", "String", "'a red car'"),
    "path": Parameter("path", "String", "'photo.jpg'"),
    "bytes": Parameter("content", "String", "(SELECT raw_blob FROM {photo})"),
    "embedding": Parameter("embedding", "Array(Float32)", "encode_text{suffix}('a red car')"),
    "labels": Parameter("labels", "Array(String)", "['a dog', 'a cat']"),
}
_K = Parameter("k", "UInt32", "10")
_SIZES = (Parameter("min_width", "UInt32", "0"), Parameter("min_height", "UInt32", "0"))
# By the name of the filter in a table's layout.
_FILTERS = {
    "": (),
    "laion": (
        Parameter("nsfw", "Array(String)", "['UNLIKELY']"),
        Parameter("licenses", "Array(String)", "[]"),
        *_SIZES,
    ),
    "pictures": (Parameter("folder", "String", "''"), *_SIZES),
}
_MIN_RELEVANCE = Parameter("min_relevance", "Float32", "0.5")


@dataclass(frozen=True)
class View:
    """One search view.

    Attributes:
        name: Its name, without the suffix of a model.
        purpose: What it returns, used as the comment above its definition.
        target: Kind of the query: ``text``, ``path``, ``bytes`` or ``embedding``.
        vector: Whether ``image`` or ``text`` vectors are compared.
        filtered: Whether it takes the filter's parameters.
        relevant: Whether it takes ``min_relevance`` and drops what is below.
        template: The template of ``sql/templates`` that it is rendered from.
    """

    name: str
    purpose: str
    target: str
    vector: str = "image"
    filtered: bool = False
    relevant: bool = False
    template: str = "schema/view"

    def parameters(self, filtered_by: str = "laion") -> tuple[Parameter, ...]:
        """All its parameters, on a table with the filter ``filtered_by``."""
        return (
            _TARGETS[self.target],
            *((_K,) if self.target != "labels" else ()),
            *(_FILTERS[filtered_by] if self.filtered else ()),
            *((_MIN_RELEVANCE,) if self.relevant else ()),
        )


VIEWS = (
    View("search_by_text", "Images that match a text", "text"),
    View("search_by_image", "Images similar to the image in a file", "path"),
    View("search_by_image_bytes", "Images similar to an image, given as the content of its file", "bytes"),
    View("search_by_embedding", "Images nearest to a vector of a text or an image", "embedding"),
    View("search_captions_by_text", "Captions that match a text in meaning", "text", "text"),
    View(
        "search_captions_by_embedding",
        "Captions nearest to a vector of a text or an image",
        "embedding",
        "text",
    ),
    View(
        "search_filtered_by_text",
        "Images that pass a filter and match a text; [] or 0 lets everything pass",
        "text",
        filtered=True,
    ),
    View("search_filtered_by_embedding", "Images that pass a filter, nearest to a vector", "embedding", filtered=True),
    View(
        "search_relevant_by_text",
        "Images that match a text; no rows if none does",
        "text",
        relevant=True,
    ),
    View(
        "search_relevant_by_embedding",
        "Images near a vector; no rows if none is relevant",
        "embedding",
        relevant=True,
    ),
    View(
        "search_hybrid",
        "Images that match a text, or whose caption has its words (ClickHouse 26.4 and newer)",
        "text",
        template="schema/hybrid_view",
    ),
    View(
        "label_images",
        "Every image with the best of some labels, and the model's probability for it",
        "labels",
        template="schema/label_view",
    ),
)
