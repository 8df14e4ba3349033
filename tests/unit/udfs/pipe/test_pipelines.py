"""Order, repetition, bounds and refusals, with engines that say what they were given."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_udfs.errors import BundleError, ValueRefused
from clip_udfs.images.budget import BlockBudget
from clip_udfs.pipe.image_pipeline import ImagePipeline
from clip_udfs.pipe.pipeline import AHEAD, AHEAD_BYTES, RowRefused
from clip_udfs.pipe.scheduler import MANY_BATCHES, MOST_BATCHES
from clip_udfs.pipe.text_pipeline import FIRST_TOKENS, TEXT_WINDOW, TOKENS_PER_ROW, WINDOW_BYTES, TextPipeline
from clip_udfs.pipe.vectors import Vectors
from clip_udfs.pipe.wire import Oversized, Value

BUDGET = BlockBudget(10)


class LengthTokenizer:
    """Stands in for the tokenizer: one token a character."""

    def attempt(self, texts: Sequence[str]) -> list[list[int] | ValueRefused]:
        return [
            ValueRefused("too blue") if text.startswith("blue") else [ord(character) for character in text] or [0]
            for text in texts
        ]

    context_length = 0

    def padded(self, tokens: int) -> int:
        return self.context_length or tokens

    def pad(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        batch = np.zeros((len(sequences), self.padded(max(map(len, sequences)))), np.int64)
        for row, sequence in zip(batch, sequences, strict=True):
            row[: len(sequence)] = sequence
        return batch


class RecordingEncoder:
    """An engine whose vector is (1, sum of the input) and which remembers the shapes of its batches."""

    def __init__(self, parallel_batches: int = 1) -> None:
        self.parallel_batches = parallel_batches
        self.shapes: list[tuple[int, ...]] = []
        self.parallel: list[bool] = []
        self.most = self._running = 0
        self._change = threading.Condition()

    def encode(self, batch: NDArray[Any], *, exclusive: bool = True) -> NDArray[np.float32]:
        with self._change:
            self.shapes.append(batch.shape)
            self.parallel.append(not exclusive)
            self._running += 1
            self.most = max(self.most, self._running)
            self._change.notify_all()
            if not exclusive:  # until the others have come, once
                assert self._change.wait_for(lambda: self.most == self.parallel_batches, 60)
            self._running -= 1
        sums = batch.reshape(len(batch), -1).sum(axis=1)
        return np.stack([np.ones(len(batch)), sums], axis=1).astype(np.float32)


def text_pipeline(*, strict: bool = True, batch: int = 8, cache: int = 0) -> tuple[TextPipeline, RecordingEncoder]:
    encoder = RecordingEncoder()
    pipeline = TextPipeline(
        LengthTokenizer(),
        encoder,
        dimension=2,
        strict=strict,
        normalize=False,
        batch=batch,
        cache=cache,  # type: ignore[arg-type]
    )
    return pipeline, encoder


def sums(answers: Iterator[Vectors]) -> list[float | None]:
    return [
        float(row[1]) if present else None
        for vectors in answers
        for row, present in zip(vectors.matrix, vectors.present, strict=True)
    ]


def test_texts_come_back_in_order_although_batches_are_sorted_by_length() -> None:
    pipeline, encoder = text_pipeline()
    texts = [chr(97 + i % 7) * (1 + i * 37 % 23) for i in range(3 * TEXT_WINDOW)]
    assert sums(pipeline.encode(text.encode() for text in texts)) == [sum(map(ord, text)) for text in texts]
    assert max(rows for rows, _ in encoder.shapes) <= 8


def test_long_texts_go_in_smaller_batches() -> None:
    pipeline, encoder = text_pipeline()
    texts = ["a" * length for length in (3 * TOKENS_PER_ROW, 1, 2 * TOKENS_PER_ROW, 9 * TOKENS_PER_ROW, 2)]
    texts += [chr(98 + index) + "a" * (2 * TOKENS_PER_ROW - 1) for index in range(8)]
    assert sums(pipeline.encode(text.encode() for text in texts)) == [sum(map(ord, text)) for text in texts]
    assert all(rows * length <= 8 * TOKENS_PER_ROW or rows == 1 for rows, length in encoder.shapes)
    assert len(encoder.shapes) < len(texts)


def test_where_the_tower_wants_full_sequences_batches_are_bounded_by_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LengthTokenizer, "context_length", 4 * TOKENS_PER_ROW)
    pipeline, encoder = text_pipeline()
    texts = [chr(97 + index) for index in range(20)]
    assert sums(pipeline.encode(text.encode() for text in texts)) == [sum(map(ord, text)) for text in texts]
    assert set(encoder.shapes) == {(2, 4 * TOKENS_PER_ROW)}


def test_a_repeated_text_is_encoded_once_and_remembered_for_the_next_block() -> None:
    pipeline, encoder = text_pipeline(cache=2)
    assert sums(pipeline.encode(iter([b"a", b"b", b"a", b"a"]))) == [97, 98, 97, 97]
    assert [rows for rows, _ in encoder.shapes] == [2]
    assert sums(pipeline.encode(iter([b"b", b"a"]))) == [98, 97]
    assert len(encoder.shapes) == 1
    list(pipeline.encode(iter([b"c"])))  # forgets "b", the one that was not used last
    list(pipeline.encode(iter([b"a", b"c"])))
    assert len(encoder.shapes) == 2
    list(pipeline.encode(iter([b"b"])))
    assert len(encoder.shapes) == 3


def test_without_a_cache_nothing_is_remembered_beyond_a_block() -> None:
    """So that no time of an answer tells which texts others have encoded."""
    pipeline, encoder = text_pipeline(cache=0)
    assert sums(pipeline.encode(iter([b"a", b"a"]))) == [97, 97]
    assert [rows for rows, _ in encoder.shapes] == [1]
    list(pipeline.encode(iter([b"a"])))
    assert [rows for rows, _ in encoder.shapes] == [1, 1]


def test_a_slow_model_answers_a_few_texts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the block and slow the model, because ClickHouse gives up on a silent worker."""

    class SlowEncoder(RecordingEncoder):
        def encode(self, batch: NDArray[Any], *, exclusive: bool = True) -> NDArray[np.float32]:
            clock[0] += batch.size
            return super().encode(batch)

    clock = [0.0]
    monkeypatch.setattr("clip_udfs.pipe.text_pipeline.time.monotonic", lambda: clock[0])
    pipeline = TextPipeline(
        LengthTokenizer(),  # type: ignore[arg-type]
        SlowEncoder(),
        dimension=2,
        strict=True,
        normalize=False,
        batch=8,
        cache=0,
    )
    pieces = [len(vectors.matrix) for vectors in pipeline.encode(iter([b"%08d" % number for number in range(500)]))]
    assert sum(pieces) == 500
    assert pieces[0] == FIRST_TOKENS // 8
    assert max(pieces[1:]) == 8 * TOKENS_PER_ROW // 8


