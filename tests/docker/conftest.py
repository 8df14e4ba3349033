"""Real servers in containers, through pytest-docker; skipped with a reason if no Docker engine answers.

``pytest -m "docker or dockerless"`` runs these, or says why not, and everything that needs no engine to be checked.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from pytest_docker.plugin import get_docker_services

from tests.chdb.driver import QueryFailed
from tests.models.pictures import corpus

DOCKER = Path(__file__).parents[2] / "docker"
USER = PASSWORD = "clip"
URL = f"http://{USER}:{PASSWORD}@127.0.0.1:8123"


def why_there_is_no_engine() -> str | None:
    """The reason why containers cannot be started here; None where they can."""
    if shutil.which("docker") is None:
        return "no Docker: the command docker is not installed"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"no Docker engine answers: {said[-1] if said else ' '.join(command)}"
    return None


@pytest.fixture(scope="session", autouse=True)
def docker_engine() -> None:
    """Skip every test of this folder where containers cannot be started."""
    if reason := why_there_is_no_engine():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that is mounted into every server."""
    directory = tmp_path_factory.mktemp("pictures")
    for name, content in corpus().items():
        if name.endswith("96x72.png"):
            (directory / name).write_bytes(content)
    for path in (directory, *directory.iterdir()):
        path.chmod(path.stat().st_mode | 0o444 | 0o111 * path.is_dir())
    directory.parent.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def start(
    docker_engine: None, pictures: Path, docker_compose_command: str, docker_compose_project_name: str, docker_ip: str
) -> Callable[..., Any]:
    """Starts a compose file's services, waits for their health check, which asks encode_text itself, and stops them."""

    @contextmanager
    def services(name: str) -> Iterator[Callable[[str], Node]]:
        os.environ["CLIP_PICTURES"] = str(pictures)
        file, project = str(DOCKER / name), f"{docker_compose_project_name}-{name.split('.')[-2]}"
        compose = [*shlex.split(docker_compose_command), "-f", file, "-p", project]
        with get_docker_services(docker_compose_command, file, project, ["up --build --wait"], ["down --volumes"]):
            yield lambda service: Node(compose, service, docker_ip)

    return services


class Failed(Exception):
    """A command failed; the text is what it said."""


def _run(*command: str) -> str:
    # clickhouse-client would read more of an INSERT from an open standard input.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise Failed(f"{shlex.join(command[-3:])}: {done.stderr or done.stdout}")
    return done.stdout


class Node:
    """One server: its container, and SQL over its native protocol."""

    def __init__(self, compose: list[str], service: str, ip: str, user: str = USER, password: str = PASSWORD) -> None:
        self._compose, self._service, self._ip = compose, service, ip
        self._user, self._password = user, password

    def as_user(self, user: str, password: str) -> Node:
        """The same server for somebody else."""
        return Node(self._compose, self._service, self._ip, user, password)

    def run(self, *command: str) -> str:
        """What ``command`` printed in the container.

        Raises:
            Failed: Its exit status is not 0.
        """
        return _run(*self._compose, "exec", "-T", self._service, *command)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement with clickhouse-client."""
        who = ("--user", self._user, "--password", self._password)
        form = ("--format", "JSONCompact", "--output_format_json_quote_64bit_integers", "0")
        try:
            said = self.run("clickhouse-client", *who, *form, "--query", statement)
        except Failed as error:
            raise QueryFailed(str(error)) from error
        return [tuple(row) for row in json.loads(said)["data"]] if said.strip() else []

    def http(self) -> Http:
        """The same server over HTTP."""
        port = int(_run(*self._compose, "port", self._service, "8123").rpartition(":")[2])
        return Http(self._ip, port, self._user, self._password)

    def install(self, *arguments: str) -> None:
        """Run the image's own installer on the running server."""
        self.run("install-clip", "--url", URL, *arguments)

    def uninstall(self) -> None:
        """Take the functions out of the running server."""
        self.run("install-udfs", "--uninstall", "--url", URL)

    def processes(self) -> list[tuple[int, list[str]]]:
        """User and arguments of every process in the container."""
        found: list[tuple[int, list[str]]] = json.loads(self.run("python3", "-c", _PROCESSES))
        return found

    def workers(self, function: str) -> int:
        """How many workers of ``function`` run."""
        return sum(arguments[1:5] == ["-I", "-m", "clip_udfs", function] for _, arguments in self.processes())

    def kill_workers(self) -> None:
        """Kill every worker process."""
        self.run("python3", "-c", _KILL)

    def restart(self) -> Node:
        """Restart the container and wait until it is healthy."""
        _run(*self._compose, "restart", self._service)
        _run(*self._compose, "up", "--wait", "--no-recreate", self._service)
        return self


# The base image has no ps and no pkill.
_EACH = """
import json, os, signal
from pathlib import Path
found = []
for entry in Path("/proc").iterdir():
    try:
        arguments = (entry / "cmdline").read_bytes().decode().split("\\0")[:-1] if entry.name.isdecimal() else []
        if arguments:
            found.append((entry, arguments))
    except OSError:
        pass
"""
_PROCESSES = (
    _EACH + "print(json.dumps([(entry.stat().st_uid, arguments) for entry, arguments in found if entry.exists()]))"
)
_KILL = (
    _EACH
    + """
for entry, arguments in found:
    if arguments[1:4] == ["-I", "-m", "clip_udfs"]:
        os.kill(int(entry.name), signal.SIGKILL)
"""
)


class Http:
    """SQL over HTTP, through clickhouse-connect."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self._client = clickhouse_connect.get_client(host=host, port=port, username=user, password=password)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement."""
        try:
            if statement.lstrip().split(None, 1)[0].upper() in ("SELECT", "WITH", "EXPLAIN", "SHOW"):
                return [tuple(row) for row in self._client.query(statement).result_rows]
            self._client.command(statement)
        except DatabaseError as error:
            raise QueryFailed(str(error)) from error
        return []
