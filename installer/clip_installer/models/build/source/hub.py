"""Whether the Hugging Face hub, which provides tokenizers and text tower configurations, can be reached."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT_SECONDS = 10.0


def hub() -> str:
    """The hub's URL."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextmanager
def hub_answers_or_is_off() -> Iterator[None]:
    """Put huggingface_hub into offline mode if the hub is unreachable, so that it does not retry for a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _answers(hub()):
        yield
        return
    before = os.environ.get("HF_HUB_OFFLINE")
    constants.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] = True, "1"
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def is_out_of_reach(error: BaseException | None) -> bool:
    """Whether ``error`` means that the hub could not be reached."""
    from huggingface_hub import errors

    while error is not None:
        if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            return True
        if "couldn't connect to" in str(error):  # transformers says no more than this
            return True
        error = error.__cause__ or error.__context__
    return False


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # The hub's client may know certificates that Python itself does not.
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
