"""The server's configuration, merged as ClickHouse merges it (each case was compared with ClickHouse 26.9)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_installer.errors import ConfigurationError
from clip_installer.server.config import ServerConfig
from tests.server_trees import GLOB, make_config

BASE = f"<clickhouse><path>@/var/</path><user_scripts_path>@/base/</user_scripts_path>{GLOB}</clickhouse>"
INCLUDED = (
    "<clickhouse><a><b>@/right/</b></a><group><user_scripts_path>@/right/</user_scripts_path></group></clickhouse>"
)


def including(element: str) -> str:
    return f"<clickhouse><path>@/var/</path><include_from>@/etc/in.inc</include_from>{element}{GLOB}</clickhouse>"


@pytest.mark.parametrize(
    ("main", "others", "scripts"),
    [
        pytest.param(None, {}, "var/user_scripts", id="default below path"),
        pytest.param(
            BASE,
            {
                "config.d__a.xml": "<clickhouse><user_scripts_path>@/early/</user_scripts_path></clickhouse>",
                "config.d__b.xml": "<clickhouse><user_scripts_path>@/right/</user_scripts_path></clickhouse>",
                "conf.d__z.xml": "<clickhouse><user_scripts_path>@/earliest/</user_scripts_path></clickhouse>",
            },
            "right",
            id="drop-ins in the order of their paths",
        ),
        pytest.param(
            BASE,
            {"config.d__a.xml": "<clickhouse><user_scripts_path replace='1'>@/right/</user_scripts_path></clickhouse>"},
            "right",
            id="replace",
        ),
        pytest.param(
            BASE,
            {"config.d__a.xml": "<clickhouse><user_scripts_path remove='1'/></clickhouse>"},
            "var/user_scripts",
            id="remove",
        ),
        pytest.param(
            BASE,
            {"config.d__a.xml": "<clickhouse><user_scripts_path/></clickhouse>"},
            "var/user_scripts",
            id="overridden with nothing",
        ),
        pytest.param(BASE, {"config.d__a.yaml": "user_scripts_path: @/right/\n"}, "right", id="drop-in in YAML"),
        pytest.param(BASE, {"config.d__.a.xml": "not read"}, "base", id="hidden file"),
        pytest.param(BASE, {"config.d__a.xml.bak": "not read"}, "base", id="other suffix"),
        pytest.param(including("<user_scripts_path incl='a/b'/>"), {"in.inc": INCLUDED}, "right", id="incl"),
        pytest.param(including("<include incl='group'/>"), {"in.inc": INCLUDED}, "right", id="include"),
        pytest.param(
            including("<user_scripts_path incl='none' optional='1'>@/wrong/</user_scripts_path>"),
            {"in.inc": INCLUDED},
            "var/user_scripts",
            id="optional and absent",
        ),
        pytest.param(
            f"<clickhouse><path>@/var/</path><user_scripts_path from_env='SCRIPTS'/>{GLOB}</clickhouse>",
            {},
            "from environment",
            id="from_env",
        ),
        pytest.param(
            f"<yandex><path>\n  @/var/\n</path>{GLOB}</yandex>",
            {"config.d__a.xml": "<clickhouse><user_scripts_path>@/right</user_scripts_path></clickhouse>"},
            "right",
            id="old root element",
        ),
    ],
)
def test_scripts_path(tmp_path: Path, main: str | None, others: dict[str, str], scripts: str) -> None:
    directory = make_config(tmp_path, main, **others)
    config = ServerConfig.read(directory, {"SCRIPTS": f"{tmp_path}/from environment"})
    assert config.user_scripts_path == tmp_path / scripts


def test_yaml_says_the_same_as_xml(tmp_path: Path) -> None:
    directory = make_config(tmp_path)
    (directory / "config.xml").unlink()
    (directory / "config.yaml").write_text(
        f"path: {tmp_path}/var/\n"
        "user_defined_executable_functions_config:\n"
        "  - '*_function.*ml'\n"
        "  - '@id': more\n"
        "    '#text': functions/*.xml\n"
    )
    (directory / "conf.d").mkdir()
    (directory / "conf.d" / "files.xml").write_text(
        "<clickhouse><user_files_path>/pictures/</user_files_path></clickhouse>"
    )
    config = ServerConfig.read(directory)
    assert config.main_file == directory / "config.yaml"
    assert config.user_files_path == Path("/pictures")
    assert config.function_globs == (f"{directory}/*_function.*ml", f"{directory}/functions/*.xml")


def test_globs_add_with_an_attribute_and_replace_without(tmp_path: Path) -> None:
    directory = make_config(
        tmp_path,
        **{
            "config.d__a.xml": "<clickhouse><user_defined_executable_functions_config>a.xml"
            "</user_defined_executable_functions_config></clickhouse>",
            "config.d__b.xml": "<clickhouse><user_defined_executable_functions_config id='b'>/b/*.xml"
            "</user_defined_executable_functions_config></clickhouse>",
        },
    )
    assert ServerConfig.read(directory).function_globs == (f"{directory}/a.xml", "/b/*.xml")


def test_everybodys_functions(tmp_path: Path) -> None:
    directory = make_config(
        tmp_path,
        **{
            "one_function.xml": "<functions><function><name> one </name></function>"
            "<function><name>two</name></function></functions>",
            "three_function.yaml": "function:\n  name: three\n",
            "broken_function.xml": "<functions><function>",
            "unseen.xml": "<functions><function><name>unseen</name></function></functions>",
        },
    )
    functions = ServerConfig.read(directory).functions()
    assert functions == {
        "one": directory / "one_function.xml",
        "two": directory / "one_function.xml",
        "three": directory / "three_function.yaml",
    }


def test_link_to_the_directory_and_link_to_the_file(tmp_path: Path) -> None:
    directory = make_config(tmp_path)
    (tmp_path / "link").symlink_to(directory)
    (tmp_path / "other").mkdir()
    (directory / "config.xml").rename(tmp_path / "other" / "real.xml")
    (directory / "config.xml").symlink_to(tmp_path / "other" / "real.xml")
    assert ServerConfig.read(tmp_path / "link").main_file == directory / "config.xml"
    assert ServerConfig.read(tmp_path / "link" / "config.xml").main_file == directory / "config.xml"


def test_staged_tree(tmp_path: Path) -> None:
    make_config(tmp_path / "image", "<clickhouse><path>/var/lib/ch/</path></clickhouse>")
    config = ServerConfig.read(Path("/etc"), destdir=tmp_path / "image")
    assert config.main_file == Path("/etc/config.xml")
    assert config.on_disk(config.path) == tmp_path / "image/var/lib/ch"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.xml": "<clickhouse>\n<path>/x</path>\n</clickhose>"}, ["config.xml", "line 3"]),
        ({"config.d__bad.xml": "<clickhouse>\n\n<"}, ["config.d/bad.xml", "line 3"]),
        ({"config.d__bad.yaml": "a: 1\nb: [\n"}, ["config.d/bad.yaml", "line 3"]),
        ({"config.d__list.yaml": "- a\n"}, ["config.d/list.yaml", "mapping"]),
        ({"config.d__x.xml": "<company/>"}, ["config.d/x.xml", "<company>"]),
        ({"config.xml": "<company/>"}, ["config.xml", "<company>"]),
        ({"config.xml": "<clickhouse><path>data</path></clickhouse>"}, ["<path>", "'data'", "absolute"]),
        ({"config.xml": "<clickhouse><path from_env='UNSET'/></clickhouse>"}, ["<path>", "UNSET"]),
        ({"config.xml": "<clickhouse><path from_zk='/p'/></clickhouse>"}, ["<path>", "/p"]),
        ({"config.xml": "<clickhouse><path from_env='SET'>/x</path></clickhouse>"}, ["<path>", "replace"]),
        ({"config.xml": "<clickhouse><path from_env='SET' incl='x'/></clickhouse>"}, ["'incl'", "'from_env'"]),
        ({"config.xml": "<clickhouse><include_from>/none</include_from></clickhouse>"}, ["/none"]),
        ({"config.d__x.xml": "<clickhouse><path remove='1' replace='1'/></clickhouse>"}, ["x.xml", "line 1"]),
    ],
)
def test_refusals_name_the_place(tmp_path: Path, files: dict[str, str], said: list[str]) -> None:
    main = files.pop("config.xml", None)
    directory = make_config(tmp_path, main, **files)
    with pytest.raises(ConfigurationError) as refused:
        ServerConfig.read(directory, {"SET": "/set"})
    message = str(refused.value)
    assert "\n" not in message
    for part in said:
        assert part in message


ALIASES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40))
INCLUDES = "<b0>x</b0>" + "".join(f"<b{n}><c incl='b{n - 1}'/><d incl='b{n - 1}'/></b{n}>" for n in range(1, 40))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.d__x.yaml": ALIASES}, "with its aliases, it has more than 50000 elements"),
        ({"config.d__x.yaml": "a: &a\n  b: *a\n"}, "an alias contains itself"),
        ({"config.d__x.yaml": "a: &a\n  <<: *a\n"}, "an alias contains itself"),
        ({"config.d__x.yaml": "{a: " * 3000 + "1" + "}" * 3000}, "nested too deeply"),
        ({"config.d__x.yaml": "? [a]\n: 1\n"}, "a key must be a text"),
        ({"config.d__x.yaml": "a: {'#text': [1]}\n"}, "#text must be a text"),
        ({"config.d__x.yaml": 'a: "\\0"\n'}, "XML could not hold this value"),
        ({"config.d__x.yaml": 'b: "\\e[2J"\n'}, "XML could not hold this value"),
        ({"config.d__x.yaml": "<<: x\n"}, "only a mapping can be merged"),
        ({"config.d__x.xml": "<clickhouse>" + "<a>" * 5000 + "</a>" * 5000 + "</clickhouse>"}, "not well-formed"),
        (
            {"config.d__x.xml": "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>"},
            "root element is <a>",
        ),
        (
            {"config.xml": including("<z incl='b39'/>"), "in.inc": f"<clickhouse>{INCLUDES}</clickhouse>"},
            "more than 4 MiB",
        ),
        ({"config.xml": including("<z incl='a'/>"), "in.inc": "<x><a><b incl='a'/></a></x>"}, "includes itself"),
        ({"config.xml": including("<z incl='a[['/>"), "in.inc": "<x/>"}, "is no path to an element"),
        ({"config.xml": "<clickhouse><include_from>/dev/zero</include_from></clickhouse>"}, "is not a regular file"),
        ({"config.xml": "<clickhouse><path>/x/&#x9b;2J</path></clickhouse>"}, "remove the control characters"),
        ({"config.xml": f"<clickhouse>{GLOB.replace('*', chr(10))}</clickhouse>"}, "remove the control characters"),
        ({"config.d__x.xml": " " * ((16 << 20) + 1)}, "has more than 16 MiB"),
    ],
)
def test_a_hostile_configuration_is_refused_in_one_line(tmp_path: Path, files: dict[str, str], said: str) -> None:
    """The server's user may own it, and root reads it: it takes neither root's memory nor its time."""
    main = files.pop("config.xml", None)
    directory = make_config(tmp_path, main, **files)
    with pytest.raises(ConfigurationError, match=re.escape(said)) as refused:
        ServerConfig.read(directory)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_makes_nobody_wait(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe among the drop-ins is no drop-in; one in the place of the included file is refused."""
    directory = make_config(tmp_path, including("<a incl='b'/>"), **{"config.d__a.xml": "<clickhouse/>"})
    make(directory / "config.d" / "b.xml")
    make(directory / "in.inc")
    with pytest.raises(ConfigurationError, match=r"in\.inc is not a regular file"):
        ServerConfig.read(directory)
    (directory / "config.xml").write_text("<clickhouse/>")
    assert directory / "config.d" / "b.xml" not in ServerConfig.read(directory).files


def test_entities_of_a_configuration_read_no_other_file(tmp_path: Path) -> None:
    """As in ClickHouse, they are not expanded."""
    (tmp_path / "secret").write_text("secret")
    entity = f"<!DOCTYPE clickhouse [<!ENTITY e SYSTEM 'file://{tmp_path}/secret'>]>"
    directory = make_config(tmp_path, f"{entity}<clickhouse><path>/x/&e;</path></clickhouse>")
    assert "secret" not in str(ServerConfig.read(directory).path)


def test_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.xml, config\.yaml"):
        ServerConfig.read(tmp_path)
    with pytest.raises(ConfigurationError, match="does not exist"):
        ServerConfig.read(tmp_path / "nowhere")


def test_an_encrypted_path_is_named_as_such(tmp_path: Path) -> None:
    """A value that only the server can decrypt is not taken for a relative path."""
    main = '<clickhouse><path encrypted_by="AES_128_GCM_SIV">961F000000040000</path></clickhouse>'
    with pytest.raises(ConfigurationError, match=r"<path> is encrypted \(encrypted_by = AES_128_GCM_SIV\)"):
        ServerConfig.read(make_config(tmp_path, main))
