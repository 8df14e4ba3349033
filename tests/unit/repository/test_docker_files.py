"""Checks of the container files that need no Docker engine."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from lxml import etree

from tests.dockerfile import DOCKER, DOCKERFILE, REPOSITORY, copied, inherited, instructions, stages

pytestmark = pytest.mark.dockerless
PROGRAMS = Path(sysconfig.get_path("scripts"))
SCRIPTS = sorted(path for path in DOCKER.iterdir() if path.is_file() and path.read_bytes().startswith(b"#!"))
COMPOSE = ("compose.yaml", "compose.cluster.yaml")


def compose(name: str) -> dict[str, Any]:
    """A compose file, its variables at their defaults."""

    def default(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: default(one) for key, one in value.items()}
        if isinstance(value, list):
            return [default(one) for one in value]
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value

    loaded: dict[str, Any] = default(yaml.safe_load((DOCKER / name).read_text()))
    assert "${" not in str(loaded)
    return loaded


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([PROGRAMS / "hadolint", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_has_nothing_to_say() -> None:
    assert len(SCRIPTS) == 4
    done = subprocess.run([PROGRAMS / "shellcheck", *SCRIPTS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert all(path.stat().st_mode & 0o111 for path in SCRIPTS)


def test_every_file_that_the_image_copies_is_in_the_repository() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert len(copied()) >= 10
    for source in copied():
        assert (REPOSITORY / source).exists(), source
        parts = [source, *(str(parent) for parent in Path(source).parents)]
        assert not [pattern for pattern in ignored if any(fnmatch(part, pattern) for part in parts)], source


def test_every_stage_that_is_named_comes_before() -> None:
    seen: list[str] = []
    for stage, lines in stages().items():
        for name, value in lines:
            if name == "COPY" and (source := re.search(r"--from=(\S+)", value)):
                assert source[1] in seen
            if name == "FROM" and (parent := value.partition(" AS ")[0]) in stages():
                assert parent in seen
        seen.append(stage)
    assert seen[-1] == "cpu"


@pytest.mark.parametrize("stage", ["cpu", "cuda"])
def test_an_image_is_not_root_and_knows_whether_it_is_healthy(stage: str) -> None:
    lines = inherited(stage)
    names = [name for name, _ in lines]
    assert [value for name, value in lines if name == "USER"][-1] == "101:101"
    assert {"HEALTHCHECK", "ENTRYPOINT"} <= set(names)
    for name, value in lines:
        if name in ("HEALTHCHECK", "ENTRYPOINT"):
            (program,) = json.loads(value[value.index("[") :])
            assert (DOCKER / Path(program).name) in SCRIPTS
    virtual_environment = next(value for name, value in lines if name == "COPY" and " /opt/clip-udfs " in value)
    built = inherited(virtual_environment.split()[0].removeprefix("--from="))
    assert any("[torch]" in value for _, value in built) == (stage == "cuda")
    assert ["torch" in value for name, value in lines if name == "ENV" and "CLIP_ENGINE" in value] == (
        [True] if stage == "cuda" else []
    )


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_is_of_the_repositorys_image_and_files(name: str) -> None:
    declared = {value.split("=")[0]: value.split("=")[1] for kind, value in instructions() if kind == "ARG"}
    services = compose(name)["services"]
    for service in services.values():
        if "build" not in service:
            assert service["image"].split(":")[1] == declared["CLICKHOUSE_VERSION"]
            continue
        build = service["build"]
        context = (DOCKER / build["context"]).resolve()
        assert (context / build["dockerfile"]).samefile(DOCKERFILE)
        assert build["target"] in stages()
        assert build["args"] == declared
        assert service["environment"]["CLICKHOUSE_PASSWORD"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    files = [DOCKER / mount.split(":")[0] for mount in mounts if mount.split(":")[0].endswith(".xml")]
    assert [file for file in files if not file.is_file()] == []
    assert any(":/var/lib/clickhouse/user_files/pictures:ro" in mount for mount in mounts)
    own = {mount.split(":")[0] for mount in mounts if mount[0] not in "./"}
    assert own == set(compose(name).get("volumes", {}))


def test_the_clusters_configuration_and_its_compose_file_name_the_same_machines() -> None:
    services = compose("compose.cluster.yaml")["services"]
    server = etree.parse(DOCKER / "cluster/server.xml")
    keeper = etree.parse(DOCKER / "cluster/keeper.xml")
    hosts = server.xpath("/clickhouse/remote_servers/clip/shard/replica/host/text()")
    assert hosts == [name for name in services if name.startswith("clickhouse")]
    assert [services[host]["hostname"] for host in hosts] == hosts
    assert [services[host]["environment"]["CLIP_SHARD"] for host in hosts] == ["1", "2"]
    for variable in server.xpath("//@from_env"):
        assert variable == "HOSTNAME" or all(variable in services[host]["environment"] for host in hosts)
    (node,) = server.xpath("/clickhouse/zookeeper/node")
    assert node.findtext("host") in services
    assert node.findtext("port") == keeper.findtext("keeper_server/tcp_port")
    assert keeper.findtext("keeper_server/raft_configuration/server/hostname") == node.findtext("host")


def test_the_scripts_are_kept_out_of_the_base_images_volume(tmp_path: Path) -> None:
    """As the installer reads it: the drop-in moves user_scripts_path to where the image keeps it."""
    from clip_installer.server.config import ServerConfig

    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.xml").write_text("<clickhouse><path>/var/lib/clickhouse/</path></clickhouse>")
    (tmp_path / "config.d/clip-udfs.xml").write_bytes((DOCKER / "clip-udfs.xml").read_bytes())
    scripts = ServerConfig.read(tmp_path).user_scripts_path
    assert str(scripts) in DOCKERFILE.read_text()
    assert not scripts.is_relative_to("/var/lib/clickhouse")


def _fake_installer(place: Path) -> dict[str, str]:
    """An environment in which ``install-clip`` prints its arguments."""
    (place / "install-clip").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (place / "install-clip").chmod(0o755)
    return {"PATH": f"{place}:/usr/bin:/bin"}


def test_the_schema_is_made_with_any_password_or_not_at_all(tmp_path: Path) -> None:
    environment = {**_fake_installer(tmp_path), "CLICKHOUSE_USER": "clip", "CLICKHOUSE_PASSWORD": "a@b/c d:é%"}
    said = subprocess.run([DOCKER / "schema.sh"], env=environment, capture_output=True, text=True, check=True).stdout
    url = urlsplit(said.splitlines()[-1])
    assert unquote(url.password or "") == environment["CLICKHOUSE_PASSWORD"]
    assert (url.username, url.hostname, url.path) == ("clip", "127.0.0.1", "/default")
    environment["CLIP_SCHEMA"] = "no"
    assert subprocess.run([DOCKER / "schema.sh"], env=environment, capture_output=True, check=True).stdout == b""


def test_the_options_in_the_scripts_are_the_installers() -> None:
    from clip_installer.commands.installation.install import install

    known = {option for parameter in install.params for option in (*parameter.opts, *parameter.secondary_opts)}
    lines = "\n".join(path.read_text() for path in (*SCRIPTS, DOCKERFILE, DOCKER / "compose.cluster.yaml"))
    calls = re.findall(r"install-(?:clip|udfs) (--.*)$", lines, re.MULTILINE)
    used = {word for call in calls for word in call.split() if word.startswith("--")}
    assert used >= {"--no-ddl", "--url", "--cluster", "--model", "--engine", "--user"}
    assert used <= known
