"""Eight clients query while the installation changes: none gets a wrong vector or an unexpected error."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from clip_installer import resources
from clip_installer.install.disk.disk import Disk
from clip_installer.install.records.records import records_path
from clip_installer.server.config import ServerConfig
from clip_udfs.bundle import Bundle
from clip_udfs.settings import WorkerSettings
from tests.chdb.driver import QueryFailed
from tests.server.running import PASSWORDS, HttpClient, RunningServer

CLIENTS = 8
PAUSE_SECONDS = 0.3
# install-udfs of a later version.
NEWER = """
import clip_udfs
clip_udfs.__version__ = "999.0"
from clip_installer.cli import install_main
install_main()
"""


def vector_of(bundle: Path, place: Path, text: str = "cat") -> np.ndarray:
    """What the model of ``bundle`` makes of a text, asked outside any server."""
    settings = place / f"{bundle.name}.json"
    settings.write_text(WorkerSettings(bundle=bundle, format="TabSeparated").to_json())
    command = [sys.executable, "-m", "clip_udfs", "encode_text", "--settings", str(settings)]
    done = subprocess.run(command, input=f"1\n{text}\n".encode(), capture_output=True, check=True)
    return np.array(json.loads(done.stdout))


@dataclass
class Answers:
    """What the clients were given, counted."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: set[str] = field(default_factory=set)


@contextmanager
def queried(server: RunningServer, models: dict[str, np.ndarray]) -> Iterator[Answers]:
    """Eight clients that encode a text again and again during the ``with`` block; each sees a model, or is wrong."""
    seen, stop = Answers(), threading.Event()

    def query(number: int) -> None:
        client = HttpClient(server.host, server.http_port, "admin", PASSWORDS["admin"])
        for turn in range(1_000_000):
            if stop.is_set():
                break
            texts = f"['cat', 'text {number} {turn}', 'cat']"
            try:
                rows = client.rows(f"SELECT encode_text(x) FROM (SELECT arrayJoin({texts}) AS x)")
                seen.counts[name_of([np.array(row[0]) for row in rows], models)] += 1
            except QueryFailed as error:
                seen.counts["failed"] += 1
                seen.errors.add(str(error)[:300])
            time.sleep(PAUSE_SECONDS)
        client.close()

    threads = [threading.Thread(target=query, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
        time.sleep(PAUSE_SECONDS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def name_of(vectors: Sequence[np.ndarray], models: dict[str, np.ndarray]) -> str:
    """The model that made the first and the last of ``vectors``; ``wrong`` for none, or not the same."""
    for name, vector in models.items():
        if all(len(one) == len(vector) and float(one @ vector) > 0.9999 for one in (vectors[0], vectors[-1])):
            return name
    return "wrong"


def options_of(server: RunningServer) -> dict[str, str]:
    """Model, version and options of what is installed, as its records have them."""
    disk = Disk(ServerConfig.read(server.place.config))
    (model,) = json.loads(disk.here(records_path(disk)).read_bytes())["models"]
    return {**model["effective"], "name": model["model"], "version": model["version"]}


@pytest.fixture(scope="module")
def models(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The vector that each model has for the text that is queried."""
    place = tmp_path_factory.mktemp("settings")
    return {
        "emoji": vector_of(resources.builtin_models() / "emoji", place),
        "tiny": vector_of(tiny_bundle, place),
    }


def test_an_option_changes(server: RunningServer, models: dict[str, np.ndarray]) -> None:
    """New workers start beside the old ones."""
    with queried(server, models) as seen:
        server.install("--max-text-bytes", 5000)
    assert set(seen.counts) == {"emoji"}, seen


def test_functions_are_reloaded(server: RunningServer, models: dict[str, np.ndarray]) -> None:
    """A statement that is under way keeps its workers; the next ones get new workers."""
    with queried(server, models) as seen:
        for _ in range(3):
            server.rows("SYSTEM RELOAD FUNCTIONS")
            time.sleep(1)
    assert set(seen.counts) == {"emoji"}, seen


def test_a_model_changes_while_its_table_is_empty(
    server: RunningServer, models: dict[str, np.ndarray], tiny_bundle: Path
) -> None:
    """Every result comes from one model or the other."""
    with queried(server, models) as seen:
        server.install("--model", tiny_bundle)
    assert set(seen.counts) == {"emoji", "tiny"}, seen


def test_a_refused_install_serves_nothing(server: RunningServer, models: dict[str, np.ndarray]) -> None:
    """The table's rows are compared outside the server: no query ever sees the refused model."""
    server.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
        " SELECT number, 'x', 'a cat ' || toString(number) AS text, encode_text('an image'), encode_text(text)"
        " FROM numbers(20)"
    )
    with queried(server, models) as seen, pytest.raises(AssertionError, match="the table laion has other vectors"):
        server.install("--model", "emoji")
    assert set(seen.counts) == {"tiny"}, seen


def test_an_upgrade_leaves_the_installation_as_it_is(
    server: RunningServer, models: dict[str, np.ndarray], tiny_bundle: Path
) -> None:
    """The page's command, as Ansible runs it: the same version changes nothing, a newer one only the files."""
    assert json.loads(server.install("--json"))["changed"] is False
    before = options_of(server)
    with queried(server, models) as seen:
        newer = subprocess.run(
            [sys.executable, "-c", NEWER, "--server-config", str(server.place.config), "--url", server.url(), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert newer.returncode == 0, newer.stderr
    assert json.loads(newer.stdout)["changed"] is True
    assert options_of(server) == before | {"version": "999.0"}
    assert before["name"] == Bundle.open(tiny_bundle).manifest.name
    assert set(seen.counts) == {"tiny"}, seen


def test_functions_fail_only_while_they_are_gone(
    server: RunningServer, models: dict[str, np.ndarray], tiny_bundle: Path
) -> None:
    """Between uninstall and install, a query says that there is no such function; no result is wrong."""
    with queried(server, models) as seen:
        server.install("--uninstall")
        time.sleep(1)
        server.install("--model", tiny_bundle)
    assert set(seen.counts) == {"tiny", "failed"}, seen
    assert all("UNKNOWN_FUNCTION" in error or "does not exist" in error for error in seen.errors), seen.errors
