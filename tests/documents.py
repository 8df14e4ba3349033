"""The pages that people read, and the fenced blocks in them.

A block of ``bash`` or ``sql`` is a command. tests/chdb/test_docs.py runs it, unless the line before it says what it
needs that no test machine has: ``<!-- needs: docker -->``. A block of ``text`` right after a command is what it prints.
A line ``<!-- fails -->`` before a command says that it ends with an error, whose text is then stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# What a block may need, and why no test can give it.
NEEDS = {
    "docker": "a Docker engine",
    "gpu": "a GPU",
    "network": "a package index, or a host on the internet",
    "server": "a running server, its system user, or a package installed for it",
    "torch-weights": "weights that are downloaded",
    "time": "minutes or hours of computing",
}
TOLERANCE = 0.02  # of numbers with a point: processors differ in the last digits, and an index in its candidates
COMMANDS = ("bash", "sql")
OUTPUT = "text"
TRANSLATION = ".zh-CN.md"

_FENCE = re.compile(
    r"(?P<marks>(?:^<!-- [^\n]* -->\n)*)^```(?P<language>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!-- (needs: (?P<needs>[\w-]+)|(?P<fails>fails)) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: The page, relative to the repository.
        line: Line of the fence in the page.
        language: What the fence says.
        code: The lines inside.
        needs: A key of :data:`NEEDS`; None where nothing special is needed.
        fails: Whether the command is to end with an error.
        output: What the command is said to print; None where nothing is said.
    """

    page: str
    line: int
    language: str
    code: str
    needs: str | None = None
    fails: bool = False
    output: str | None = None

    @property
    def place(self) -> str:
        """Page and line, as editors understand them."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page in English, relative to the repository."""
    found = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    return sorted(str(page.relative_to(REPOSITORY)) for page in found if not page.name.endswith(TRANSLATION))


def translated(page: str) -> str:
    """The Chinese version of ``page``, whether it exists or not."""
    return page.removesuffix(".md") + TRANSLATION


def blocks(page: str) -> list[Block]:
    """The blocks of ``page`` in order, each command together with its output.

    Raises:
        ValueError: A comment before a block is not one that this module knows.
    """
    return list(_blocks(page, (REPOSITORY / page).read_text(encoding="utf-8")))


def agrees(stated: str, printed: str) -> bool:
    """Whether ``printed`` is what was ``stated``, where the word ``...`` stands for any number of words.

    White space, brackets, the lines of tables and the numbers of their rows do not count; numbers with a point have a
    tolerance.
    """
    return _agree(_words(stated), _words(printed))


def _words(text: str) -> list[str]:
    return re.sub(r"(?m)^ *\d+\. (?=│)|[─│┌┬┐├┼┤└┴┘()]+", " ", text).split()


def _agree(stated: list[str], printed: list[str]) -> bool:
    for index, word in enumerate(stated):
        if word == "...":
            return any(_agree(stated[index + 1 :], printed[start:]) for start in range(index, len(printed) + 1))
        if index >= len(printed) or not (word == printed[index] or _near(word, printed[index])):
            return False
    return len(stated) == len(printed)


def _near(one: str, other: str) -> bool:
    try:
        return "." in one + other and abs(float(one) - float(other)) <= TOLERANCE
    except ValueError:
        return False


def _blocks(page: str, text: str) -> Iterator[Block]:
    last: Block | None = None
    end = 0
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("language")) + 1
        block = _marked(Block(page, line, fence["language"], fence["code"]), fence["marks"])
        follows = last is not None and last.language in COMMANDS and not text[end : fence.start()].strip()
        if last is not None and block.language == OUTPUT and follows:
            yield Block(page, last.line, last.language, last.code, last.needs, last.fails, block.code)
            last = None
        else:
            if last is not None:
                yield last
            last = block
        end = fence.end()
    if last is not None:
        yield last


def _marked(block: Block, marks: str) -> Block:
    needs, fails = None, False
    for mark in marks.splitlines():
        said = _MARK.fullmatch(mark)
        if said is None or (said["needs"] is not None and said["needs"] not in NEEDS):
            raise ValueError(f"{block.place}: {mark} is not <!-- fails --> or <!-- needs: {' | '.join(NEEDS)} -->")
        needs, fails = said["needs"] or needs, fails or said["fails"] is not None
    return Block(block.page, block.line, block.language, block.code, needs, fails)
