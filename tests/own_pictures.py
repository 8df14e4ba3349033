"""index-pictures, shown on many pictures: mixed formats, odd names, some broken; killed twice, resumed, changed.

``python -m tests.own_pictures --pictures 20000`` generates them, starts a server, and prints what it measured. It fails
where a picture is lost, double, or refused without a reason. tests/server/test_own_pictures.py is its small form.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.picture_files import BROKEN, spoil, write_picture, write_pictures
from tests.processes import command_line, resident_bytes, without_children
from tests.server.running import RunningServer, ServerPlace, running_server

KILLED_AT = (0.15, 0.45)  # shares of the pictures in the table
_SAMPLED = 0.1  # seconds between two looks at the processes


@dataclass
class Run:
    """One run of the command, watched.

    Attributes:
        answer: Its JSON object; empty where it was killed.
        seconds: How long it took.
        cpu: CPU seconds of the command alone.
        peak: Most bytes of memory that it held (resident set size).
        busy: Share of the looks in which a worker that encodes had a block.
    """

    answer: dict[str, object] = field(default_factory=dict)
    seconds: float = 0
    cpu: float = 0
    peak: int = 0
    busy: float = 0


def run(server: RunningServer, root: Path, *options: str, kill_at: int | None = None) -> Run:
    """Run the command on ``root``; ``kill_at`` kills it when the table has so many rows."""
    command = [sys.executable, "-m", "clip_installer", "index-pictures", str(root), "--url", server.url(), "--json"]
    began, looks, working, asked, encoding = time.monotonic(), 0, 0, 0.0, False
    made, before = Run(), _cpu_of_children()
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            made.peak = max(made.peak, resident_bytes(watched))
            if time.monotonic() > asked + 1:
                encoding, rows = _progress(server)
                asked = time.monotonic()
                if kill_at is not None and rows >= kill_at:
                    process.send_signal(signal.SIGKILL)
            if encoding:
                states = [_has_a_block(one) for one in _encoders(server.place)]
                looks, working = looks + len(states), working + sum(states)
            time.sleep(_SAMPLED)
        output, error = process.communicate()
    made.seconds = time.monotonic() - began
    made.cpu = _cpu_of_children() - before
    made.busy = working / looks if looks else 0
    if process.returncode == 0:
        made.answer = json.loads(output)
    elif kill_at is None:
        raise AssertionError(error)
    return made


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _progress(server: RunningServer) -> tuple[bool, int]:
    """Whether pictures are being encoded, and how many the table has."""
    ((encoding, rows),) = server.rows(
        "SELECT (SELECT count() > 0 FROM system.processes WHERE query LIKE '%try_encode_image%'"
        " AND query_id != queryID()),"
        " ifNull((SELECT sum(rows) FROM system.parts WHERE table = 'pictures' AND active), 0)"
    )
    return bool(encoding), int(rows)


def _encoders(place: ServerPlace) -> list[psutil.Process]:
    """The workers of try_encode_image, without the processes that decode for them."""
    return without_children(one for one in place.processes() if "try_encode_image" in command_line(one))


def _has_a_block(process: psutil.Process) -> bool:
    """Whether the worker does anything but wait for the next block, which is a read of its standard input."""
    try:
        called = Path(f"/proc/{process.pid}/syscall").read_text().split()
    except OSError:
        return False
    return called[:2] != ["0", "0x0"]


def paths(server: RunningServer, table: str) -> set[bytes]:
    """The paths in a table; fails if one is there twice."""
    found = [bytes.fromhex(path) for (path,) in server.rows(f"SELECT hex(path) FROM {table}")]
    assert len(found) == len(set(found)), f"{table} has a path twice"
    return set(found)


def check(server: RunningServer, good: set[bytes], bad: set[bytes]) -> None:
    """Every picture is in the table once, or among the refusals with its reason."""
    assert paths(server, "pictures") == good
    assert paths(server, "pictures_refusals") == bad
    assert server.rows("SELECT count() FROM pictures_refusals WHERE reason = '' OR startsWith(reason, '\\'')") == [(0,)]
    assert server.rows("SELECT count() FROM pictures WHERE length(image_embedding) != 512 OR thumbnail = ''") == [(0,)]


def check_search(server: RunningServer, good: set[bytes]) -> None:
    """A view finds as many pictures as it is asked for, although the index still proposes deleted ones."""
    target = "(SELECT image_embedding FROM pictures ORDER BY path LIMIT 1)"
    for wanted in (40, len(good) + 1):
        found = server.rows(f"SELECT hex(path) FROM search_pictures_by_embedding(embedding = {target}, k = {wanted})")
        assert len(found) == min(wanted, len(good))
        assert {bytes.fromhex(path) for (path,) in found} <= good


def change(good: set[bytes], bad: set[bytes], root: Path) -> tuple[set[bytes], set[bytes]]:
    """Touch, change, rename, delete, spoil and mend some; what must be in the table, and what refused, afterwards."""
    chosen = sorted(good)[:: max(1, len(good) // 6)][:5]
    touched, changed, renamed, deleted, spoiled = (Path(os.fsdecode(path)) for path in chosen)
    mended = sorted(bad)[0]
    os.utime(touched, ns=(1, 10**18))
    write_picture(changed, "PNG", 1_000_001)
    renamed.rename(renamed.with_name("new\nname é.png"))
    deleted.unlink()
    spoil(spoiled, 1)
    write_picture(Path(os.fsdecode(mended)), "PNG", 1_000_002)
    new = os.fsencode(renamed.with_name("new\nname é.png"))
    gone = {os.fsencode(renamed), os.fsencode(deleted), os.fsencode(spoiled)}
    return (good - gone) | {new, mended}, (bad - {mended}) | {os.fsencode(spoiled)}


def demonstrate(server: RunningServer, root: Path, pictures: int, kill_at: Sequence[float] = KILLED_AT) -> list[Run]:
    """Index ``pictures`` new pictures below ``root``, killed and resumed, then again, then changed; all checked."""
    written = dict(write_pictures(root, range(pictures), min(BROKEN, pictures // 4)))
    good = {path for path, is_good in written.items() if is_good}
    bad = set(written) - good
    runs = [run(server, root, kill_at=int(share * pictures)) for share in kill_at]
    runs.append(run(server, root))
    check(server, good, bad)
    runs.append(run(server, root))
    assert (runs[-1].answer["encoded"], runs[-1].answer["changed"]) == (0, False)
    good, bad = change(good, bad, root)
    runs.append(run(server, root, "--prune"))
    assert (runs[-1].answer["encoded"], runs[-1].answer["refused"], runs[-1].answer["removed"]) == (4, 1, 2)
    check(server, good, bad)
    check_search(server, good)
    return runs


def main() -> None:
    """Show it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="own-pictures-") as folder:
        place = ServerPlace.make(Path(folder))
        with running_server(place) as server:
            server.install()
            runs = demonstrate(server, place.pictures / "own", options.pictures)
    names = (*("killed" for _ in KILLED_AT), "resumed to the end", "again, nothing new", "changed, --prune")
    lines = ["| run | seconds | CPU seconds of the command | its peak memory | encoded | refused | workers busy |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, one in zip(names, runs, strict=True):
        counts = f"{one.answer.get('encoded', '')} | {one.answer.get('refused', '')}"
        busy = f"{one.busy:.0%}" if one.seconds > 20 else ""
        lines.append(f"| {name} | {one.seconds:.0f} | {one.cpu:.1f} | {one.peak / 1e6:.0f} MB | {counts} | {busy} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
