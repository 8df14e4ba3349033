"""index-pictures on a server: sources, captions, and views of any table. test_own_pictures.py interrupts runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from clip_installer import cli
from tests.own_pictures import paths
from tests.picture_files import write_picture, write_pictures
from tests.server.running import RunningServer, ServerPlace

PICTURES, BROKEN = 36, 18


@pytest.fixture(scope="module")
def root(place: ServerPlace) -> Path:
    """The directory of the pictures, below the server's image root."""
    return place.pictures / "own"


@pytest.fixture(scope="module")
def files(root: Path) -> dict[bytes, bool]:
    """All pictures with whether they are good ones; beside them a file that is none by its name."""
    written = dict(write_pictures(root, range(PICTURES), BROKEN))
    (root / "notes.txt").write_text("no picture")
    return written


def run(*arguments: object) -> int | str | None:
    """The exit status of a command with ``--json``."""
    with pytest.raises(SystemExit) as ended:
        cli.run(cli.program, "clip-udfs", [*map(str, arguments), "--json"])
    return ended.value.code


def indexed(server: RunningServer, *arguments: object) -> dict[str, object]:
    """What index-pictures answers."""
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as error:
        status = run("index-pictures", *arguments, "--url", server.url())
    assert status == 0, error.getvalue()
    answer: dict[str, object] = json.loads(output.getvalue())
    return answer


@pytest.fixture(scope="module")
def first(server: RunningServer, root: Path, files: dict[bytes, bool]) -> dict[str, object]:
    """A table of the pictures."""
    return indexed(server, root)


def test_every_file_is_in_the_table_once_or_refused(
    server: RunningServer, files: dict[bytes, bool], first: dict[str, object]
) -> None:
    """A file that is no picture by its name is not counted."""
    good = {path for path, is_good in files.items() if is_good}
    assert paths(server, "pictures") == good
    assert paths(server, "pictures_refusals") == set(files) - good
    assert first["files"] == PICTURES
    sizes = server.rows("SELECT min(width) >= 40, min(length(thumbnail)) > 0, uniqExact(hash) > 20 FROM pictures")
    assert [tuple(map(bool, row)) for row in sizes] == [(True, True, True)]


def test_nothing_is_removed_when_the_source_is_empty(
    server: RunningServer, root: Path, first: dict[str, object]
) -> None:
    """As if a disk were not mounted."""
    elsewhere = root.with_name("elsewhere")
    before = paths(server, "pictures")
    root.rename(elsewhere)
    root.mkdir()
    try:
        answer = indexed(server, root, "--prune")
    finally:
        root.rmdir()
        elsewhere.rename(root)
    assert answer["removed"] == 0 and "is it mounted?" in str(answer["notes"])
    assert paths(server, "pictures") == before


def test_captions_beside_the_pictures_are_encoded_and_followed(server: RunningServer, place: ServerPlace) -> None:
    folder = place.pictures / "captioned"
    folder.mkdir()
    for number in range(3):
        write_picture(folder / f"{number}.png", "PNG", number)
    (folder / "1.txt").write_text("a red circle\n")
    options = (folder, "--table", "captioned", "--sidecars")
    assert indexed(server, *options)["encoded"] == 3
    state = (
        "SELECT caption, text_embedding = if(caption = '', image_embedding, encode_text(caption))"
        " FROM captioned ORDER BY path"
    )
    assert server.rows(state) == [("", 1), ("a red circle", 1), ("", 1)]
    (folder / "2.txt").write_text("zwei Kreise")
    assert indexed(server, *options)["encoded"] == 1
    assert server.rows(state) == [("", 1), ("a red circle", 1), ("zwei Kreise", 1)]


def test_captions_of_a_table_are_joined_by_path(server: RunningServer, place: ServerPlace) -> None:
    folder = place.pictures / "titled"
    folder.mkdir()
    for number in range(2):
        write_picture(folder / f"{number}.png", "PNG", 70 + number)
    server.rows(
        "CREATE OR REPLACE VIEW titles AS SELECT concat('pictures/titled/', number, '.png') AS path,"
        " if(number = '0', 'a title', NULL) AS caption FROM (SELECT arrayJoin(['0', '1', '2']) AS number)"
    )
    options = (folder, "--table", "titled", "--captions", "titles", "--image-root", place.data / "user_files")
    assert indexed(server, *options)["encoded"] == 2
    assert server.rows("SELECT path, caption FROM titled ORDER BY path") == [
        ("pictures/titled/0.png", "a title"),
        ("pictures/titled/1.png", ""),
    ]


