"""User and password come from the URL, then the environment, then clickhouse-client's own configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_installer.clickhouse.address import Address, parse_url
from clip_installer.clickhouse.credentials import with_credentials
from clip_installer.errors import ConfigurationError

XML = """<config>
    <user>everyday</user><password>top</password>
    <openSSL><client><caConfig>/etc/ca.pem</caConfig></client></openSSL>
    <connections_credentials>
        <connection><name>production</name><hostname>ch1</hostname><user>dba</user><password>one</password></connection>
        <connection>
            <name>ch2</name><user>reader</user><password from_env="THE_PASSWORD"/><database>pictures</database>
        </connection>
    </connections_credentials>
</config>
"""
YAML = """
user: everyday
password: top
openSSL: {client: {caConfig: /etc/ca.pem}}
connections_credentials:
    connection:
        - {name: production, hostname: ch1, user: dba, password: one}
        - {name: ch2, user: reader, password: {"@from_env": THE_PASSWORD}, database: pictures}
"""


def asked(home: Path, url: str, **environment: str) -> Address:
    return with_credentials(parse_url(url), {"HOME": str(home), **environment})


@pytest.fixture(params=[("config.xml", XML), ("config.yaml", YAML), ("config.yml", YAML)])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with clickhouse-client's configuration in one of its formats."""
    name, content = request.param
    monkeypatch.setenv("THE_PASSWORD", "two")
    (tmp_path / ".clickhouse-client").mkdir()
    (tmp_path / ".clickhouse-client" / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("url", "user", "password", "database"),
    [
        ("http://ch1", "dba", "one", None),
        ("http://production", "dba", "one", None),
        ("http://ch2/own", "reader", "two", "own"),
        ("http://ch2", "reader", "two", "pictures"),
        ("http://elsewhere", "everyday", "top", None),
        ("http://dba@ch1", "dba", "one", None),
        ("http://somebody@ch1", "somebody", "", None),
        ("http://u:p@ch1", "u", "p", None),
    ],
)
def test_the_clients_configuration_completes_a_url(
    home: Path, url: str, user: str, password: str, database: str | None
) -> None:
    address = asked(home, url)
    assert (address.user, address.password, address.database) == (user, password, database)


def test_it_names_the_authorities_of_an_https_server(home: Path) -> None:
    assert asked(home, "https://ch1").tls.ca_file == Path("/etc/ca.pem")


@pytest.mark.parametrize(
    ("url", "environment", "user", "password"),
    [
        ("http://h", {"CLICKHOUSE_USER": "env", "CLICKHOUSE_PASSWORD": "secret"}, "env", "secret"),
        ("http://h", {"CLICKHOUSE_PASSWORD": "secret"}, None, "secret"),
        ("http://me@h", {"CLICKHOUSE_PASSWORD": "secret"}, "me", "secret"),
        ("http://me@h", {"CLICKHOUSE_USER": "other", "CLICKHOUSE_PASSWORD": "secret"}, "me", ""),
        ("http://me:p@h", {"CLICKHOUSE_USER": "env", "CLICKHOUSE_PASSWORD": "secret"}, "me", "p"),
    ],
)
def test_the_environment_completes_a_url_and_a_password_goes_with_its_user(
    tmp_path: Path, url: str, environment: dict[str, str], user: str | None, password: str
) -> None:
    address = asked(tmp_path, url, **environment)
    assert (address.user, address.password) == (user, password)


def test_the_environment_comes_before_the_file(home: Path) -> None:
    address = asked(home, "http://ch1", CLICKHOUSE_USER="env", CLICKHOUSE_PASSWORD="secret")
    assert (address.user, address.password) == ("env", "secret")


def test_a_password_at_the_top_is_for_the_host_that_is_named_there(tmp_path: Path) -> None:
    (tmp_path / ".clickhouse-client").mkdir()
    file = tmp_path / ".clickhouse-client/config.xml"
    file.write_text("<config><host>ch1</host><user>u</user><password>p</password></config>")
    assert asked(tmp_path, "http://ch1").password == "p"
    assert asked(tmp_path, "http://evil.example.com").password == ""


def test_a_damaged_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / ".clickhouse-client").mkdir()
    (tmp_path / ".clickhouse-client/config.xml").write_text("<config><password>hidden</config>")
    with pytest.raises(ConfigurationError, match=r"config\.xml, line 1") as refused:
        asked(tmp_path, "http://h")
    assert "hidden" not in str(refused.value)
