"""Measured costs to plan with: those in the package, or those of another machine's benchmarks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_installer.errors import ConfigurationError

RECORDED = Path(__file__).parent / "recorded_figures"
_WORKS = {"captions": "captions", "pictures from disk": "pictures", "one text, warm": "one text"}
_IMPORT = "LAION part, files to table"
COSTED_WORKS = (*_WORKS, _IMPORT)


@dataclass(frozen=True)
class IndexCost:
    """What one HNSW index costs, measured on a table of ``rows``.

    Attributes:
        rows: Rows of the table that was measured.
        bytes_per_row: Memory of the index, graph included.
        build_seconds: Seconds of one core to add a row.
        index_seconds: Seconds of one core to search the index alone.
        view_seconds: Seconds of one core for a search as the views do it, including exact ranking of the candidates.
        recall: Share of the true neighbours that the index alone finds.
    """

    rows: int
    bytes_per_row: float
    build_seconds: float
    index_seconds: float
    view_seconds: float
    recall: float


@dataclass(frozen=True)
class ScanCost:
    """The cost of searching without an index: reading vectors as QBit, or comparing their quantized codes.

    Attributes:
        bytes_per_row: On disk, compressed, all bits; of codes, with the vectors.
        seconds_per_row: Seconds of one core for each row of a search.
        recall: Share of the true neighbours that are found.
    """

    bytes_per_row: float
    seconds_per_row: float
    recall: float


@dataclass(frozen=True)
class Figures:
    """Everything that an estimate is computed from, in seconds of one core.

    Attributes:
        dimension: Length of the vectors of ``indexes`` and ``scans``.
        encoding: Seconds of one core for a row: of ``captions``, ``pictures``, and ``one text``.
        indexes: The measured table sizes by quantization and M, smallest first.
        scans: QBit, by the bits read of each number.
        origins: Where the figures come from: command, machine, load.
        import_seconds: Wall-clock seconds per row of one import-laion on two cores; None if not measured.
        codes: Quantized codes, by their method; empty if not measured.
    """

    dimension: int
    encoding: dict[str, float]
    indexes: dict[tuple[str, int], list[IndexCost]]
    scans: dict[int, ScanCost]
    origins: tuple[str, ...]
    import_seconds: float | None = None
    codes: Mapping[str, ScanCost] = field(default_factory=dict)


def read_figures(files: Sequence[Path] = ()) -> Figures:
    """The recorded figures, overridden by those in ``files``.

    Args:
        files: Output of ``python -m benchmarks`` (``results.json``) or ``python -m benchmarks.search.vector_index``.

    Raises:
        ConfigurationError: A file is neither.
    """
    encoding, vectors = (_load(RECORDED / name) for name in ("encoding.json", "vector_index.json"))
    for file in files:
        found = _load(file)
        if "vector_index" in found:
            vectors = found
        else:
            encoding = found
    try:
        return _figures(encoding, vectors)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{', '.join(map(str, files))}: no complete measurement ({error!r})") from error


def _load(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read figures from {file}: {error}") from error
    if not isinstance(found, dict) or not {"measurements", "vector_index"} & found.keys():
        raise ConfigurationError(
            f"{file} has no figures: give what python -m benchmarks or python -m benchmarks.search.vector_index wrote"
        )
    return found


def _figures(encoding: dict[str, Any], vectors: dict[str, Any]) -> Figures:
    cores = int(encoding["machine"]["cores"])
    rows = {
        _WORKS[one["work"]]: statistics.median(one["values"]) * cores
        for one in encoding["measurements"]
        if one["contender"] == "ours" and one["work"] in _WORKS
    }
    if missing := sorted(set(_WORKS.values()) - rows.keys()):
        raise ValueError(f"nothing about {', '.join(missing)}")
    indexes: dict[tuple[str, int], list[IndexCost]] = {}
    scans: dict[int, ScanCost] = {}
    codes: dict[str, ScanCost] = {}
    for one in sorted(vectors["vector_index"], key=lambda one: int(one["rows"])):
        if one["kind"] == "hnsw":
            cost = IndexCost(
                one["rows"],
                one["bytes_per_row"],
                one["build_core_seconds_per_row"],
                one["index_core_seconds_per_query"],
                one["view_core_seconds_per_query"],
                one["index_recall"],
            )
            indexes.setdefault((one["quantization"], one["m"]), []).append(cost)
        elif one["kind"] in ("qbit", "codes"):
            # The largest table wins, because the fixed cost of a query matters least there.
            scan = ScanCost(one["bytes_per_row"], one["core_seconds_per_row_and_query"], one["recall"])
            if one["kind"] == "qbit":
                scans[one["bits"]] = scan
            else:
                codes[one["method"]] = scan
    parts = [one for one in encoding["measurements"] if (one["contender"], one["work"]) == ("ours", _IMPORT)]
    return Figures(
        dimension=int(vectors["dimension"]),
        encoding=rows,
        indexes=indexes,
        scans=scans,
        origins=(_origin(encoding), _origin(vectors)),
        import_seconds=statistics.median(parts[0]["values"]) / parts[0]["rows"] if parts else None,
        codes=codes,
    )


def _origin(found: dict[str, Any]) -> str:
    machine, load = found["machine"], found["load_average"]
    return (
        f"`{found['command']}` on {machine['cores']} cores, {machine['cpu']},"
        f" load average {load['least']:.1f} to {load['most']:.1f}"
    )
