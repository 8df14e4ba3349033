"""One ClickHouse configuration with every contender's functions in it, on one checkpoint."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from benchmarks.peers.row_by_row import ARCHITECTURE
from clip_udfs.settings import ROW_BINARY, TAB_SEPARATED

ROOT = Path(__file__).parents[2]
CONFIG = """<clickhouse>
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
        <return_name>embedding</return_name>
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
    """One implementation of CLIP in ClickHouse.

    Attributes:
        name: Key in the results.
        label: Its label for people.
        functions: SQL function for each kind of value that it accepts: ``text``, ``path``, ``bytes``.
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
    """A configuration, its data directory, and its contenders, ours first; :class:`Models` are for further ones."""

    config: Path
    data: Path
    models: Models
    contenders: tuple[Contender, ...] = ()


class Models:
    """ViT-B-32-quickgelu with random weights: the checkpoint, and its bundles of each kind, built once and kept."""

    def __init__(self, place: Path, say: Callable[[str], None]) -> None:
        """Keep them in ``place``; create the checkpoint if it does not exist."""
        self._place = place
        self._say = say
        self._digest = _builder_digest()
        self.checkpoint = place / "vit-b-32.safetensors"
        if not self.checkpoint.exists():
            place.mkdir(parents=True, exist_ok=True)
            _write_checkpoint(self.checkpoint)

    def bundle(self, *, precision: str = "fp32", engine: str = "onnx") -> Path:
        """The bundle of that kind; one that another version of the package built is built again."""
        kind = f"{precision}-{engine}"
        bundle = self._place / f"{kind}-{self._digest}"
        if not (bundle / "manifest.json").exists():
            self._say(f"building the bundle {kind} (once)")
            for old in self._place.glob(f"{kind}-*"):
                shutil.rmtree(old)
            _clip_udfs(
                *("build-model", "--model", ARCHITECTURE, "--pretrained", self.checkpoint, "--output", bundle),
                *("--precision", precision, "--engine", engine, "--name", f"vit-b-32-{kind}"),
            )
        return bundle


def _builder_digest() -> str:
    """A digest of the code that decides what is in a bundle."""
    digest = sha256()
    for folder in ("udfs/clip_udfs/encoders", "installer/clip_installer/models/build"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def install(deployment: Deployment, bundle: Path, pictures: Path, *options: object) -> Path:
    """Install ``bundle`` with install-udfs and return the launcher of its workers."""
    main_file = ("--server-config", deployment.config.parent)
    _clip_udfs("install", *main_file, "--model", bundle, "--image-root", pictures, "--no-ddl", *options)
    os.sync()  # pages not yet written to disk would count as private
    name = json.loads((bundle / "manifest.json").read_bytes())["name"]
    (launcher,) = deployment.data.glob(f"user_scripts/clip_udfs/{name}/*/launch")
    return launcher


def empty(place: Path, models: Models) -> Deployment:
    """A server's configuration below ``place`` with nothing installed."""
    shutil.rmtree(place, ignore_errors=True)
    config, data = place / "etc", place / "data"
    for directory in (config, data / "user_scripts", data / "user_files"):
        directory.mkdir(parents=True)
    (config / "config.xml").write_text(CONFIG.format(data=data))
    return Deployment(config / "config.xml", data, models)


def deploy(place: Path, models: Models, pictures: Path, say: Callable[[str], None]) -> Deployment:
    """Write the configuration below ``place`` and install everyone, with one process per pool."""
    bundle, checkpoint = models.bundle(), models.checkpoint
    deployment = empty(place, models)
    config, scripts = deployment.config.parent, deployment.data / "user_scripts"
    say("installing ours with install-udfs")
    ours = install(deployment, bundle, pictures, "--pool-size", 1)
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
        wire = ROW_BINARY if form == "RowBinary" else TAB_SEPARATED
        _install(config, scripts, f"null_{form}", _command(["null_model"], form), wire, header=True)
    return replace(deployment, contenders=tuple(contenders))


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
        _install(config, scripts, function, commands[kind], TAB_SEPARATED, header=header)
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
