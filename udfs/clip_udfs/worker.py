"""One process of a pool: settings, one tower, then blocks of rows until ClickHouse closes the pipe.

Slow steps run in parallel: model files that must be hashed are hashed from the start, and while the engine loads its
    graph, which needs no Python, the rest is imported and the tokenizer is read.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clip_udfs.bundle import Bundle
from clip_udfs.encoders import Encoder, engine_files, likely_engine_files, open_encoder, tokenizer_files
from clip_udfs.errors import ClipUdfError, SettingsError, printable, shown
from clip_udfs.functions import FUNCTIONS, Function, Tower
from clip_udfs.integrity import Digests, vouched
from clip_udfs.manifest import TOKENIZER
from clip_udfs.settings import TAB_SEPARATED, WorkerSettings
from clip_udfs.verified import VerifiedFiles

if TYPE_CHECKING:
    from clip_udfs.images.answers import ImageAnswer
    from clip_udfs.images.decoder_pool import DecoderPool
    from clip_udfs.pipe.image_functions import ImageFunctionPipeline
    from clip_udfs.pipe.image_pipeline import ImagePipeline
    from clip_udfs.pipe.pipeline import Pipeline
    from clip_udfs.pipe.row_binary import RowBinaryWriter
    from clip_udfs.pipe.tab_separated import TabSeparatedWriter
    from clip_udfs.pipe.text_pipeline import TextPipeline
    from clip_udfs.pipe.wire import Reader

_MAX_PATH_BYTES = 4096


class _Command(NamedTuple):
    """What the launcher asks for; parsed here, because importing :mod:`argparse` takes a twentieth of a start.

    Attributes:
        function: The function to serve.
        settings: The JSON file that the installer wrote.
        header_written: Whether the header of the first answer is already written.
    """

    function: Function
    settings: Path
    header_written: bool

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> _Command:
        """Parse ``FUNCTION --settings FILE [--header-written]``.

        Raises:
            SettingsError: The arguments are others.
        """
        match arguments:
            case [name, "--settings", settings] if name in FUNCTIONS:
                return cls(FUNCTIONS[name], Path(settings), header_written=False)
            case [name, "--settings", settings, "--header-written"] if name in FUNCTIONS:
                return cls(FUNCTIONS[name], Path(settings), header_written=True)
        raise SettingsError(
            f"unknown arguments {shown(' '.join(arguments))}: was the launcher written by another version?"
            " Install again"
        )


def main(arguments: Sequence[str], answers: int, reasons: int) -> int:
    """Serve the function named in ``arguments``, writing answers to descriptor ``answers``.

    Returns:
        0 at the end of input, 1 after an error, which is written to descriptor ``reasons`` as one line.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    name = "clip_udfs"
    decoders: DecoderPool | None = None
    try:
        command = _Command.parse(arguments)
        function = command.function
        name = function.name
        settings = WorkerSettings.load(command.settings)
        name = function.sql_name(settings.suffix)
        bundle = None if function.tower is None else Bundle.open(settings.bundle)
        if function.source != "text":  # before anything here starts a thread
            from clip_udfs.images import work as image_work

            decoders = image_work.start_decoders(function, settings, bundle, (answers, reasons))
        threading.Thread(target=_end_when_nobody_reads, args=(answers, decoders), daemon=True).start()
        _serve_function(function, settings, bundle, decoders, answers, header_written=command.header_written)
    except ClipUdfError as error:
        return _fail(name, str(error), reasons)
    except MemoryError:
        return _fail(name, "out of memory", reasons)
    except BrokenPipeError:
        return 0  # ClickHouse closed the pool; nobody is listening
    except Exception as error:
        return _fail(name, f"internal error: {type(error).__name__}: {error}", reasons)
    finally:
        if decoders is not None:
            decoders.close()
    return 0


def _serve_function(
    function: Function,
    settings: WorkerSettings,
    bundle: Bundle | None,
    decoders: DecoderPool | None,
    answers: int,
    *,
    header_written: bool,
) -> None:
    encode: Callable[[Iterator[Any]], Iterator[Any]]
    if bundle is None:
        assert decoders is not None
        encode = _image_function(function, settings, decoders).encode
    else:
        encode = open_pipeline(function, settings, bundle, decoders).encode
    gc.freeze()  # what was loaded stays
    gc.enable()
    serve(function, settings, encode, answers, header_written=header_written)


def serve(
    function: Function,
    settings: WorkerSettings,
    answer: Callable[[Iterator[Any]], Iterator[Any]],
    descriptor: int,
    *,
    header_written: bool = False,
) -> None:
    """Answer block after block until the input ends.

    Args:
        function: The function, which defines what rows and answers look like.
        settings: The format of the pipe, and the limits of a value.
        answer: Takes the rows of a block and yields their answers in order, in pieces.
        descriptor: Where the answers go.
        header_written: Whether the header of the first block's answer is already written.

    Raises:
        ClipUdfError: The first error that must fail the query; rows before it may have been written.
    """
    from clip_udfs.pipe.wire import write_all

    reader, writer = _reader(function, settings), _writer(function, settings)
    row = reader.sized if function.takes_size else reader.value
    formatted: Callable[[Any], bytes] = writer.images if function.tower is None else writer.vectors
    header = b"" if header_written else writer.header
    while (rows := reader.next_block()) is not None:
        # Before anything can fail: while ClickHouse reads a header, it does not tell why a worker ended.
        write_all(descriptor, header)
        header = writer.header
        reader.read_columns()
        for piece in answer(row() for _ in range(rows)):
            write_all(descriptor, formatted(piece))


