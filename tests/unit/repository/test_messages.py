"""docs/messages.md has every message that the code can give, and none that it cannot."""

from __future__ import annotations

import ast
import re

from clip_installer.clickhouse.failures import REMEDIES
from clip_installer.errors import MissingExtra
from tests.messages import BLANK, PAGE, messages, texts_of

TEXT = PAGE.read_text(encoding="utf-8")
# What the operating system says of a path, in Linux's words; clip_udfs.images.confinement passes it on.
OF_THE_SYSTEM = {"permission denied", "file name too long", "too many levels of symbolic links", "not a directory"}


def said(heading: str) -> set[str]:
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {span.replace("\\|", "|") for span in re.findall(r"^(?:\| |- )`([^`]+)`", section, re.MULTILINE)}


def test_every_message_is_on_the_page() -> None:
    listed = said("From the worker, in a query") | said("From install-udfs and clip-udfs")
    missing = [f"{message.place}: {message.text}" for message in messages() if message.text not in listed]
    assert not missing, "say in docs/messages.md what to do about these"


def test_no_message_on_the_page_is_gone_from_the_code() -> None:
    ours = {message.text for message in messages()} | OF_THE_SYSTEM
    ours.add(str(MissingExtra(BLANK, BLANK, BLANK)))
    listed = said("From the worker, in a query") | said("From install-udfs and clip-udfs")
    assert listed - ours == set()


def test_the_page_says_what_the_commands_add_to_clickhouses_own_refusals() -> None:
    for name, remedy in REMEDIES.items():
        assert f"| `{name}` | {remedy} |" in TEXT


def test_a_message_is_read_as_it_will_be_seen() -> None:
    """Choices, constants, concatenations and placeholders, or the tests above would miss some."""
    module = ast.parse(
        'PUT = "put it back"\n'
        'raise BundleError(f"{path}: {PUT}")\n'
        'raise BundleError(f"{path!r} is " + ("old" if age else "new"))\n'
        "raise BundleError(reason)\n"
        'note("subject", "worth knowing")\n'
    )
    assert list(texts_of(module)) == ["…: put it back", "… is old", "… is new", "worth knowing"]


def test_the_page_has_the_messages_of_the_faults_too() -> None:
    """ClickHouse's own messages, as the tests of faults have seen them."""
    faults = (PAGE.parent / "faults.md").read_text(encoding="utf-8")
    listed = said("From ClickHouse, when a function is called")
    for message in listed:
        fragment = max(re.split(r"…|\d+", message), key=len)
        known = fragment in faults or message.startswith(
            ("Executable generates", "Cannot convert NULL", "Function with name", "Child process")
        )
        assert known, message
    seen = re.findall(r"`((?:Child process|Could not get|Pipe read|Cannot write|Query was|Timeout)[^`]*)`", faults)
    for message in seen:
        pattern = "|".join("[^`]+".join(map(re.escape, re.split("…", one))) for one in listed)
        assert re.match(pattern, message), message
