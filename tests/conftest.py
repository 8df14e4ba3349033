"""What tests of all kinds share: small random models as bundles, and how tests are spread over several workers."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from clip_installer.install.disk.disk import STATE_VARIABLE

pytest.register_assert_rewrite("tests.behaviours")

TESTS = Path(__file__).parent
# Each test of these modules stands alone and may go to any worker; those of another module stay together.
SPREAD = {"tests/chdb/test_docs.py", "tests/models/test_families.py"}
# These share one demonstration: it takes half a minute to make, and only one process at a time can open its tables.
ON_THE_DEMO = (
    "tests/chdb/test_demo.py",
    "tests/chdb/test_docs.py::test_commands_on_the_demo",
    "tests/chdb/test_docs.py::test_an_analyst",
    "tests/chdb/test_wheel.py",
)
TINY_CLIP = TESTS / "models" / "tiny-clip.json"
NEEDED_GIB = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one option that these tests add."""
    text = "Put what the commands of README and docs print into the pages, instead of comparing."
    parser.addoption("--write-outputs", action="store_true", help=text)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say at once that the disk is too full: a thousand tests would each say it differently."""
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free / 2**30
    if free < NEEDED_GIB and not os.environ.get("PYTEST_XDIST_WORKER"):
        pytest.exit(f"{place} has {free:.1f} GiB free; the tests need {NEEDED_GIB} GiB: free some, or set TMPDIR", 2)


@pytest.fixture(autouse=True, scope="session")
def installers_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what install-udfs writes below /var/lib for root out of this machine; the commands that tests start too."""
    place = tmp_path_factory.mktemp("state")
    os.environ[STATE_VARIABLE] = str(place)
    yield place
    del os.environ[STATE_VARIABLE]


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers one thread of the libraries that would otherwise take every core.

    An export to ONNX makes millions of objects beside the millions of torch's modules: to look through them all for
    garbage as often as Python does takes a fifth of its time.
    """
    gc.set_threshold(50_000, 50, 100)
    if os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


class ModulesTogether(LoadScopeScheduling):
    """Sends the tests of a module to one worker, so that its server and its installation are made once."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(ON_THE_DEMO):
            return ON_THE_DEMO[0]
        module = nodeid.partition("::")[0]
        return nodeid if module in SPREAD else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ModulesTogether:
    """Take the scheduler above, whatever --dist says."""
    return ModulesTogether(config, log)


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A directory that the first worker to need it builds, and all workers of this run read.

    ``build`` gets an empty directory; one that it did not finish is built again.
    """
    place = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        place = place.parent  # each worker's own is below the run's
    built = place / f"shared-{name}"
    with (place / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            scratch = Path(tempfile.mkdtemp(dir=place)) / "built"
            scratch.mkdir()
            build(scratch)
            scratch.rename(built)
    return built


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A temporary directory that other users may enter; each start of pytest closes its own to everybody else."""
    with tempfile.TemporaryDirectory(prefix="clip-udfs-test-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a two-layer CLIP with random weights, 512 dimensions, for both engines."""

    def build(place: Path) -> None:
        import torch

        from clip_installer.models.build import RANDOM, build_model

        torch.manual_seed(7)
        build_model(str(TINY_CLIP), RANDOM, place, engine="both")

    return built_once(tmp_path_factory, "tiny", build)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a one-layer CLIP with random weights, 256 dimensions."""

    def build(place: Path) -> None:
        import torch

        from clip_installer.models.build import RANDOM, build_model

        torch.manual_seed(8)
        build_model(str(TINY_CLIP.with_name("tiny-clip-256.json")), RANDOM, place)

    return built_once(tmp_path_factory, "small", build)
