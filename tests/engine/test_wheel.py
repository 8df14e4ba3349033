"""The wheel, away from the repository, does what the checkout does."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment that has the wheel, and of the rest only the installed dependencies."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    environment = place / "environment"
    venv.create(environment)
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    packages = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    # A path that is added this way brings its packages, but not the link to the checkout that an editable install is.
    (Path(packages.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_demonstration_runs_from_the_wheel(programs: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [
            str(programs / "python"),
            "-c",
            "import clip_udfs, clip_installer as i; print(clip_udfs.__file__, i.__file__)",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert str(REPOSITORY) not in where
    done = subprocess.run(
        [str(programs / "clip-udfs"), "demo"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo/out/search.html").is_file()
    assert "Name: image_index" in done.stdout
    rendered = [*(tmp_path / "demo/etc").rglob("*.xml"), *(tmp_path / "demo/var").rglob("worker.json")]
    assert len(rendered) > 6
    assert not [path for path in rendered if str(REPOSITORY) in path.read_text()]


def test_the_version_is_the_packages(programs: Path) -> None:
    from clip_udfs import __version__

    done = subprocess.run([str(programs / "clip-udfs"), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == __version__
