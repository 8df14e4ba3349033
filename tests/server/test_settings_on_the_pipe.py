"""The settings of a query are those of the worker's pipe: each format setting is tried, on both formats."""

from __future__ import annotations

import io
import re
import threading
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from clip_udfs.settings import FORMATS, ROW_BINARY, TAB_SEPARATED
from tests.chdb.driver import QueryFailed
from tests.processes import kill
from tests.server.running import PASSWORDS, RunningServer, ServerPlace

# Seconds without an answer after which ClickHouse gives up on a held worker; as installed, a minute or more.
GIVEN_UP = 20
# One number that stands for answers to values that a text format must escape or mark, to NULL, to a bad row, and to
# two arguments. Texts that were encoded before cost nothing.
QUESTION = """
SELECT cityHash64(
    (SELECT groupArray(encode_text(s)) FROM
        (SELECT arrayJoin(['', 'cat', 'a\\tb\\nc\\r', 'NULL', '\\\\N', 'é', 'dog']) AS s)),
    (SELECT groupArray(try_encode_text(s)) FROM (SELECT arrayJoin(['', 'cat', NULL, 'NULL', '\\\\N']) AS s)),
    (SELECT groupArray(try_image_info_bytes(s)) FROM (SELECT arrayJoin([unhex('{content}'), NULL, 'x']) AS s)),
    (SELECT groupArray(try_thumbnail_bytes(s, 4)) FROM (SELECT arrayJoin([unhex('{content}'), NULL, 'x']) AS s)))
FORMAT TSVRaw
"""
# What docs/dba.md says: settings that make the query wait, one with a value that does, and one that changes an answer.
HOLDS = {
    ROW_BINARY: {"input_format_max_block_size_bytes": 5000},
    TAB_SEPARATED: {"input_format_tsv_skip_first_lines": 5},
}
WAITS = {
    ROW_BINARY: {*HOLDS[ROW_BINARY], "format_binary_max_string_size"},
    TAB_SEPARATED: {*HOLDS[ROW_BINARY], *HOLDS[TAB_SEPARATED], "input_format_tsv_skip_trailing_empty_lines"},
}
CHANGES = {ROW_BINARY: set[str](), TAB_SEPARATED: {"format_tsv_null_representation"}}
_NUMBERS = re.compile(r"U?Int\d+|NonZeroUInt64|UInt64Auto|Float|Double")


def unusual(type_name: str, value: str) -> list[str]:
    """Values of a setting of a type that are not its default; none for the names of things that would have to exist."""
    if type_name == "Bool":
        return [str(1 - int(value))]
    if type_name == "Char":
        return ["|", "'"]
    if type_name == "EscapingRule":
        return ["JSON"]
    values = ["1", "2500"] if _NUMBERS.fullmatch(type_name) else ["NULL"] if type_name == "String" else []
    return [other for other in values if other != value]


@pytest.fixture(scope="module", params=FORMATS)
def wire(request: pytest.FixtureRequest, bare_server: RunningServer) -> tuple[str, RunningServer]:
    """The module's server with workers that speak one format."""
    bare_server.install("--wire-format", request.param, "--no-ddl")
    return request.param, bare_server


def ask(server: RunningServer, **settings: object) -> str:
    """The question's one number, asked without a driver, which the settings would disturb as well."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 13, 9)).save(content, "PNG")
    login = {"X-ClickHouse-User": "admin", "X-ClickHouse-Key": PASSWORDS["admin"]}
    address = f"http://{server.host}:{server.http_port}/?{urlencode(settings)}"
    request = Request(address, QUESTION.format(content=content.getvalue().hex()).encode(), login)
    try:
        with urlopen(request, timeout=120) as answer:
            return str(answer.read().decode()).strip()
    except HTTPError as error:
        raise QueryFailed(error.read().decode(errors="replace")) from error


def test_a_format_setting_changes_no_answer(wire: tuple[str, RunningServer]) -> None:
    """The exact answers, or an error at once, for every setting but those that docs/dba.md names."""
    form, server = wire
    exact = ask(server)
    settings = server.rows(
        "SELECT name, type, value FROM system.settings WHERE match(name, '^(format|input_format|output_format)_')"
    )
    tried = [(name, other) for name, kind, value in settings for other in unusual(str(kind), str(value))]
    changed, refused = set[str](), dict[str, str]()
    for name, other in tried:
        if name in WAITS[form]:
            continue
        try:
            if ask(server, **{name: other}) != exact:
                changed.add(name)
        except QueryFailed as error:
            refused[name] = str(error)
    print(f"{form}: {len(settings)} settings, {len(tried)} values; changed {changed}; refused {refused}")  # noqa: T201
    assert len(tried) > 250
    assert ask(server) == exact
    assert changed == CHANGES[form]
    assert not [name for name, reason in refused.items() if "imeout" in reason]


def test_types_in_binary_are_an_error_that_leaves_nothing_behind(wire: tuple[str, RunningServer]) -> None:
    """Even if a setting stops ClickHouse from comparing the type of the answer, which it would then misread."""
    form, server = wire
    exact = ask(server)
    decode = {"input_format_binary_decode_types_in_binary_format": 1, "input_format_with_types_use_header": 0}
    for settings in ({"output_format_binary_encode_types_in_binary_format": 1}, decode):
        if form == ROW_BINARY:
            with pytest.raises(QueryFailed, match=r"set output_format_binary_encode_types|Unknown type code"):
                ask(server, **settings)
        else:
            assert ask(server, **settings) == exact
        assert ask(server) == exact


def test_two_hostile_analysts_do_not_keep_a_third_from_an_answer(
    wire: tuple[str, RunningServer], place: ServerPlace
) -> None:
    """Both workers are held again and again by a setting; who waits gets the next one that is given up."""
    form, server = wire
    exact = ask(server)
    for definition in place.config.glob("*_function.xml"):
        text = re.sub(r"(<command_read_timeout>)\d+", rf"\g<1>{GIVEN_UP * 1000}", definition.read_text())
        definition.write_text(text.replace("<command_termination_timeout>3", "<command_termination_timeout>0"))
    server.rows("SYSTEM RELOAD FUNCTIONS")
    over = threading.Event()
    unheld: list[str] = []

    def hold() -> None:
        client = server.native()
        while not over.is_set():
            try:
                client.rows("SELECT count(encode_text(toString(number))) FROM numbers(95)", **HOLDS[form])
                if not over.is_set():  # without its worker, whose end is that of the input, it is answered
                    unheld.append("answered")
            except QueryFailed as error:
                if not over.is_set() and "Pipe read timeout" not in str(error):
                    unheld.append(str(error))

    hostile = [threading.Thread(target=hold) for _ in range(2)]
    for thread in hostile:
        thread.start()
    try:
        assert ask(server) == exact
    finally:
        over.set()
        kill(place.processes())
        for thread in hostile:
            thread.join()
    assert unheld == []
