"""Real servers for tests: on ports of the system's choice and trees of their own, so that workers do not meet."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.server.running import Client, RunningServer, ServerPlace, holds_password, running_server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail any of these tests that prints a password: each run has unique passwords, so a search finds them."""
    report = yield
    if holds_password("".join(text for _, text in report.sections)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} printed a password"
    return report


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ServerPlace:
    """The directories of the module's server, with nothing installed."""
    return ServerPlace.make(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def bare_server(place: ServerPlace) -> Iterator[RunningServer]:
    """One server for the tests of a module, without functions."""
    with running_server(place) as server:
        yield server


@pytest.fixture(scope="module")
def server(bare_server: RunningServer) -> RunningServer:
    """One server for the tests of a module, with the built-in model and the schema installed over HTTP."""
    bare_server.install()
    return bare_server


@pytest.fixture(params=["http", "native"])
def connect(request: pytest.FixtureRequest, server: RunningServer) -> Callable[[str], Client]:
    """Connect as a user, over each of both protocols."""
    connected: Callable[[str], Client] = getattr(server, request.param)
    return connected


@pytest.fixture(scope="module")
def pictures(place: ServerPlace, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three of the demonstration's pictures below user_files: their paths as encode_image takes them."""
    import zipfile

    import clip_installer.demo

    unpacked = tmp_path_factory.mktemp("pictures")
    with zipfile.ZipFile(Path(clip_installer.demo.__file__).parent / "pictures.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][:3]
        archive.extractall(unpacked, names)
    for name in names:
        shutil.copy(unpacked / name, place.pictures)
    return [f"pictures/{Path(name).name}" for name in names]
