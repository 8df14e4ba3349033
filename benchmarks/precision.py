"""The int8 bundle beside the float32 one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.bulk import fill_captions, fill_pictures, in_turns
from benchmarks.deployment import Contender, install
from benchmarks.material import captions
from benchmarks.measurement import Bench, Measurement
from clip_udfs.bundle import INT8


def int8(bench: Bench) -> Iterator[Measurement]:
    """Captions and pictures by ours in int8 and in float32, in turns; vectors are compared with those of float32."""
    (ours, *_) = bench.deployment.contenders
    bundle = bench.deployment.models.bundle(precision=INT8)
    launcher = install(bench.deployment, bundle, bench.pictures[0].parent, "--pool-size", 1, "--suffix", INT8)
    quantized = Contender(
        INT8,
        f"{ours.label}, {INT8}",
        {kind: f"{name}_{INT8}" for kind, name in ours.functions.items()},
        {kind: [str(launcher), name] for kind, name in ours.functions.items()},
        header=True,
    )
    engine = bench.engine()
    fill_captions(engine, captions(bench.scale.captions, seed=21))
    fill_pictures(engine, bench.pictures)
    for table, kind, rows in (("captions", "text", bench.scale.captions), ("pictures", "path", len(bench.pictures))):
        for one in in_turns(bench, engine, table, kind, rows, (ours, quantized), "ours"):
            yield replace(one, work=f"int8, {one.work}")
    engine.close()
