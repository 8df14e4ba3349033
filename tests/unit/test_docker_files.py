"""What can be said about the container files without a Docker engine."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from lxml import etree

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "docker/Dockerfile").read_text()


def test_every_file_that_the_image_copies_is_in_the_repository() -> None:
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert len(copied) >= 3
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []


def test_the_compose_file_builds_that_image_from_the_repository() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker/compose.yaml").read_text())
    build = compose["services"]["clickhouse"]["build"]
    context = (REPOSITORY / "docker" / build["context"]).resolve()
    assert (context / build["dockerfile"]).samefile(REPOSITORY / "docker/Dockerfile")
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))


def test_the_scripts_are_kept_out_of_the_base_images_volume(tmp_path: Path) -> None:
    """Read by the installer's own eyes: the drop-in moves user_scripts_path to where the image keeps it."""
    from clip_installer.server_config import ServerConfig

    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.xml").write_text("<clickhouse><path>/var/lib/clickhouse/</path></clickhouse>")
    (tmp_path / "config.d/user_scripts.xml").write_bytes((REPOSITORY / "docker/user_scripts.xml").read_bytes())
    scripts = ServerConfig.read(tmp_path).user_scripts_path
    assert etree.parse(REPOSITORY / "docker/user_scripts.xml").getroot().tag == "clickhouse"
    assert str(scripts) in DOCKERFILE
    assert not scripts.is_relative_to("/var/lib/clickhouse")


def test_the_options_in_the_scripts_are_the_installers() -> None:
    from clip_installer.commands.install import install

    known = {option for parameter in install.params for option in (*parameter.opts, *parameter.secondary_opts)}
    script = (REPOSITORY / "docker/schema.sh").read_text()
    used = set(re.findall(r"(?<=\s)--[a-z-]+", script.split("install-udfs", 1)[1]))
    used |= set(re.findall(r"--[a-z-]+", re.findall(r"install-udfs (.*)$", DOCKERFILE, re.MULTILINE)[0]))
    assert used
    assert used <= known