def open_pipeline(
    function: Function, settings: WorkerSettings, bundle: Bundle, decoders: DecoderPool | None
) -> Pipeline:
    """Load only what ``function`` needs of the model; an image function needs ``decoders``.

    Raises:
        ValueError: The function needs no model.
        ClipUdfError: Settings, bundle or engine cannot be used.
    """
    if function.tower is None:
        raise ValueError(f"{function.name} needs no model")
    digests = Digests(
        likely_engine_files(settings, bundle, function.tower), VerifiedFiles.beside(bundle.directory).holds
    )
    # This imports the engine here, and not in parallel with other imports, with which it would only take turns.
    files = engine_files(settings, bundle, function.tower)

    def load(tower: Tower) -> Encoder:
        with vouched(files, digests):
            if settings.engine == "torch":
                from clip_udfs.encoders.torch import leave_out_unused

                leave_out_unused(bundle)
            return open_encoder(settings, bundle, tower)

    encoder = _Loading(partial(load, function.tower))
    if decoders is None:
        return _text_pipeline(function, settings, bundle, encoder, digests)
    return _image_pipeline(function, settings, bundle, encoder, decoders)


class _Loading(threading.Thread):
    """A thread that loads an engine; importing :mod:`concurrent.futures`, and logging with it, would take time."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        """Begin."""
        super().__init__(name="load", daemon=True)
        self._load = load
        self._loaded: Encoder | BaseException
        self.start()

    def run(self) -> None:
        """See :class:`threading.Thread`."""
        try:
            self._loaded = self._load()
        except BaseException as error:
            self._loaded = error

    def result(self) -> Encoder:
        """The loaded engine; waits for it, and raises what loading raised."""
        self.join()
        if isinstance(self._loaded, BaseException):
            raise self._loaded
        return self._loaded


def _text_pipeline(
    function: Function, settings: WorkerSettings, bundle: Bundle, encoder: _Loading, digests: Digests
) -> TextPipeline:
    from clip_udfs.pipe.text_pipeline import TextPipeline
    from clip_udfs.text.merges import Merges
    from clip_udfs.text.tokenizer import Tokenizer

    tables = tokenizer_files(settings, bundle)
    with vouched({**bundle.records(TOKENIZER), **tables}, digests):
        merges = Merges(*tables) if tables else None
        tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text, merges, bundle.manifest.files[TOKENIZER])
    return TextPipeline(
        tokenizer,
        encoder.result(),
        dimension=bundle.manifest.dimension,
        strict=function.strict,
        normalize=settings.normalize,
        batch=settings.text_batch,
        cache=settings.text_cache,
    )


def _image_pipeline(
    function: Function, settings: WorkerSettings, bundle: Bundle, encoder: _Loading, decoders: DecoderPool
) -> ImagePipeline:
    from clip_udfs.images import work as image_work
    from clip_udfs.pipe.image_pipeline import ImagePipeline

    load = image_work.pixels(function, settings, bundle.manifest.image.size, decoders)
    return ImagePipeline(
        load,
        encoder.result(),
        dimension=bundle.manifest.dimension,
        strict=function.strict,
        normalize=settings.normalize,
        batch=settings.image_batch,
        threads=settings.decode_threads,
        budget=decoders.budget,
    )


def _image_function(function: Function, settings: WorkerSettings, decoders: DecoderPool) -> ImageFunctionPipeline:
    from clip_udfs.images import work as image_work
    from clip_udfs.pipe.image_functions import ImageFunctionPipeline

    answer: Callable[..., ImageAnswer]
    empty: Callable[[str], ImageAnswer]
    if function.answer == "thumbnail":
        answer, empty = image_work.thumbnail(function, settings, decoders), image_work.no_thumbnail
    else:
        answer, empty = image_work.info(function, settings, decoders), image_work.no_info
    return ImageFunctionPipeline(
        answer, empty=empty, strict=function.strict, threads=settings.decode_threads, budget=decoders.budget
    )


def _reader(function: Function, settings: WorkerSettings) -> Reader:
    limit = {
        "text": settings.max_text_bytes,
        "path": _MAX_PATH_BYTES,
        "bytes": settings.max_image_bytes,
    }[function.source]
    if settings.format == TAB_SEPARATED:
        from clip_udfs.pipe.tab_separated import TabSeparatedReader

        return TabSeparatedReader(_read, limit)
    from clip_udfs.pipe.row_binary import RowBinaryReader

    return RowBinaryReader(_read, limit, columns=len(function.arguments))


def _writer(function: Function, settings: WorkerSettings) -> TabSeparatedWriter | RowBinaryWriter:
    if settings.format == TAB_SEPARATED:
        from clip_udfs.pipe.tab_separated import TabSeparatedWriter

        return TabSeparatedWriter()
    from clip_udfs.pipe.row_binary import RowBinaryWriter

    return RowBinaryWriter(function.return_name, function.return_type)


def _end_when_nobody_reads(answers: int, decoders: DecoderPool | None) -> None:
    """End the process as soon as the pipe's other end is closed, whatever the engine is doing.

    This is how ClickHouse releases a worker, and what happens when the server dies. A worker that continued would waste
    a core until ClickHouse killed it some seconds later and left a zombie behind.
    """
    closed = select.poll()
    closed.register(answers, 0)  # no events but errors, which are always reported
    closed.poll()
    if decoders is not None:
        decoders.close()
    os._exit(0)


def _read(size: int) -> bytes:
    return os.read(0, size)


def _fail(name: str, reason: str, reasons: int) -> int:
    line = printable(f"{name}: {reason}")
    with suppress(OSError):  # a full disk: the exit status says the rest
        os.write(reasons, line.encode("utf-8", "replace") + b"\n")  # one write: ClickHouse raises what it reads first
    return 1
