"""The user who can only search: what the statements for it say."""

from __future__ import annotations

import re

from clip_installer.tables.search_page.search_user import SearchUser
from tests.unit.installer.tables.search_page.test_page import rendered


def test_it_may_read_what_the_pages_queries_read_and_nothing_else() -> None:
    """Whatever a query of the page names after FROM is granted; of the page itself, that is nothing."""
    for page in (rendered(), rendered("b", table="shop.goods")):
        named = {one for handler in page.handlers[1:] for one in re.findall(r"FROM ([\w.]+)", handler.query)}
        granted = {grant.removeprefix("SELECT ON ") for grant in SearchUser("search", page).grants}
        samples = {one for one in granted if one.endswith("_relevance_sample")}
        assert granted - samples == named
        assert len(samples) == 1, "the views read it"


def test_it_is_created_without_a_usable_password_and_removed_completely() -> None:
    """An odd name is quoted; what is created is dropped."""
    user = SearchUser("link's", rendered())
    created = [re.match(r"CREATE (SETTINGS PROFILE|USER|QUOTA) `link\'s`", one) for one in user.statements[:3]]
    assert {found[1] for found in created if found} == {"SETTINGS PROFILE", "USER", "QUOTA"}
    assert {one.partition(" IF EXISTS ")[0].removeprefix("DROP ") for one in user.removal} == {
        "SETTINGS PROFILE",
        "USER",
        "QUOTA",
    }
    assert "readonly = 1" in user.statements[0]
    assert "'CHOOSE A PASSWORD'" in user.statements[1]
