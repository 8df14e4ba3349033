"""The wheel, built only from what the image copies and outside the repository, works like the checkout."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

from clip_udfs.functions import FUNCTIONS
from tests.dockerfile import DOCKER, REPOSITORY


def test_the_demonstration_runs_from_the_wheel(programs: Path, demo: Path, tmp_path: Path) -> None:
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
    assert (demo / "out/search.html").is_file()
    rendered = [*(demo / "etc").rglob("*.xml"), *(demo / "var").rglob("worker.json")]
    assert len(rendered) > 6
    assert not [path for path in rendered if str(REPOSITORY) in path.read_text()]


def test_the_version_is_the_packages(programs: Path) -> None:
    from clip_udfs import __version__

    done = subprocess.run([str(programs / "clip-udfs"), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == __version__


def test_the_estimates_figures_are_in_the_wheel(programs: Path, tmp_path: Path) -> None:
    command = [str(programs / "clip-udfs"), "estimate", "--rows", "1e6"]
    assert "| 1 M |" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout


@pytest.mark.dockerless
def test_the_images_installer_stages_what_the_image_shall_have(programs: Path, tmp_path: Path) -> None:
    """What the image's last RUN does, below another root: the drop-in decides where the scripts go."""
    config = tmp_path / "etc/clickhouse-server"
    (config / "config.d").mkdir(parents=True)
    (config / "config.xml").write_text(
        "<clickhouse><path>/var/lib/clickhouse/</path><user_files_path>/var/lib/clickhouse/user_files/</user_files_path>"
        "<user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config></clickhouse>"
    )
    shutil.copy(DOCKER / "clip-udfs.xml", config / "config.d")
    arguments = (
        "--no-ddl",
        "--destdir",
        tmp_path,
        "--python",
        "/opt/clip-udfs/bin/python3",
        "--user",
        getpass.getuser(),
    )
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    subprocess.run([DOCKER / "install-clip", *arguments], env=environment, check=True, capture_output=True)
    launchers = [path.relative_to(tmp_path) for path in tmp_path.rglob("launch")]
    assert [path.parts[:-2] for path in launchers] == [Path("opt/clip-udfs/user_scripts/clip_udfs/emoji").parts]
    assert "exec /opt/clip-udfs/bin/python3 -I -m clip_udfs" in (tmp_path / launchers[0]).read_text()
    assert len(list(config.glob("*_function.xml"))) == len(FUNCTIONS)
