"""index-pictures on a server: every file once, in the table or among the refusals; interrupted, repeated, changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.own_pictures import paths
from tests.picture_files import spoil, write_picture, write_pictures
from tests.server.running import RunningServer, ServerPlace

PICTURES, BROKEN = 120, 20


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


def command(server: RunningServer, *arguments: object) -> list[str]:
    url = ["--url", server.url()]
    return [sys.executable, "-m", "clip_installer", "index-pictures", *map(str, arguments), *url]


def indexed(server: RunningServer, *arguments: object) -> dict[str, object]:
    """What the command answers with --json."""
    done = subprocess.run([*command(server, *arguments), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def first(server: RunningServer, root: Path, files: dict[bytes, bool]) -> Iterator[dict[str, object]]:
    """The first run that was not interrupted, after two that were."""
    for _ in range(2):
        killed = subprocess.Popen(command(server, root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while not server.rows("SELECT 1 FROM system.processes WHERE query LIKE '%INSERT INTO pictures%try_encode%'"):
            assert killed.poll() is None or time.monotonic() - began < 300
            if killed.poll() is not None:
                break
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    yield indexed(server, root)


def test_every_file_is_in_the_table_once_or_refused_with_its_reason(
    server: RunningServer, files: dict[bytes, bool], first: dict[str, object]
) -> None:
    good = {path for path, is_good in files.items() if is_good}
    assert paths(server, "pictures") == good
    assert paths(server, "pictures_refusals") == set(files) - good
    assert server.rows("SELECT count() FROM pictures_refusals WHERE reason = '' OR startsWith(reason, '\\'')") == [(0,)]
    assert first["files"] == PICTURES
    sizes = server.rows("SELECT min(width) >= 40, min(length(thumbnail)) > 0, uniqExact(hash) > 100 FROM pictures")
    assert [tuple(map(bool, row)) for row in sizes] == [(True, True, True)]


def test_a_second_run_encodes_nothing(server: RunningServer, root: Path, first: dict[str, object]) -> None:
    before = server.rows("SELECT max(indexed) FROM pictures")
    again = indexed(server, root)
    assert (again["encoded"], again["refused"], again["gone"], again["changed"]) == (0, 0, 0, False)
    assert server.rows("SELECT max(indexed) FROM pictures") == before


def test_what_changes_is_followed(
    server: RunningServer, root: Path, files: dict[bytes, bool], first: dict[str, object]
) -> None:
    good = sorted(path for path, is_good in files.items() if is_good)
    touched, changed, renamed, deleted, spoiled = (Path(os.fsdecode(path)) for path in good[:5])
    mended = Path(os.fsdecode(next(path for path, is_good in sorted(files.items()) if not is_good)))
    before = server.rows(f"SELECT image_embedding FROM pictures WHERE path = unhex('{os.fsencode(changed).hex()}')")
    os.utime(touched, ns=(1, 10**18))
    write_picture(changed, "PNG", 5_000)
    other = renamed.with_name("renamed.png")
    renamed.rename(other)
    deleted.unlink()
    spoil(spoiled, 1)
    write_picture(mended, "PNG", 6_000)
    answer = indexed(server, root)
    assert (answer["encoded"], answer["refused"], answer["gone"], answer["removed"]) == (4, 1, 2, 0)
    expected = {*good, os.fsencode(other), os.fsencode(mended)} - {os.fsencode(spoiled)}
    assert paths(server, "pictures") == expected
    assert os.fsencode(spoiled) in paths(server, "pictures_refusals")
    assert os.fsencode(mended) not in paths(server, "pictures_refusals")
    after = server.rows(f"SELECT image_embedding FROM pictures WHERE path = unhex('{os.fsencode(changed).hex()}')")
    assert before != after
    pruned = indexed(server, root, "--prune")
    assert (pruned["encoded"], pruned["removed"]) == (0, 2)
    assert paths(server, "pictures") == expected - {os.fsencode(renamed), os.fsencode(deleted)}
    # The index still proposes the rows that were deleted; the views search on past them.
    target = f"(SELECT image_embedding FROM pictures WHERE path = unhex('{os.fsencode(changed).hex()}'))"
    found = server.rows(f"SELECT path FROM search_pictures_by_embedding(embedding = {target}, k = 300)")
    assert len(found) == len(paths(server, "pictures"))


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
    server: RunningServer, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    write_picture(tmp_path / "outside.png", "PNG", 1)
    given = [str(tmp_path) if one == "/" else one for one in arguments]
    done = subprocess.run(command(server, *given, "--table", "refused"), capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2) and words in done.stderr and "Traceback" not in done.stderr
