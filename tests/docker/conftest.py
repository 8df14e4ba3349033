"""A real server in a container, through pytest-docker; skipped with the reason where no Docker engine answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

DOCKER = Path(__file__).parents[2] / "docker"
USER = PASSWORD = "clip"


def why_there_is_no_engine() -> str | None:
    """The reason why containers cannot be started here; None where they can."""
    if shutil.which("docker") is None:
        return "no Docker: the command docker is not installed"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no Docker engine answers: {done.stderr.strip().splitlines()[-1]}"


@pytest.fixture(scope="session", autouse=True)
def docker_engine() -> None:
    """Skip every test of this folder where containers cannot be started."""
    if reason := why_there_is_no_engine():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """The compose file that users get."""
    return str(DOCKER / "compose.yaml")


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Wait for the health check, which asks encode_text itself."""
    return ["up --build --wait"]


@pytest.fixture(scope="session")
def server(docker_engine: None, docker_ip: str, docker_services: Any) -> Any:
    """A clickhouse-connect client of the running server."""
    port = docker_services.port_for("clickhouse", 8123)
    client = clickhouse_connect.get_client(host=docker_ip, port=port, username=USER, password=PASSWORD)
    yield client
    client.close()


class Container:
    """Commands inside the server's container."""

    def __init__(self, compose: Any) -> None:
        self._compose = compose

    def run(self, command: str) -> str:
        """What ``command`` printed; fails the test when it fails."""
        return self._compose.execute(f"exec -T clickhouse {command}").decode()

    def sql(self, statement: str) -> str:
        """What clickhouse-client, over the native protocol, answers to ``statement``."""
        return self.run(f'clickhouse-client --user {USER} --password {PASSWORD} --query "{statement}"').rstrip("\n")


@pytest.fixture(scope="session")
def container(docker_engine: None, docker_services: Any) -> Container:
    """The running server's container."""
    return Container(docker_services._docker_compose)