def test_any_table_gets_views_and_loses_them_again(
    server: RunningServer, first: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The table stays, and so does a view that someone else made."""
    server.rows("CREATE DATABASE shop")
    server.rows(
        "CREATE TABLE shop.products ENGINE = MergeTree ORDER BY id AS"
        " SELECT generateUUIDv4() AS id, path AS product, image_embedding AS embedding FROM pictures"
    )
    command = ("make-views", "--table", "shop.products", "--url", server.url())
    for changes in (True, False):
        capsys.readouterr()
        assert run(*command, "--vector", "embedding", "--columns", "id,product") == 0
        assert json.loads(capsys.readouterr().out)["changed"] is changes
    target = "(SELECT image_embedding FROM pictures ORDER BY path LIMIT 1)"
    found = server.rows(f"SELECT product FROM shop.search_products_by_embedding(embedding = {target}, k = 1)")
    assert found == server.rows("SELECT path FROM pictures ORDER BY path LIMIT 1")
    by_text = "shop.search_products_by_text(query = 'a red circle', k = 4)"
    assert server.rows(f"SELECT count(), countIf(relevance >= 0) FROM {by_text}") == [(4, 4)]
    server.rows("CREATE OR REPLACE VIEW shop.search_products_by_image AS SELECT 1 AS mine")
    assert run(*command, "--remove") == 0
    left = server.rows("SELECT name FROM system.tables WHERE database = 'shop' ORDER BY name")
    assert left == [("products",), ("search_products_by_image",)]


def test_files_that_the_server_reads_itself_give_the_same_vectors(
    server: RunningServer, place: ServerPlace, first: dict[str, object]
) -> None:
    folder = place.pictures / "served"
    list(write_pictures(folder, range(36), 20))
    by_path = indexed(server, folder, "--table", "by_path")
    by_content = indexed(server, f"file('{folder}/**/*')", "--table", "by_content")
    assert (by_content["encoded"], by_content["refused"]) == (by_path["encoded"], by_path["refused"])
    differ = (
        "SELECT count(), countIf(a.image_embedding != b.image_embedding OR a.hash != b.hash OR a.size != b.size)"
        " FROM by_path AS a INNER JOIN by_content AS b ON a.path = b.path"
    )
    assert server.rows(differ) == [(by_path["encoded"], 0)]
    assert indexed(server, f"file('{folder}/**/*')", "--table", "by_content")["changed"] is False


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """An object store with twelve pictures, under keys that no URL would have, as a call of s3()."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    client.create_bucket(Bucket="photos")
    contents = [Path(os.fsdecode(path)).read_bytes() for path, _ in write_pictures(tmp_path, range(11))]
    for number, content in enumerate([*contents, b"no image"]):
        client.put_object(Bucket="photos", Key=f"a/ä {number} it's {{b,c}}*?.jpg", Body=content)
    yield f"s3('http://{host}:{port}/photos/a/**', 'key', 'secret')"
    store.stop()


def test_a_bucket_is_read_by_the_server_and_its_key_kept_nowhere(server: RunningServer, bucket: str) -> None:
    answer = indexed(server, bucket, "--table", "bucket")
    assert (answer["encoded"], answer["refused"]) == (11, 1)
    assert indexed(server, bucket, "--table", "bucket")["changed"] is False
    assert server.rows("SELECT count() FROM bucket WHERE startsWith(path, 's3://photos/a/ä ') AND etag != ''") == [
        (11,)
    ]
    assert server.rows("SELECT count() FROM bucket WHERE position(source, 'secret') > 0") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/",), "outside the server's image roots"),
        (("/no/such/directory",), "there is no directory"),
        (("https://example.com/*.jpg",), "cannot list its files"),
        (("file('x', RawBLOB)",), "omit the format"),
        (("s3()",), "needs an argument"),
    ],
)
def test_a_source_that_cannot_work_is_refused_in_one_line(
    server: RunningServer,
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_picture(tmp_path / "outside.png", "PNG", 1)
    given = [str(tmp_path) if one == "/" else one for one in arguments]
    assert run("index-pictures", *given, "--table", "refused", "--url", server.url()) in (1, 2)
    message = json.loads(capsys.readouterr().err)["error"]["message"]
    assert words in message and "\n" not in message
