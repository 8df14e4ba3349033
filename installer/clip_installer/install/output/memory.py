"""The memory of an installation as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

from clip_installer.planning.sizing import PlannedMemory, spoken

# ClickHouse's default of vector_similarity_index_cache_size.
_INDEX_CACHE = 5 << 30


def memory_lines(memory: PlannedMemory) -> Iterator[str]:
    """What the workers, the images that they decode, and the vector indexes will take."""
    workers, decoding, index = memory.workers, memory.decoding, memory.index
    for tower, size in workers.worker.items():
        weights = spoken(workers.weights[tower])
        said = "of weights, which all its workers share" if workers.shared else "of weights in each"
        yield f"{spoken(size):>9}  a worker of encode_{tower}, and {weights} {said}"
    yield f"{spoken(workers.total):>9}  all functions with all their workers; a worker starts with the first query"
    yield (
        f"{spoken(decoding.worker):>9}  at most for the images that one worker decodes at once, each of up to"
        f" {spoken(decoding.image)} (--max-image-memory)"
    )
    yield f"{spoken(decoding.total):>9}  if every worker decodes images at that limit, which photographs are far from"
    if index is not None:
        yield (
            f"{spoken(index.total):>9}  both vector indexes of {index.rows:,} rows: twice"
            f" {spoken(index.vectors)} of vectors and {spoken(index.graph)} of graph"
        )
        if index.total > _INDEX_CACHE:
            yield (
                "           more than ClickHouse keeps by default: set vector_similarity_index_cache_size"
                f" to {index.total}"
            )
        yield f"{spoken(index.table):>9}  on disk for the vectors of these rows"
