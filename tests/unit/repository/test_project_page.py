"""The README on PyPI has no broken link."""

from __future__ import annotations

import re

import pytest

from hatch_build import project_page
from tests.documents import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
URL = "https://example.com/owner/name"


def targets(text: str) -> list[str]:
    """Where the links and pictures of a page lead."""
    return [link or picture for link, picture in re.findall(r'\]\(([^)]+)\)|<img[^>]* src="([^"]+)"', text)]


def test_with_an_address_every_link_leads_to_the_tag() -> None:
    before, after = targets(README), targets(project_page(README, URL, "v1"))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if re.match("[a-z]+:|#", old):
            assert new == old
        else:
            assert new in (f"{URL}/blob/v1/{old}", f"{URL}/raw/v1/{old}")
            assert ("/raw/" in new) == old.endswith((".png", ".svg"))


def test_without_an_address_no_link_leads_into_the_repository() -> None:
    page = project_page(README, "", "")
    assert not [target for target in targets(page) if not re.match("[a-z]+:|#", target)]
    assert len(page) > 0.8 * len(README)


@pytest.mark.parametrize("text", ["[a](https://b.example/c)", "[a](#b)", "a[1]"])
def test_other_links_stay(text: str) -> None:
    assert project_page(text, "", "") == project_page(text, URL, "v1") == text
