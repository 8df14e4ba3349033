"""Server trees and bundles for tests that change files and start no worker."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from clip_installer.install.files.placement import BUNDLE, page_drop_in
from clip_installer.install.files.wanted import READABLE, Installation, WantedFile
from clip_installer.install.plan.plan import Plan
from clip_installer.install.plan.planning import plan_install
from clip_installer.install.records.records import load_records
from clip_installer.install.request.options import Options
from clip_installer.install.request.target import Target
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser
from clip_udfs.bundle import Bundle
from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import WorkerSettings
from clip_udfs.verified import VERIFIED

GLOB = "<user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config>"


def make_config(root: Path, text: str | None = None, **others: str) -> Path:
    """A configuration directory below ``root``; ``@`` in any text stands for ``root``, ``__`` in a name for ``/``."""
    directory = root / "etc"
    files = {"config.xml": text or f"<clickhouse><path>@/var/</path>{GLOB}</clickhouse>"}
    files |= {name.replace("__", "/"): content for name, content in others.items()}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("@", str(root)))
    (root / "var").mkdir(exist_ok=True)
    return directory


def make_bundle(directory: Path, name: str = "paper", weights: bytes = b"weights") -> Bundle:
    """A bundle whose manifest is in order and whose weights are nothing."""
    contents = {"text.weights": weights, "image.weights": weights, "tokenizer.json": b"{}", "golden.json": b"{}"}
    directory.mkdir(parents=True)
    for file, content in contents.items():
        (directory / file).write_bytes(content)
    manifest = {
        "format_version": 1,
        "name": name,
        "architecture": "none",
        "pretrained": "",
        "dimension": 4,
        "text": {"clean": "lower", "context_length": 8, "start_id": 1, "end_id": 2, "pad_id": 0, "trim": True},
        "image": {
            "size": [8, 8],
            "resize_mode": "shortest",
            "interpolation": "bicubic",
            "fill_color": 0,
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
        },
        "notice": "",
        "versions": {},
        "files": {
            file: {"bytes": len(content), "sha256": sha256(content).hexdigest()} for file, content in contents.items()
        },
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(directory)


def make_plan(
    config_directory: Path, bundle: Bundle, *, force: bool = False, page: bytes | None = None, **settings: object
) -> Plan:
    """The plan of an install of ``bundle`` by the current user, against what is on the disk."""
    target = make_target(config_directory)
    worker = WorkerSettings(bundle=Path(), image_roots=(target.config.user_files_path,), **settings)
    pools = dict.fromkeys(FUNCTIONS, 2)
    installation = Installation.placed(target.config, bundle, Path(sys.executable), worker, pools)
    if page is not None:
        path = page_drop_in(target.config, worker.suffix)
        installation = replace(installation, page=WantedFile(path, READABLE, "serves /clip", page))
    return plan_install(target, installation, options=Options(), force=force)


def make_target(config_directory: Path) -> Target:
    """The server, with the current user as its own."""
    config = ServerConfig.read(config_directory)
    return Target(config, load_records(config), ServerUser.current("test"))


def snapshot(root: Path) -> dict[str, tuple[int, bytes | None]]:
    """Mode and content of everything below ``root``; None for a directory.

    Of the record of hashed files, the files and their hashes: inodes and times are others in each tree.
    """
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.lstat().st_mode), _content(path) if path.is_file() else None)
        for path in sorted(root.rglob("*"))
    }


def _content(path: Path) -> bytes:
    if path.name != VERIFIED or path.parent.name == BUNDLE:
        return path.read_bytes()
    files = json.loads(path.read_bytes())["files"]
    return json.dumps({name: one["sha256"] for name, one in files.items()}).encode()


def open_the_way(path: Path) -> None:
    """Let everybody enter pytest's own directories above ``path``."""
    for directory in (path, *path.parents):
        if directory.stat().st_uid == os.geteuid() and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