def test_answers_flow_before_the_whole_block_was_read() -> None:
    pipeline, _ = text_pipeline()
    taken = 0

    def endless() -> Iterator[Value]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x%d" % taken

    first = next(pipeline.encode(endless()))
    assert 0 < len(first.matrix) <= taken == TEXT_WINDOW


def test_text_that_is_not_utf8_gets_replacement_characters() -> None:
    pipeline, _ = text_pipeline()
    assert sums(pipeline.encode(iter([b"a\xff"]))) == [97 + 0xFFFD]


@pytest.mark.parametrize(("value", "reason"), [(None, "NULL"), (Oversized(9999), "9999 bytes")])
def test_a_refused_text_fails_a_strict_function_and_is_empty_in_the_other(value: Value, reason: str) -> None:
    strict, _ = text_pipeline()
    with pytest.raises(RowRefused, match=rf"row 3: .*{reason}"):
        list(strict.encode(iter([b"a", b"b", value])))
    forgiving, _ = text_pipeline(strict=False)
    assert sums(forgiving.encode(iter([value, b"b", value]))) == [None, 98, None]
    assert sums(forgiving.encode(iter([value]))) == [None]


def test_a_text_on_which_the_tokenizer_fails_is_named_or_empty() -> None:
    strict, _ = text_pipeline()
    with pytest.raises(RowRefused, match=r"^row 2: 'blue\\x1b\[31m': too blue$"):
        list(strict.encode(iter([b"a", b"blue\x1b[31m", b"blue"])))
    forgiving, _ = text_pipeline(strict=False)
    assert sums(forgiving.encode(iter([b"blue", b"b", b"blue"]))) == [None, 98, None]


