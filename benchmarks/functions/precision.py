"""The int8 bundle compared with the float32 one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.functions.bulk import beside_ours
from benchmarks.functions.measurement import Bench, Measurement
from clip_udfs.manifest import INT8


def int8(bench: Bench) -> Iterator[Measurement]:
    """Encode captions and images with ours in int8 and in float32, in turns; compare vectors with float32."""
    bundle = bench.deployment.models.bundle(precision=INT8)
    for one in beside_ours(bench, bundle, INT8, INT8, "--pool-size", 1):
        yield replace(one, work=f"int8, {one.work}")
