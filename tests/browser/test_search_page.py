"""The search page as people use it, in a real browser on a real server."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import HOSTILE, IMAGES, search_page
from tests.browser.visitor import Visitor
from tests.server.running import RunningServer, ServerPlace, running_server

Visit = Callable[..., Visitor]


def drop(visitor: Visitor, name: str, kind: str, content: bytes) -> None:
    """Drop a file onto the page, as from a folder."""
    visitor.page.evaluate(
        """async ([name, type, address]) => {
            const bytes = Uint8Array.from(atob(address), one => one.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], name, { type }));
            const options = { dataTransfer: carried, bubbles: true, cancelable: true };
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind, options));
        }""",
        [name, kind, base64.b64encode(content).decode()],
    )


# ------------------------------------------------------------------------------------------------------- searching


def test_typing_shows_images_and_makes_a_shareable_address(visit: Visit) -> None:
    """The address contains the search; another visitor who opens it sees the same results."""
    visitor = visit()
    assert visitor.text("#about").startswith(f"{IMAGES + len(HOSTILE)} images in laion")
    visitor.search("crying face")
    assert "face" in " ".join(visitor.captions[:5])
    assert re.fullmatch(r"\d+ results in \d+\.\d\d s", visitor.text("#status"))
    other = visit("#" + visitor.page.url.partition("#")[2])
    other.settled("crying face")
    assert other.page.locator("#query").input_value() == "crying face"
    assert other.captions == visitor.captions


def test_the_back_button_steps_through_searches_not_letters(visit: Visit) -> None:
    """Text typed without a pause is one history entry; Enter ends it."""
    visitor = visit()
    visitor.search("happy")
    visitor.page.keyboard.press("Enter")
    visitor.search("angry")
    visitor.page.go_back()
    visitor.settled("happy")
    assert visitor.page.locator("#query").input_value() == "happy"
    visitor.page.go_back()
    visitor.page.locator("#welcome").wait_for()
    visitor.page.go_forward()
    visitor.settled("happy")


def test_what_is_typed_before_the_table_is_known_stays(visit: Visit) -> None:
    """A fast typist, or a slow server: the page may not put back the empty field that it began with."""
    visitor = visit()
    held: list[Any] = []
    visitor.page.route("**/clip/about?*", lambda route: held.append(route))
    visitor.page.reload()
    visitor.page.evaluate(
        """() => {
            const field = document.getElementById("query");
            field.value = "ma";
            field.dispatchEvent(new InputEvent("input", { isComposing: true }));
        }"""
    )
    assert visitor.page.locator("#about").inner_text() == ""
    for route in held:
        route.continue_()
    visitor.page.locator("#about:not(:empty)").wait_for()
    assert visitor.page.locator("#query").input_value() == "ma"


def test_a_slow_answer_never_replaces_a_newer_one(visit: Visit) -> None:
    """The browser cancels the old request, and the page shows the last search."""
    visitor = visit()
    held = []

    def hold_the_first(route: Any) -> None:
        if "q=slow" in route.request.url:
            held.append(route)
        else:
            route.continue_()

    visitor.page.route("**/clip/text?*", hold_the_first)
    visitor.type("slow")
    visitor.page.wait_for_url("**q=slow*")
    visitor.search("crying face")
    shown = visitor.captions
    assert [route.request.failure for route in held] == ["net::ERR_ABORTED"]
    for route in held:
        route.abort()
    visitor.page.wait_for_timeout(300)
    assert visitor.captions == shown
    assert visitor.page.locator("#error").is_hidden()


def test_every_kind_of_text_reaches_the_function_as_it_was_typed(visit: Visit, site: RunningServer) -> None:
    """Quotes, backslashes, tabs and SQL are treated as ordinary text."""
    visitor = visit()
    for text in ("it's", "back\\slash \\n \\", "'; DROP TABLE laion; --", "{q:String} 50% &amp; #?", "猫 🐱"):
        visitor.search(text)
        assert visitor.page.locator("#error").is_hidden()
        encoded = text.encode().hex()
        rows = site.rows(f"SELECT id FROM search_by_text(query = unhex('{encoded}'), k = 5) WHERE NSFW != 'NSFW'")
        assert [row[0] for row in rows] == visitor.ids[: len(rows)]


def test_chinese_is_searched_when_the_word_is_composed(visit: Visit) -> None:
    """Not with each key of the input method."""
    visitor = visit()
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if "/clip/text?" in request.url else None)
    visitor.page.evaluate(
        """() => {
            const field = document.getElementById("query");
            field.dispatchEvent(new CompositionEvent("compositionstart"));
            for (const text of ["m", "ma", "mao"]) {
                field.value = text;
                field.dispatchEvent(new InputEvent("input", { isComposing: true }));
            }
            field.value = "猫";
            field.dispatchEvent(new InputEvent("input", { isComposing: true }));
            field.dispatchEvent(new CompositionEvent("compositionend"));
        }"""
    )
    visitor.settled("猫")
    assert len(asked) == 1


# ------------------------------------------------------------------------------------------------------- results


def test_a_click_shows_the_row_and_more_like_it(visit: Visit) -> None:
    """The detail has the row's columns; Escape and the back button close it; its buttons search on."""
    visitor = visit("#q=happy%20face")
    visitor.settled()
    first = visitor.ids[0]
    visitor.open_first()
    facts = dict(
        zip(visitor.page.locator("dt").all_inner_texts(), visitor.page.locator("dd").all_inner_texts(), strict=True)
    )
    assert facts["id"] == str(first)
    assert facts["url"].startswith("pictures/openmoji/")
    assert not {"image_embedding", "text_embedding"} & set(facts)
    visitor.page.keyboard.press("Escape")
    visitor.page.locator("#detail").wait_for(state="hidden")
    assert visitor.page.evaluate("document.activeElement.dataset.id") == str(first)
    visitor.open_first()
    visitor.page.go_back()
    visitor.page.locator("#detail").wait_for(state="hidden")
    for button, key, words in (
        ("#like", "like", "Like this image"),
        ("#captions-like", "captionsLike", "Captions like"),
    ):
        visitor.open_first()
        visitor.page.locator(button).click()
        visitor.page.wait_for_url(f"**{key}=*")
        visitor.settled()
        assert visitor.ids[0] == first
        assert words in visitor.text("#subject-text")
        visitor.page.go_back()
        visitor.page.go_back()
        visitor.settled("happy face")