def load(value: bytes) -> NDArray[np.uint8]:
    if value.startswith(b"bad"):
        raise ValueRefused(f"{value.decode()}: broken")
    return np.full((2, 2, 3), int(value) % 200, np.uint8)


def image_pipeline(*, strict: bool = True, normalize: bool = False) -> tuple[ImagePipeline, RecordingEncoder]:
    encoder = RecordingEncoder()
    pipeline = ImagePipeline(
        load, encoder, dimension=2, strict=strict, normalize=normalize, batch=4, threads=3, budget=BUDGET
    )
    return pipeline, encoder


def test_decoding_engine_and_answer_overlap() -> None:
    """While a batch is encoded, the next is decoded and the previous one can be written."""
    decoded: list[bytes] = []
    go_on = [threading.Event() for _ in range(3)]
    begun = [threading.Event() for _ in range(3)]

    class SlowEncoder:
        parallel_batches = 1
        calls = 0

        def encode(self, batch: NDArray[np.uint8], *, exclusive: bool = True) -> NDArray[np.float32]:
            assert exclusive
            number = self.calls
            self.calls += 1
            begun[number].set()
            assert go_on[number].wait(60)
            return np.ones((len(batch), 2), np.float32)

    def load_noted(value: bytes) -> NDArray[np.uint8]:
        decoded.append(value)
        return load(value)

    pipeline = ImagePipeline(
        load_noted, SlowEncoder(), dimension=2, strict=True, normalize=False, batch=2, threads=2, budget=BUDGET
    )
    answers = pipeline.encode(iter([b"%d" % number for number in range(6)]))
    go_on[0].set()
    assert len(next(answers).matrix) == 2
    assert begun[1].wait(60)  # the second batch is with the engine although nobody has asked for it yet
    assert len(decoded) >= 4
    for event in go_on:
        event.set()
    assert [len(one.matrix) for one in answers] == [2, 2]


def test_pictures_come_back_in_order_in_batches() -> None:
    pipeline, encoder = image_pipeline()
    values = [b"%d" % i for i in range(50)]
    assert sums(pipeline.encode(iter(values))) == [12 * (i % 200) for i in range(50)]
    assert [shape[0] for shape in encoder.shapes] == [4] * 12 + [2]


def test_no_more_than_a_few_batches_are_held_parallel_batches() -> None:
    pipeline, _ = image_pipeline()
    taken = 0

    def endless() -> Iterator[Value]:
        nonlocal taken
        while True:
            taken += 1
            yield b"1"

    answers = pipeline.encode(endless())
    for done in range(1, 6):
        next(answers)
        assert taken <= 4 * done + AHEAD
    answers.close()


@pytest.mark.parametrize("rows", [2 * MANY_BATCHES - 2, 2 * MANY_BATCHES, 40])
def test_many_batches_are_encoded_in_parallel_and_come_back_in_order(rows: int) -> None:
    """Two at a time; a block of few batches is left to one engine run after the other."""
    many = rows >= 2 * MANY_BATCHES
    for kind in ("text", "image"):
        encoder = RecordingEncoder(parallel_batches=2)
        if kind == "text":
            texts = TextPipeline(
                LengthTokenizer(),  # type: ignore[arg-type]
                encoder,
                dimension=2,
                strict=True,
                normalize=False,
                batch=2,
                cache=0,
            )
            answers = texts.encode(iter([b"%d" % (10 + i) for i in range(rows)]))
            wanted = [ord(str(10 + i)[0]) + ord(str(10 + i)[1]) for i in range(rows)]
        else:
            pictures = ImagePipeline(
                load, encoder, dimension=2, strict=True, normalize=False, batch=2, threads=3, budget=BUDGET
            )
            answers = pictures.encode(iter([b"%d" % i for i in range(rows)]))
            wanted = [12 * i for i in range(rows)]
        assert sums(answers) == wanted
        assert set(encoder.parallel) == {many}
        assert encoder.most == (2 if many else 1)


