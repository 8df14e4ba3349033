"""One ClickHouse configuration with every contender's functions in it, on one checkpoint."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.peers.row_by_row import ARCHITECTURE

ROOT = Path(__file__).parent.parent
_CONFIG = """<clickhouse>
    <path>{data}/</path>
    <user_scripts_path>{data}/user_scripts/</user_scripts_path>
    <user_files_path>{data}/user_files/</user_files_path>
    <user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config>
    <logger><level>none</level></logger>
</clickhouse>
"""
_FUNCTION = """<functions>
    <function>
        <type>executable_pool</type>
        <name>{name}</name>
        <argument><type>String</type><name>value</name></argument>
        <return_type>Array(Float32)</return_type>
        <format>{form}</format>
        <command>{command}</command>
        <pool_size>1</pool_size>
        <send_chunk_header>{header}</send_chunk_header>
        <command_read_timeout>600000</command_read_timeout>
        <command_write_timeout>600000</command_write_timeout>
        <max_command_execution_time>600</max_command_execution_time>
    </function>
</functions>
"""


@dataclass(frozen=True)
class Contender:
    """One way to have CLIP in ClickHouse.

    Attributes:
        name: Key in the results.
        label: What people read.
        functions: SQL function of each kind of value that it takes: ``text``, ``path``, ``bytes``.
        commands: The program that ClickHouse starts for each kind.
        header: Whether blocks have headers.
    """

    name: str
    label: str
    functions: dict[str, str]
    commands: dict[str, list[str]]
    header: bool


@dataclass(frozen=True)
class Deployment:
    """The configuration, its data directory, and who is in it, ours first."""

    config: Path
    data: Path
    bundle: Path
    contenders: tuple[Contender, ...]

    def find(self, name: str) -> Contender | None:
        """The contender of that name, if it is installed."""
        return next((one for one in self.contenders if one.name == name), None)


def model(place: Path, say: Callable[[str], None]) -> tuple[Path, Path]:
    """Checkpoint and bundle of ViT-B-32-quickgelu with random weights; made once, then kept in ``place``."""
    checkpoint, bundle = place / "vit-b-32.safetensors", place / "bundle"
    if not (bundle / "manifest.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        say("making the checkpoint and its bundle (once)")
        if not checkpoint.exists():
            _write_checkpoint(checkpoint)
        _clip_udfs("build-model", "--model", ARCHITECTURE, "--pretrained", checkpoint, "--output", bundle)
    return checkpoint, bundle


def deploy(place: Path, checkpoint: Path, bundle: Path, pictures: Path, say: Callable[[str], None]) -> Deployment:
    """Write the configuration below ``place`` and install everyone, with one process per pool."""
    shutil.rmtree(place, ignore_errors=True)
    config, data = place / "etc", place / "data"
    scripts = data / "user_scripts"
    for directory in (config, scripts, data / "user_files"):
        directory.mkdir(parents=True)
    (config / "config.xml").write_text(_CONFIG.format(data=data))
    say("installing ours with install-udfs")
    _clip_udfs(
        *("install", "--server-config", config, "--model", bundle, "--image-root", pictures),
        *("--pool-size", 1, "--no-ddl"),
    )
    os.sync()  # pages that are not on the disk yet would count as private
    (ours,) = (data / "user_scripts/clip_udfs").glob("*/launch")
    kinds = {"text": "encode_text", "path": "encode_image", "bytes": "encode_image_bytes"}
    contenders = [
        Contender("ours", "clickhouse-clip-udfs", kinds, {k: [str(ours), f] for k, f in kinds.items()}, header=True),
        _peer(config, scripts, "guide", "the guide's script", ["row_by_row"], checkpoint, ("text", "path")),
        _peer(config, scripts, "open_clip", "open_clip, batch 64", ["batches", "open_clip"], checkpoint),
    ]
    if find_spec("transformers") is not None:
        command = ["batches", "transformers"]
        contenders.append(_peer(config, scripts, "transformers", "transformers, batch 64", command, checkpoint))
    for form in ("TabSeparated", "RowBinary", "list"):
        wire = "RowBinary" if form == "RowBinary" else "TabSeparated"
        _install(config, scripts, f"null_{form}", _command(["null_model"], form), wire, header=True)
    return Deployment(config / "config.xml", data, bundle, tuple(contenders))


def _peer(
    config: Path,
    scripts: Path,
    name: str,
    label: str,
    program: list[str],
    checkpoint: Path,
    kinds: tuple[str, ...] = ("text", "path", "bytes"),
) -> Contender:
    functions = {kind: f"{name}_{kind}" for kind in kinds}
    commands = {kind: _command(program, kind, checkpoint) for kind in kinds}
    header = name != "guide"
    for kind, function in functions.items():
        _install(config, scripts, function, commands[kind], "TabSeparated", header=header)
    return Contender(name, label, functions, commands, header)


def _command(program: list[str], *arguments: object) -> list[str]:
    module, *first = program
    return [
        *("/usr/bin/env", f"PYTHONPATH={os.pathsep.join((str(ROOT), *filter(None, sys.path)))}"),
        *(sys.executable, "-m", f"benchmarks.peers.{module}", *first, *map(str, arguments)),
    ]


def _install(config: Path, scripts: Path, name: str, command: list[str], form: str, *, header: bool) -> None:
    script = scripts / name
    script.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    script.chmod(0o755)
    text = _FUNCTION.format(name=name, command=name, form=form, header=int(header))
    (config / f"{name}_function.xml").write_text(text)


def _clip_udfs(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "clip_installer", *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if arguments[0] == "build-model" else None,
    )


def _write_checkpoint(path: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = open_clip.create_model(ARCHITECTURE).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