def test_thumbnails_come_from_the_server_and_may_be_kept_by_the_browser(visit: Visit) -> None:
    """As WebP, and only for rows of the table."""
    visitor = visit()
    with visitor.page.expect_response(lambda response: "/clip/thumbnail" in response.url) as waiting:
        visitor.search("happy face")
    answer = waiting.value
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/webp"
    assert "max-age" in answer.headers["cache-control"]
    visitor.page.locator(".card img").first.wait_for()


def test_scrolling_shows_more_without_duplicates(visit: Visit) -> None:
    """Until there is no more."""
    visitor = visit("#q=face&count=30&nsfw=1")
    visitor.settled()
    for _ in range(4):
        visitor.page.mouse.wheel(0, 20_000)
        visitor.page.wait_for_timeout(200)
        visitor.settled()
    ids = visitor.ids
    assert len(ids) == len(set(ids)) == IMAGES + len(HOSTILE)
    assert visitor.page.locator("#more").is_hidden()


def test_filters_hide_what_they_should(visit: Visit, site: RunningServer) -> None:
    """NSFW is hidden unless asked for; size and licence are exact."""
    visitor = visit("#q=face&count=120")
    visitor.settled()
    hidden = {row[0] for row in site.rows("SELECT id FROM laion WHERE NSFW = 'NSFW'")}
    assert hidden
    assert not hidden & set(visitor.ids)
    visitor.page.locator("#nsfw").check()
    visitor.page.wait_for_url("**nsfw=1*")
    visitor.settled()
    assert hidden <= set(visitor.ids)
    visitor.page.locator("#size").select_option("256")
    visitor.page.wait_for_url("**size=256*")
    visitor.settled()
    wide = {row[0] for row in site.rows("SELECT id FROM laion WHERE width >= 256")}
    assert set(visitor.ids) == wide
    visitor.page.locator("#licence").select_option("?")
    visitor.settled()
    visitor.page.get_by_text("No result passes the filters.").wait_for()