def test_an_engine_with_more_threads_than_batches_encodes_in_parallel() -> None:
    class WideEncoder(RecordingEncoder):
        def encode(self, batch: NDArray[Any], *, exclusive: bool = True) -> NDArray[np.float32]:
            assert not exclusive
            return super().encode(batch)

    pipeline = TextPipeline(
        LengthTokenizer(),  # type: ignore[arg-type]
        WideEncoder(parallel_batches=200),
        dimension=2,
        strict=True,
        normalize=False,
        batch=TEXT_WINDOW // MOST_BATCHES,
        cache=0,
    )
    texts = [b"%04d" % number for number in range(TEXT_WINDOW)]
    assert sums(pipeline.encode(iter(texts))) == [sum(text) for text in texts]


def test_a_bad_picture_fails_the_strict_function_with_its_row_and_leaves_the_others_alone() -> None:
    strict, _ = image_pipeline()
    values: list[Value] = [b"%d" % i for i in range(9)]
    values[6] = b"bad one"
    with pytest.raises(RowRefused, match="row 7: bad one: broken"):
        list(strict.encode(iter(values)))
    forgiving, encoder = image_pipeline(strict=False)
    values[2] = None
    values[8] = Oversized(5)
    wanted = [None if i in (2, 6, 8) else 12.0 * i for i in range(9)]
    assert sums(forgiving.encode(iter(values))) == wanted
    assert sum(shape[0] for shape in encoder.shapes) == 6
    assert sums(forgiving.encode(iter([b"bad", None]))) == [None, None]


def test_normalised_vectors_have_length_one() -> None:
    pipeline, _ = image_pipeline(normalize=True)
    (vectors,) = pipeline.encode(iter([b"1", b"2", b"3"]))
    assert np.linalg.norm(vectors.matrix, axis=1) == pytest.approx(1, abs=1e-6)


def test_vectors_of_another_length_than_the_manifest_says_are_refused() -> None:
    texts = TextPipeline(
        LengthTokenizer(),  # type: ignore[arg-type]
        RecordingEncoder(),
        dimension=3,
        strict=False,
        normalize=True,
        batch=8,
        cache=0,
    )
    pictures = ImagePipeline(
        load, RecordingEncoder(), dimension=3, strict=False, normalize=True, batch=4, threads=1, budget=BUDGET
    )
    for answers in (texts.encode(iter([b"a"])), pictures.encode(iter([b"1"]))):
        with pytest.raises(BundleError, match="vectors of 2 numbers, its manifest says 3: build the bundle again"):
            list(answers)


def test_long_texts_are_not_held_by_the_thousand() -> None:
    pipeline, _ = text_pipeline()
    values = iter([b"x" * (WINDOW_BYTES // 4)] * 10)
    answers = pipeline.encode(values)
    next(answers)
    assert len(list(values)) == 6, "what was not taken yet"


def test_large_pictures_are_taken_one_by_one() -> None:
    pipeline = ImagePipeline(
        lambda value: load(value[:1]),
        RecordingEncoder(),
        dimension=2,
        strict=True,
        normalize=False,
        batch=4,
        threads=1,
        budget=BUDGET,
    )
    values = iter([b"1" * AHEAD_BYTES] * 3 + [b"1"] * 6)
    answers = pipeline.encode(values)
    assert len(next(answers).matrix) == 1
    assert len(list(values)) == 7, "what was not taken yet: one is answered, one with the engine"
