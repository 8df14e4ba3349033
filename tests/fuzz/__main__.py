"""``python -m tests.fuzz``: change the corpus, try each case, keep what is found."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

from clip_installer.resources import builtin_models
from clip_udfs.manifest import MANIFEST
from tests.broken_pictures import odd_but_whole, refused
from tests.fuzz import documents
from tests.fuzz.mutations import mutated, mutated_json
from tests.fuzz.target import Outcome, Target
from tests.models.pictures import corpus

# A case may take this much memory beside twenty times its own size: a megapixel decoded and copied, and its decoder.
ALLOWED_MEMORY = 128 << 20
ALLOWED_SECONDS = 20.0

STREAMS = (
    b"",
    b"3\ncat\n\\t\xe7\x8c\xab\\n\\\\\n\n0\n2\n\ncat\n",
    b"2\n\\N\n" + b"x" * 200 + b"\n",
    b"1\n" + b"\\\\" * 64 + b"\n1\n\\0\\b\\f\\r\\'\\x\\\n",
    b"3\n\x03cat\x00\x01\xff1\n\x80\x01" + b"y" * 128,
    b"3\n\x00\x03cat\x01\x00\x00",
    b"1\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"99999999999999999999\n",
)
TEXTS = (
    b"a photo of a cat",
    "一只黑猫 \N{CAT FACE}\N{ZERO WIDTH JOINER}\N{BLACK LARGE SQUARE} ÀÉ".encode(),
    b"<start_of_text>cat<end_of_text> &amp;lt; &#0; &#xD800; &nbsp",
    b"\xff\xfe\xed\xa0\x80 caf\xc3\xa9 \xc3\x83\xc2\xa9 \xe2\x80\x99",
    b"word " * 500,
    b"a" * 5000,
    b"\0\r\n\t\x0b\x0c\x1b[31m",
)
DOCUMENTS = ("manifest", "bundle", "records", "journal")
# Images are what most people send, so most cases are images.
TURNS = ("image",) * 6 + ("budget", "budget", "wire", "wire", "tokenizer", *DOCUMENTS)


def main() -> int:
    """Run for as long as was asked; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to run (600)")
    parser.add_argument("--seed", type=int, default=0, help="what all choices follow from (0)")
    parser.add_argument("--only", action="append", choices=sorted(set(TURNS)), help="try this; repeatable (all)")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where cases are kept")
    options = parser.parse_args()
    corpora = starting_points()
    turns = [what for what in TURNS if what in (options.only or TURNS)]
    counts: Counter[tuple[str, str]] = Counter()
    chosen = random.Random(options.seed)
    # Each kind has a process of its own: what one leaves in the allocator must not hide what another takes.
    targets = {what: Target(ALLOWED_SECONDS) for what in dict.fromkeys(turns)}
    end = time.monotonic() + options.seconds
    for what in itertools.cycle(turns):
        if time.monotonic() > end:
            break
        content = (mutated_json if what in DOCUMENTS else mutated)(chosen, corpora[what])
        outcome = judged(targets[what].attempt(what, content), len(content))
        counts[what, outcome.kind] += 1
        if outcome.kind == "broken":
            path = keep(options.findings, what, content)
            say(f"{path}: {outcome.text} ({outcome.peak >> 20} MiB, {outcome.seconds:.1f} s)")
    for target in targets.values():
        target.close()
    for (what, kind), number in sorted(counts.items()):
        say(f"{what:<10} {kind:<9} {number:>9}")
    return 1 if any(kind == "broken" for _, kind in counts) else 0


def starting_points() -> dict[str, list[bytes]]:
    """For each kind of case what the cases are made of."""
    images = [*corpus().values(), *odd_but_whole().values(), *(content for content, _ in refused().values())]
    records, journal = documents.sound_documents()
    bundle = documents.sound_bundle()
    return {
        "image": images,
        "budget": images,
        "wire": list(STREAMS),
        "tokenizer": list(TEXTS),
        "manifest": [
            json.dumps(bundle["manifest"]).encode(),
            (builtin_models() / "emoji" / MANIFEST).read_bytes(),
        ],
        "bundle": [json.dumps(bundle).encode()],
        "records": [records],
        "journal": [journal],
    }


def judged(outcome: Outcome, size: int) -> Outcome:
    """``outcome``, which is broken where the case of ``size`` bytes took more memory than it may."""
    if outcome.peak > ALLOWED_MEMORY + 20 * size:
        return Outcome("broken", f"took too much memory; {outcome.kind} {outcome.text}", outcome.peak, outcome.seconds)
    return outcome


def keep(folder: Path, what: str, content: bytes) -> Path:
    """Write the case to a file that is named after its content."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{what}-{sha256(content).hexdigest()[:12]}"
    path.write_bytes(content)
    return path


def say(line: str) -> None:
    """One line for the person who waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