def test_the_sql_behind_a_result_gives_that_result(visit: Visit, site: RunningServer) -> None:
    """Copied into a client, it is the same search."""
    visitor = visit("#q=it's%20a%20face&nsfw=1&count=30")
    visitor.settled()
    visitor.page.locator("#show-sql").click()
    statement = visitor.text("#sql-text")
    assert [row[0] for row in site.rows(statement.rstrip(";"))] == visitor.ids[:30]
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.page.locator("#copy").click()
    visitor.page.get_by_text("Copied").wait_for()
    assert visitor.page.evaluate("navigator.clipboard.readText()") == statement


# ------------------------------------------------------------------------------------------------------- images


def test_a_chosen_image_finds_its_own_row_first(visit: Visit, place: ServerPlace) -> None:
    """The file is sent to the server unchanged, and nothing of it appears in the address."""
    visitor = visit()
    picture = next((place.pictures / "openmoji").glob("1f600-*.png"))
    visitor.page.locator("#file").set_input_files(picture)
    visitor.page.wait_for_url("**image=1*")
    visitor.settled()
    assert visitor.captions[0] == "grinning face"
    assert picture.name in visitor.text("#subject-text")
    visitor.page.locator("#clear").click()
    visitor.page.locator("#welcome").wait_for()


def test_a_dropped_image_is_searched_for(visit: Visit, place: ServerPlace) -> None:
    """Wherever on the page it is dropped."""
    visitor = visit("#q=happy")
    visitor.settled()
    content = next((place.pictures / "openmoji").glob("1f600-*.png")).read_bytes()
    drop(visitor, "mine.png", "image/png", content)
    visitor.page.wait_for_url("**image=1*")
    visitor.settled()
    assert visitor.captions[0] == "grinning face"
    assert visitor.page.locator("#drop").is_hidden()


def test_a_text_file_is_refused_with_the_reason(visit: Visit) -> None:
    """By the page if it can tell, otherwise with the function's own message."""
    visitor = visit()
    drop(visitor, "notes.txt", "text/plain", b"no image")
    assert visitor.text("#error") == "notes.txt is not an image."
    drop(visitor, "notes.png", "image/png", b"no image")
    visitor.page.get_by_text("encode_image_bytes: row 1: 8 bytes: not an image").wait_for()


def test_a_huge_image_is_scaled_down_in_the_browser_first(visit: Visit, tmp_path: Path) -> None:
    """64 MiB exceed the server's limit; a browser that can open the file sends a smaller copy."""
    visitor = visit()
    noise = Image.effect_noise((4700, 4700), 90).convert("RGB")
    huge = tmp_path / "huge.bmp"
    noise.save(huge)
    assert huge.stat().st_size > 63 << 20
    sent: list[int] = []
    visitor.page.on(
        "request",
        lambda request: sent.append(len(request.post_data_buffer or b"")) if request.method == "POST" else None,
    )
    visitor.page.locator("#file").set_input_files(huge)
    visitor.page.get_by_text("scaled down in the browser").wait_for()
    visitor.settled()
    assert visitor.captions
    assert all(size < 2 << 20 for size in sent)


def test_a_huge_file_that_is_no_image_is_not_sent(visit: Visit, tmp_path: Path) -> None:
    """The message has the size and the limit."""
    visitor = visit()
    huge = tmp_path / "huge.tiff"
    with huge.open("wb") as file:
        file.truncate(64 << 20)
    visitor.page.locator("#file").set_input_files(huge)
    said = visitor.text("#error")
    assert "64 MiB" in said
    assert "10 MiB" in said


# ------------------------------------------------------------------------------------------------------- trouble


def test_hostile_captions_and_addresses_are_only_text(visit: Visit) -> None:
    """None of it runs, loads or leaves its card."""
    asked: list[str] = []
    visitor = visit()
    visitor.page.on("request", lambda request: asked.append(request.url))
    for number, (url, caption) in HOSTILE.items():
        visitor.search(f"hostile {number}")
        card = visitor.page.locator(f'.card[data-id="{number}"]')
        card.wait_for()
        box, card_box = card.locator(".caption").bounding_box(), card.bounding_box()
        assert box["x"] + box["width"] <= card_box["x"] + card_box["width"] + 1
        if caption and len(caption) < 1000:
            assert card.locator(".caption").text_content() == caption
        card.click()
        visitor.page.locator("#columns dd").first.wait_for()
        links = visitor.page.locator("#columns a").all()
        assert [link.get_attribute("href") for link in links] == ([url] if url.startswith("https:") else [])
        visitor.page.keyboard.press("Escape")
    assert visitor.page.evaluate("window.stolen") is None
    assert not [url for url in asked if url.startswith(("javascript:", "data:text"))]


