"""Start, watch and end the process of a trial server."""

from __future__ import annotations

import fcntl
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from clip_installer.errors import ConfigurationError, MissingExtra, ServerFailed
from clip_installer.trial import engine
from clip_installer.trial.configuration import Addresses, TrialConfiguration, write_configuration

START_SECONDS = 60
# Seconds for queries to be cancelled; a worker that still computes ends when its pipe closes with the process.
STOP_SECONDS = 20
_POLL_SECONDS = 0.1
_STATUS_FILE = "status"
_EXCEPTION = re.compile(r"DB::Exception: (.*)")


class TrialServer:
    """A running server."""

    def __init__(self, configuration: TrialConfiguration, process: subprocess.Popen[bytes], log: IO[str]) -> None:
        """Watch ``process``, whose standard output and error go to ``log``."""
        self.configuration = configuration
        self.process = process
        self._log = log

    @property
    def addresses(self) -> Addresses:
        """Where it listens."""
        return self.configuration.addresses

    def wait_until_it_answers(self) -> None:
        """Return when both listeners answer.

        Raises:
            ServerFailed: The server ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None:
                raise ServerFailed(f"the server did not start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server does not answer after {START_SECONDS} s: {self.last_words()}")
            time.sleep(_POLL_SECONDS)

    def wait(self) -> None:
        """Return when the server has stopped on its own."""
        self.process.wait()

    def stop(self) -> bool:
        """Stop the server and its workers; False if it had to be killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True

    def last_words(self) -> str:
        """ClickHouse's last message, on one line."""
        self._log.seek(0)
        text = self._log.read()
        said = _EXCEPTION.findall(text) or [line for line in text.splitlines() if "<Debug>" not in line]
        return said[-1].strip() if said else "it said nothing"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.addresses.http}/ping", timeout=2):
                pass
            with socket.create_connection((self.addresses.host, self.addresses.tcp_port), timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            return False


@contextmanager
def trial_server(location: Path, host: str, http_port: int, tcp_port: int) -> Iterator[TrialServer]:
    """A server on the configuration at ``location``, stopped with its workers when the ``with`` block ends.

    Raises:
        ConfigurationError: The configuration, an address or the data directory cannot be used.
        ServerFailed: The server did not start, or the installed chdb cannot run one.
        MissingExtra: chdb is not installed.
    """
    if find_spec("chdb") is None:
        raise MissingExtra("chdb", "embedded", "the trial server")
    with tempfile.TemporaryDirectory(prefix="clip-udfs-server-") as place, tempfile.TemporaryFile("w+") as log:
        addresses = Addresses.choose(host, http_port, tcp_port)
        configuration = write_configuration(location, Path(place), addresses)
        _refuse_data_in_use(configuration.server.path)
        process = subprocess.Popen(
            [sys.executable, "-m", engine.__name__, place],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # Ctrl-C is handled by the command, which then stops the server
        )
        server = TrialServer(configuration, process, log)
        try:
            server.wait_until_it_answers()
            yield server
        finally:
            # Ignore signals that arrive while the server stops.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            server.stop()


def _refuse_data_in_use(data: Path) -> None:
    """Check ClickHouse's lock file in the data directory first, to report who holds it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with (data / _STATUS_FILE).open("a+") as status:
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigurationError(
            f"another ClickHouse runs on the data directory {data}: stop it first, or give this server another <path>"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"the data directory {data} cannot be used: {error.strerror}") from error
