"""The checks of one version, run with that version's chDB first on the path: ``probe.py CONFIG DATA STATEMENTS``.

Prints one JSON object: the version, what a refused row tells a client, and for each check "yes" or the error.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A grey picture of 8 x 8 pixels.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEElEQVR4nGNoaGjAihiGlgQAf+tIARhB1x8AAAAASUVORK5CYII="
ROWS = (
    "INSERT INTO laion (id, url, caption, image_embedding, text_embedding) SELECT number, toString(number),"
    " toString(number), encode_text(toString(number)), encode_text(toString(number)) FROM numbers(200)"
)
# What the queries of the search page are asked.
PARAMETERS = {
    **{"q": "7", "id": "7", "k": "5", "n": "5", "skip": "0", "nsfw": "1", "size": "320"},
    **{"min_width": "0", "min_height": "0", "licenses": "[]"},
}
REFUSED = "SELECT encode_image('missing.png')"


def main(config: str, data: str, statements: str) -> None:
    """Run the checks and print what came of them."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from chdb import session

    engine = session.Session(f"{data}?config-file={config}")

    def ask(sql: str) -> str:
        return str(engine.query(sql, "TabSeparated")).strip()

    def attempt(check: Callable[[], str | None]) -> str:
        try:
            said = check()
        except Exception as error:
            said = str(error).split(", Stack trace")[0]
        return "yes" if said is None else " ".join(said.split())

    def equal(sql: str, wanted: str) -> Callable[[], str | None]:
        def check() -> str | None:
            got = ask(sql)
            return None if got == wanted else f"{got} instead of {wanted}"

        return check

    def message(sql: str) -> str:
        try:
            return f"answers {ask(sql)[:40]}"
        except Exception as error:
            return str(error).split(", Stack trace")[0]

    def refused(sql: str, reason: str) -> Callable[[], str | None]:
        def check() -> str | None:
            said = message(sql)
            return None if reason in said else said

        return check

    schema = json.loads(Path(statements).read_text())

    def run(group: str) -> Callable[[], str | None]:
        def check() -> str | None:
            for statement in schema[group]:
                ask(statement)
            return None

        return check

    def queries() -> str | None:
        for query in schema["page"]:
            used = "".join(
                f"SET param_{name} = '{value}'; " for name, value in PARAMETERS.items() if f"{{{name}:" in query
            )
            ask(used + query.replace("{_request_body:String}", bytes_).partition("\nFORMAT")[0])
        return None

    (Path(data) / "user_files" / "grey.png").write_bytes(base64.b64decode(PICTURE))
    bytes_ = f"unhex('{base64.b64decode(PICTURE).hex()}')"
    near = "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, encode_text('7')) LIMIT 1"
    checks: dict[str, Callable[[], str | None]] = {
        "the six functions": equal(
            "SELECT length(encode_text('a')), length(encode_image('grey.png')), length(encode_image_bytes("
            f"{bytes_})), length(try_encode_text('a')), length(try_encode_image('grey.png')), length("
            f"try_encode_image_bytes({bytes_}))",
            "\t".join(["512"] * 6),
        ),
        "thumbnail and image_info": equal(
            f"SELECT length(thumbnail('grey.png', 4)) > 0, length(toString(image_info_bytes({bytes_}))) > 0", "1\t1"
        ),
        "NULL and bad rows": equal(
            "SELECT groupArray(length(try_encode_image(p))) FROM (SELECT arrayJoin(['grey.png', NULL, 'x']) AS p)",
            "[512,0,0]",
        ),
        "the reason in the message": refused(REFUSED, "encode_image: row 1: 'missing.png': no such file"),
        "a right query after a failed one": equal("SELECT length(encode_image('grey.png'))", "512"),
        "100 000 rows": equal(
            "SELECT sum(length(encode_text(toString(number % 100)))) FROM numbers(100000)", "51200000"
        ),
        "refused in an index": refused(
            "CREATE TABLE bad (s String, INDEX i encode_text(s) TYPE minmax) ENGINE = MergeTree ORDER BY tuple()",
            "eterministic",
        ),
        "table and views": run("schema"),
        "rows by INSERT … SELECT": lambda: ask(ROWS) or None,
        "search_by_text": equal("SELECT url FROM search_by_text(query = '7', k = 1)", "7"),
        "queries of the search page": queries,
        "vector index": run("indexes"),
        "the index is used": lambda: (
            None if "vector_similarity" in ask(f"EXPLAIN indexes = 1 {near}") else "the index is not used"
        ),
        "monitoring views": lambda: ask("SYSTEM FLUSH LOGS") or run("monitoring")(),
    }
    results: dict[str, Any] = {"version": ask("SELECT version()"), "message": message(REFUSED)}
    for name, check in checks.items():
        results[name] = attempt(check)
    out.write(json.dumps(results) + "\n")
    out.flush()
    os._exit(0)  # some versions do not end by themselves while a pool of workers lives


if __name__ == "__main__":
    main(*sys.argv[1:])