def test_a_dead_server_is_reported_and_a_later_search_works(visit: Visit) -> None:
    """Enter asks again."""
    visitor = visit()
    visitor.page.context.set_offline(True)
    visitor.type("happy")
    assert "does not answer" in visitor.text("#error")
    visitor.page.context.set_offline(False)
    visitor.page.locator("#query").press("Enter")
    visitor.page.locator(".card").first.wait_for()
    assert visitor.page.locator("#error").is_hidden()


def test_a_deleted_row_is_reported(visit: Visit) -> None:
    """Shared addresses may outlive rows."""
    assert visit("#like=123456").text("#error") == "No row with this id is in the table."
    assert visit("#show=123456").text("#detail-error") == "No row with this id is in the table."
    assert visit("#image=1").text("#error").startswith("That image is no longer")


# ------------------------------------------------------------------------------------------------------- everybody


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_no_accessibility_violation(visit: Visit, scheme: str, width: int) -> None:
    """On the first page, on results with their SQL, on a detail and on an error; no sideways scrolling either."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    visitor = visit(viewport={"width": width, "height": 844}, color_scheme=scheme)

    def check(what: str) -> None:
        found = axe.Axe().run(visitor.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], what
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what

    visitor.page.locator("#about").wait_for(state="attached")
    check("welcome")
    visitor.search("happy face")
    visitor.page.locator("#show-sql").click()
    check("results")
    visitor.open_first()
    check("detail")
    visitor.page.keyboard.press("Escape")
    visitor.page.goto(visitor.page.url.partition("#")[0] + "#like=123456")
    visitor.text("#error")
    check("error")


def test_the_keyboard_is_enough(visit: Visit) -> None:
    """From the field to the grid, through it with arrows, into a detail, to the next one and back."""
    visitor = visit()
    keyboard = visitor.page.keyboard
    assert visitor.page.evaluate("document.activeElement.id") == "query"
    keyboard.type("happy face")
    visitor.settled("happy face")
    visitor.page.locator(".card").first.focus()
    keyboard.press("ArrowRight")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowUp")
    assert visitor.page.evaluate("document.activeElement.dataset.id") == str(visitor.ids[1])
    keyboard.press("Enter")
    visitor.page.locator("#columns dd").first.wait_for()
    keyboard.press("ArrowRight")
    visitor.page.wait_for_url(f"**show={visitor.ids[2]}*")
    keyboard.press("Escape")
    visitor.page.locator("#detail").wait_for(state="hidden")
    assert visitor.page.evaluate("document.activeElement.dataset.id") == str(visitor.ids[2])
    keyboard.press("/")
    assert visitor.page.evaluate("document.activeElement.id") == "query"


def test_the_page_is_also_in_chinese(visit: Visit) -> None:
    """By the browser's language, and by the button; every phrase exists in both languages."""
    visitor = visit(locale="zh-CN")
    assert visitor.page.title() == "图片搜索"
    assert visitor.page.evaluate("document.documentElement.lang") == "zh-CN"
    visitor.page.locator("#language").click()
    assert visitor.page.title() == "Image search"
    english, chinese = visitor.page.evaluate("[Object.keys(WORDS.en).sort(), Object.keys(WORDS.zh).sort()]")
    assert english == chinese


# ------------------------------------------------------------------------------------------------------- users


def test_a_readonly_user_can_use_it_where_the_profile_allows_its_headers(visit: Visit) -> None:
    """As the search user of docs/search-page.md; a user with readonly = 2 can in any case."""
    visitor = visit(user="dashboard")
    visitor.search("happy face")
    assert visitor.captions


