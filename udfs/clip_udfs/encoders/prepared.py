"""Graphs prepared for one host: optimised, and with their weights packed as its CPU multiplies them.

Beside them is the tokenizer as a table, which a worker need not parse (:mod:`clip_udfs.text.merges`).

Packed weights are mapped from the file like plain ones, so all workers of a machine share one copy, and a worker starts
without optimising or packing anything. They fit one kind of CPU and one version of ONNX Runtime, recorded in
``host.json``; elsewhere, a worker uses the bundle's own graphs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.weight_files import refuse_foreign_weights
from clip_udfs.errors import BundleError, EngineError
from clip_udfs.functions import Tower
from clip_udfs.integrity import read_regular
from clip_udfs.integrity import sha256 as sha256_of_file
from clip_udfs.manifest import TOKENIZER, FileRecord

FOLDER = "prepared"
MERGES = "merges.bin"
RECORD = "host.json"
MODEL = "{tower}.onnx"
TOWERS: tuple[Tower, ...] = ("text", "image")

_CPU_INFO = Path("/proc/cpuinfo")
# The flags by which the runtime chooses a kernel. A newer Linux may list further flags, which do not matter.
_CPU_KEYS = re.compile(r"vendor_id|cpu family|model|CPU (implementer|architecture|variant|part)")
_CPU_FLAGS = re.compile(r"(avx|amx|sse|ssse|fma|f16c|asimd|sve|sme|i8mm|bf16|fphp)\w*")
# The runtime places only tensors of at least this size at page boundaries. Mapping packed weights from anywhere else
# crashes it, because its kernels use aligned loads; so smaller ones stay inside the graph and are packed at each start.
_MIN_EXTERNAL_BYTES = 1 << 20
_ALIGNMENT = 64
_MOST_RECORD_BYTES = 1 << 20
# There is no record, or an incomplete one.
_NOT_WRITTEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BundleError)
_PACKED_PLACE = re.compile(rb"\|(\d+);\d+;")
_SPOKEN = {
    "machine": "kind of machine",
    "cpu": "CPU",
    "onnxruntime": "version of ONNX Runtime",
    "model": "version of the model",
}


def host_key(bundle: Bundle) -> dict[str, str]:
    """What prepared files of ``bundle`` depend on, for this host: machine, CPU, ONNX Runtime, and the model."""
    import onnxruntime

    digests = "".join(
        f"{name} {record.sha256}\n"
        for name, record in sorted(bundle.manifest.files.items())
        if ".onnx" in name or name == TOKENIZER
    )
    return {
        "machine": os.uname().machine,
        "cpu": _cpu(),
        "onnxruntime": onnxruntime.__version__,
        "model": sha256(digests.encode()).hexdigest(),
    }


def graph_files(bundle: Bundle, tower: Tower) -> tuple[Path, bool, dict[Path, FileRecord]]:
    """The graph of ``tower`` to load: the one prepared for this host, otherwise the bundle's own.

    Returns:
        Its path, whether it is the prepared one, and the records of the files that loading it reads.

    Raises:
        BundleError: The bundle has no such graph.
    """
    graph = MODEL.format(tower=tower)
    plain = bundle.file(graph)
    stale, records = _prepared(bundle)
    if stale is None:
        folder = bundle.directory / FOLDER
        return folder / graph, True, _of_graph(folder, graph, records)
    return plain, False, _of_graph(bundle.directory, graph, bundle.manifest.files)


def merges_file(bundle: Bundle) -> dict[Path, FileRecord]:
    """The bundle's tokenizer table with its record; empty if there is none for this host."""
    stale, records = _prepared(bundle)
    return {} if stale or MERGES not in records else {bundle.directory / FOLDER / MERGES: records[MERGES]}


def likely_files(bundle: Bundle, tower: Tower) -> dict[Path, FileRecord]:
    """What :func:`graph_files` will return unless this host has changed; needs no import of the runtime."""
    graph, folder = MODEL.format(tower=tower), bundle.directory / FOLDER
    try:
        return _of_graph(folder, graph, _written(folder)[1])
    except _NOT_WRITTEN:
        return _of_graph(bundle.directory, graph, bundle.manifest.files)


