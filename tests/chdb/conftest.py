"""A configuration tree with the functions of the small random model, installed by the installer's own command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chdb.driver import Engine
from tests.chdb.wheel import installed_wheel

CONFIG = """<clickhouse>
    <path>{data}/</path>
    <user_scripts_path>{data}/user_scripts/</user_scripts_path>
    <!-- Built by several threads, an index now and then loses near rows; by one it is the same each time. -->
    <max_build_vector_similarity_index_thread_pool_size>1</max_build_vector_similarity_index_thread_pool_size>
    <user_files_path>{data}/user_files/</user_files_path>
    <user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config>
</clickhouse>
"""


@dataclass(frozen=True)
class ServerTree:
    """The directories of one server: configuration, data, and the pictures that encode_image may read."""

    config: Path
    data: Path
    pictures: Path

    @property
    def main_file(self) -> Path:
        return self.config / "config.xml"

    def install(self, *arguments: str) -> str:
        """Run ``clip-udfs install`` on the tree and give what it printed."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "clip_installer",
                "install",
                "--server-config",
                str(self.config),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def engine(self, **options: object) -> Engine:
        """Start an engine on the tree."""
        return Engine(self.main_file, self.data, **options)


def make_tree(place: Path) -> ServerTree:
    """A stock server's tree below ``place``, with nothing installed."""
    tree = ServerTree(place / "etc/clickhouse-server", place / "var/lib/clickhouse", place / "pictures")
    for directory in (tree.config, tree.data / "user_files", tree.pictures):
        directory.mkdir(parents=True)
    tree.main_file.write_text(CONFIG.format(data=tree.data))
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> ServerTree:
    """A tree with the six functions installed, allowed to read ``pictures``."""
    server = make_tree(tmp_path_factory.mktemp("server"))
    server.install("--model", str(tiny_bundle), "--image-root", str(server.pictures))
    return server


@pytest.fixture(scope="module")
def engine(tree: ServerTree) -> Iterator[Engine]:
    """One engine for the tests of a module."""
    running = tree.engine()
    yield running
    assert running.close() == 0


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs that the wheel installs, away from the checkout."""
    return installed_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """A demonstration, made by the wheel with no environment, in a directory whose name has a space."""
    place = tmp_path_factory.mktemp("a demo") / "demo"
    made = [str(programs / "clip-udfs"), "demo", "--output", str(place)]
    done = subprocess.run(made, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for wanted in ("search_by_text", "search_by_image", "Name: image_index", "(512 numbers)", "Try next"):
        assert wanted in done.stdout
    return place