def test_the_search_user_can_search_and_do_nothing_else(visit: Visit, site: RunningServer, place: ServerPlace) -> None:
    """With the settings, grants and quota that clip-udfs search-page --search-user prints."""
    visitor = visit(user="search")
    visitor.search("happy face")
    visitor.page.locator("#size").select_option("256")
    visitor.page.wait_for_url("**size=256*")
    visitor.settled()
    visitor.open_first()
    visitor.page.locator("#captions-like").click()
    visitor.page.wait_for_url("**captionsLike=*")
    visitor.settled()
    visitor.page.locator("#file").set_input_files(next((place.pictures / "openmoji").glob("1f600-*.png")))
    visitor.page.wait_for_url("**image=1*")
    visitor.settled()
    assert visitor.captions[0] == "grinning face"
    visitor.page.locator(".card img").first.wait_for()
    for statement, error in {
        "INSERT INTO laion (id) VALUES (1)": "READONLY|ACCESS_DENIED",
        "DROP VIEW search_by_text": "READONLY|ACCESS_DENIED",
        "CREATE TABLE mine (id Int64) ENGINE = Memory": "READONLY|ACCESS_DENIED",
        "SYSTEM RELOAD FUNCTIONS": "READONLY|ACCESS_DENIED",
        "SET max_execution_time = 0": "READONLY",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')": "READONLY|ACCESS_DENIED",
        "SELECT * FROM file('pictures/pictures.tsv', TSV, 'a String')": "READONLY|ACCESS_DENIED",
        "SELECT name FROM system.users": "ACCESS_DENIED",
        "SELECT * FROM clip_queries": "ACCESS_DENIED",
        "SELECT number FROM numbers(1001)": "TOO_MANY_ROWS_OR_BYTES|ACCESS_DENIED",
    }.items():
        answer = visitor.page.request.post(f"http://{site.host}:{site.http_port}/", data=statement)
        assert not answer.ok
        assert re.search(error, answer.text()), f"{statement}: {answer.text()}"


def test_an_empty_table_says_how_to_fill_it(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """And a filled one without an index, how to build it; after an uninstall, nothing of the page is left."""
    with running_server(ServerPlace.make(tmp_path_factory.mktemp("empty"))) as server:
        before = server.rows("SELECT count() FROM system.handlers")
        said = server.install("--search-page")
        assert f"The search page is at http://{server.host}:{server.http_port}/clip\n" in said
        assert "Nothing changed" in search_page(server)
        visitor = Visitor.come(browser, server)
        assert "The table laion is empty" in visitor.text("#hint")
        visitor.leave()
        server.rows(
            "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
            " SELECT number, '', toString(number), encode_text(toString(number)), encode_text(toString(number))"
            " FROM numbers(9)"
        )
        visitor = Visitor.come(browser, server, "#q=1")
        # The number of indexes is asked beside the search, and may come after its answer.
        visitor.page.locator("#hint", has_text="build-index --table laion").wait_for()
        visitor.leave()
        server.install("--uninstall")
        assert server.rows("SELECT count() FROM system.handlers") == before


def test_a_page_in_the_configuration_is_served_from_the_next_start(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As before ClickHouse 26.8: the same page, uploads included, and gone without a trace."""
    place = ServerPlace.make(tmp_path_factory.mktemp("configured"))
    before = sorted(place.config.rglob("*"))
    with running_server(place) as server:
        said = server.install("--search-page", "--page-handlers", "config")
        assert "clip_page.xml, and it is not served yet: restart the server" in said
        server.rows(
            "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
            " SELECT number, '', toString(number), encode_text(toString(number)), encode_text(toString(number))"
            " FROM numbers(9)"
        )
    picture = place.pictures / "grey.png"
    Image.new("RGB", (8, 8), "grey").save(picture)
    with running_server(place) as server:
        visitor = Visitor.come(browser, server, user="readonly")
        visitor.search("7")
        assert visitor.captions[0] == "7"
        visitor.page.locator("#file").set_input_files(picture)
        visitor.page.wait_for_url("**image=1*")
        visitor.settled()
        assert sorted(visitor.captions) == [str(number) for number in range(9)]
        visitor.open_first()
        visitor.page.locator("#like").click()
        visitor.page.wait_for_url("**like=*")
        visitor.settled()
        assert len(visitor.ids) == 9
        visitor.leave()
        server.install("--uninstall")
    assert sorted(place.config.rglob("*")) == before
