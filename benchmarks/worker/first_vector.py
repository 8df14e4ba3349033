"""A worker's first vector: seconds, and CPU seconds, from its start until the vector arrives.

``python -m benchmarks.worker.first_vector WORKER.JSON`` starts workers in turns, with the ``worker.json`` of an
installed model: as installed, and without the installer's record of hashed files, so that every file is hashed. With
``--before REVISION``, workers of that commit take part, for the same model as that commit's ``install-udfs`` installs
it. All must return identical bits.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.functions.deployment import CONFIG
from clip_udfs.encoders.prepared import FOLDER
from clip_udfs.manifest import MANIFEST
from clip_udfs.settings import TAB_SEPARATED, WorkerSettings

ROOT = Path(__file__).parents[2]
_TEXT = b"first query"
# As the launcher has it.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_FIELDS = "from clip_udfs.manifest import Manifest; print('format_version', *Manifest.__dataclass_fields__)"


@dataclass(frozen=True)
class Start:
    """One start of a worker: seconds until its vector arrived, CPU seconds of its whole life, and the vector."""

    seconds: float
    cpu: float
    vector: bytes


@dataclass(frozen=True)
class Kind:
    """Workers to compare: the interpreter that has their code, and their settings."""

    python: Path
    settings: Path

    def start(self) -> Start:
        """Start one, ask for one vector, and end it.

        Raises:
            RuntimeError: It returned none.
        """
        command = [self.python, "-I", "-m", "clip_udfs", "encode_text", "--settings", self.settings]
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT, bufsize=0
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdin, process.stdout, process.stderr:
            process.stdin.write(b"1\n" + _TEXT + b"\n")
            vector = process.stdout.read(1 << 16)
            seconds = time.perf_counter() - begun
            process.stdin.close()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if not vector or process.returncode:
                raise RuntimeError(f"the worker gave no vector: {process.stderr.read().decode()}")
        return Start(seconds, used.ru_utime + used.ru_stime, vector)


@contextmanager
def kinds(settings: Path, before: str | None = None) -> Iterator[dict[str, Kind]]:
    """The kinds of workers for ``settings``, the installed first; with those of the commit ``before`` where given."""
    with tempfile.TemporaryDirectory(prefix="clip-udfs-first-") as scratch:
        worker = replace(WorkerSettings.load(settings), format=TAB_SEPARATED)
        installed, copied = Path(scratch) / "installed.json", Path(scratch) / "copied.json"
        bundle = Path(scratch) / "bundle"  # beside which there is no record
        bundle.symlink_to(worker.bundle)
        installed.write_text(worker.to_json())
        copied.write_text(replace(worker, bundle=bundle).to_json())
        python = _environment(ROOT, Path(scratch) / "now")
        found = {"as installed": Kind(python, installed), "every file hashed": Kind(python, copied)}
        if before is None:
            yield found
            return
        tree = Path(scratch) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), before], check=True, capture_output=True)
        try:
            python = _environment(tree, Path(scratch) / "then")
            yield found | {before: Kind(python, _installed_by(python, worker, Path(scratch)))}
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _environment(tree: Path, place: Path) -> Path:
    """The interpreter of an environment with the package of ``tree``, and with the other packages of this one."""
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    paths = (tree / "installer", tree / "udfs", sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    (packages / "compared.pth").write_text("".join(f"{path}\n" for path in paths))
    return place / "bin/python"


def _installed_by(python: Path, worker: WorkerSettings, scratch: Path) -> Path:
    """Install the model of ``worker`` with the package that ``python`` has; the settings of its workers.

    Raises:
        RuntimeError: That package cannot do it.
    """
    place = scratch / "server"
    for directory in ("etc", "data/user_scripts", "data/user_files"):
        (place / directory).mkdir(parents=True)
    (place / "etc/config.xml").write_text(CONFIG.format(data=place / "data"))
    bundle = _readable_by(python, worker.bundle, scratch / "readable")
    command = [python, "-m", "clip_installer", "install", "--server-config", place / "etc", "--no-ddl"]
    _run([*command, "--model", bundle, "--threads", str(worker.threads)])
    (path,) = (place / "data/user_scripts/clip_udfs").glob("*/*/worker.json")
    values = json.loads(path.read_bytes())
    settings = scratch / "before.json"
    settings.write_text(json.dumps(values | {"format": TAB_SEPARATED, "bundle": str(path.parent / values["bundle"])}))
    return settings


def _readable_by(python: Path, bundle: Path, copy: Path) -> Path:
    """``bundle``, or a copy of it without what the package that ``python`` has does not know yet."""
    known = _run([python, "-I", "-c", _FIELDS]).split()
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    if set(manifest) <= set(known):
        return bundle
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns(FOLDER))
    (copy / MANIFEST).write_text(json.dumps({name: value for name, value in manifest.items() if name in known}))
    return copy


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))} failed: {done.stderr.strip()}")
    return done.stdout


def in_turns(among: Mapping[str, Kind], turns: int) -> dict[str, list[Start]]:
    """Starts of each kind, in turns, so that other load slows all alike; a first round is not counted.

    Raises:
        RuntimeError: Two vectors differ in a bit.
    """
    rounds = [{name: kind.start() for name, kind in among.items()} for _ in range(turns + 1)][1:]
    if len({start.vector for one in rounds for start in one.values()}) != 1:
        raise RuntimeError("the workers do not give the same bits")
    return {name: [one[name] for one in rounds] for name in among}


@click.command()
@click.argument("settings", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--before", metavar="REVISION", help="Compare with the workers of this commit.")
@click.option("--turns", type=click.IntRange(1), default=15, show_default=True, help="Starts of each kind.")
def main(settings: Path, before: str | None, turns: int) -> None:
    """Start workers in turns and print the medians as one JSON object."""
    load = machine.load()
    with kinds(settings, before) as among:
        started = in_turns(among, turns)
    found = {
        name: {
            "milliseconds": round(1000 * statistics.median(one.seconds for one in starts), 1),
            "cpu_milliseconds": round(1000 * statistics.median(one.cpu for one in starts), 1),
        }
        for name, starts in started.items()
    }
    first = started["as installed"]
    for name, starts in started.items():
        pairs = list(zip(first, starts, strict=True))
        found[name]["share"] = round(statistics.median(a.seconds / b.seconds for a, b in pairs), 3)
        found[name]["cpu_share"] = round(statistics.median(a.cpu / b.cpu for a, b in pairs), 3)
    described = machine.describe()
    result = {"starts": found, "turns": turns, "cpu": described["cpu"], "cores": described["cores"]}
    click.echo(json.dumps({**result, "load_average": [load, machine.load()]}, indent=1))


if __name__ == "__main__":
    main()