def _of_graph(folder: Path, graph: str, records: Mapping[str, FileRecord]) -> dict[Path, FileRecord]:
    return {folder / name: record for name, record in records.items() if name.startswith(graph)}


def stale_because(bundle: Bundle) -> str | None:
    """Why the prepared graphs of ``bundle`` cannot be used here, in a few words; None if they can."""
    return _prepared(bundle)[0]


def _prepared(bundle: Bundle) -> tuple[str | None, dict[str, FileRecord]]:
    """What :func:`stale_because` says, and the records of the prepared files, from one read."""
    folder = bundle.directory / FOLDER
    try:
        written, records = _written(folder)
    except _NOT_WRITTEN:
        return "there are none", {}
    for name, value in host_key(bundle).items():
        if written.get(name) != value:
            return f"they were made for another {_SPOKEN[name]}", records
    for name, record in records.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != record.bytes:
            return f"{path} is not as it was written", records
    return None, records


def _written(folder: Path) -> tuple[Mapping[str, str], dict[str, FileRecord]]:
    record = json.loads(read_regular(folder / RECORD, _MOST_RECORD_BYTES))
    return dict(record["key"]), {name: FileRecord(**one) for name, one in record["files"].items()}


def prepare(bundle: Bundle, folder: Path) -> tuple[str, ...]:
    """Write the graphs of ``bundle``, prepared for this host, and ``host.json`` into ``folder``.

    Args:
        bundle: A bundle with the ONNX engine's graphs.
        folder: An existing directory; the files belong in the bundle's folder ``prepared``.

    Returns:
        The names of the written files; none if the bundle has no such graphs, or weights that cannot be mapped in
        packed form.

    Raises:
        EngineError: A graph names weights outside the bundle, ONNX Runtime refuses it, or the files cannot be written.
    """
    towers = [tower for tower in TOWERS if MODEL.format(tower=tower) in bundle.manifest.files]
    if not towers:
        return ()
    for tower in towers:
        target = folder / MODEL.format(tower=tower)
        graph = bundle.file(target.name)
        refuse_foreign_weights(graph, bundle.manifest.files)
        _write(graph, target)
        if any(int(place[1]) % _ALIGNMENT for place in _PACKED_PLACE.finditer(target.read_bytes())):
            for path in folder.iterdir():
                path.unlink()
            return ()
    if TOKENIZER in bundle.manifest.files:
        from clip_udfs.text.merges import write_merges

        write_merges(bundle.file(TOKENIZER), folder / MERGES)
    files = {
        path.name: asdict(FileRecord(path.stat().st_size, sha256_of_file(path))) for path in sorted(folder.iterdir())
    }
    record = {"key": host_key(bundle), "files": files}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return (*files, RECORD)


def _write(graph: Path, target: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the result fits this host only, which is the purpose
    options.optimized_model_filepath = str(target)
    for name, value in (
        ("session.save_external_prepacked_constant_initializers", "1"),
        ("session.optimized_model_external_initializers_file_name", f"{target.name}.data"),
        ("session.optimized_model_external_initializers_min_size_in_bytes", str(_MIN_EXTERNAL_BYTES)),
    ):
        options.add_session_config_entry(name, value)
    try:
        onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no base class
        raise EngineError(f"ONNX Runtime cannot prepare {graph}: {' '.join(str(error).split())}") from error


def _cpu() -> str:
    """Maker, model and vector instructions of the CPU, shortened to a digest."""
    facts = []
    try:
        first = _CPU_INFO.read_text(encoding="ascii", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return ""  # not Linux: the machine's name must suffice
    for line in first.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name in ("flags", "Features"):
            facts.append(" ".join(sorted(flag for flag in value.split() if _CPU_FLAGS.fullmatch(flag))))
        elif _CPU_KEYS.fullmatch(name):
            facts.append(value)
    return sha256("\n".join(facts).encode()).hexdigest()
