"""The search page under load: sixteen visitors search for a minute, on a dedicated server.

``python -m benchmarks.search.search_page`` needs ``make demo``. Once a second, each visitor sends what a browser sends:
a new search, and requests for the thumbnails of six results. No other machine is involved.
"""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from urllib.parse import urlencode

import click

from benchmarks import machine
from clip_installer.tables.search_page.page import ADDRESS
from clip_installer.trial.process import trial_server

_THUMBNAILS = 6
_MOST_SECONDS = 300
_TEXTS = [
    " ".join(words) for words in product(("a", "my", "one"), ("happy", "sad", "red", "small"), ("dog", "face", "boat"))
]


@dataclass
class Visitor:
    """One browser: its connection, and the times of its requests."""

    host: str
    port: int
    number: int
    searches: list[float] = field(default_factory=list)
    thumbnails: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    late: int = 0

    def browse(self, until: threading.Event, start: float) -> None:
        """Ask once a second until the time is over."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        turn = 0
        while not until.is_set():
            wait = start + turn + self.number / 16 - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            else:
                self.late += 1
            self._look(connection, f"{_TEXTS[turn % len(_TEXTS)]} {self.number} {turn}")
            turn += 1
        connection.close()

    def warm_up(self) -> None:
        """Have the workers loaded, as they are after the first search of the day."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        self._look(connection, "warm up")
        connection.close()
        self.searches.clear()
        self.thumbnails.clear()

    def _look(self, connection: http.client.HTTPConnection, text: str) -> None:
        values = {"q": text, "k": 60, "n": 60, "skip": 0, "nsfw": 0}
        found = self._get(connection, f"{ADDRESS}/text?{urlencode(values)}", self.searches)
        for row in json.loads(found)["data"][:_THUMBNAILS] if found else ():
            self._get(connection, f"{ADDRESS}/thumbnail?{urlencode({'id': row['id'], 'size': 320})}", self.thumbnails)

    def _get(self, connection: http.client.HTTPConnection, path: str, times: list[float]) -> bytes:
        begun = time.monotonic()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{path}: {error!r}")
            connection.close()
            return b""
        times.append(time.monotonic() - begun)
        if answer.status != 200:
            self.failures.append(f"{path}: {content[:300]!r}")
            return b""
        return content


@click.command()
@click.option(
    "--server-config", type=click.Path(exists=True, path_type=Path), default=Path("demo/etc/clickhouse-server")
)
@click.option("--visitors", type=click.IntRange(1, 64), default=16, show_default=True)
@click.option("--seconds", type=click.IntRange(1, _MOST_SECONDS), default=60, show_default=True)
def main(server_config: Path, visitors: int, seconds: int) -> None:
    """Put load on the search page of the demo, and print the times."""
    with trial_server(server_config, "127.0.0.1", 0, 0) as server:
        crowd = [Visitor(server.addresses.host, server.addresses.http_port, number) for number in range(visitors)]
        crowd[0].warm_up()
        over, start = threading.Event(), time.monotonic()
        with ThreadPoolExecutor(visitors) as threads:
            running = [threads.submit(visitor.browse, over, start) for visitor in crowd]
            time.sleep(seconds)
            over.set()
            for one in running:
                one.result()
        took = time.monotonic() - start
    click.echo(f"{visitors} visitors, {took:.0f} s, {machine.describe()['cpu']}, load {machine.load():.1f}")
    for name in ("searches", "thumbnails"):
        times = sorted(second for visitor in crowd for second in getattr(visitor, name))
        middle, late = statistics.median(times), times[int(len(times) * 0.95)]
        click.echo(
            f"{name:<11} {len(times) / took:6.1f} a second, {middle * 1e3:.0f} ms median, {late * 1e3:.0f} ms at 95 %"
        )
    failures = [failure for visitor in crowd for failure in visitor.failures]
    click.echo(f"{sum(visitor.late for visitor in crowd)} turns began late, {len(failures)} errors {failures[:3]}")
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
