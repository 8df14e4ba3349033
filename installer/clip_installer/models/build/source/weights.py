"""Finds a model's weights: a checkpoint file, or the file of an open_clip tag, downloaded unless it is cached.

open_clip would download through huggingface_hub, which restarts after each interruption and, without a network, retries
for 45 seconds before it reports the problem.
"""

from __future__ import annotations

import re
import urllib.error
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from clip_installer.download import Downloader, NotOnServer, cache_folder
from clip_installer.errors import DownloadError, ModelError
from clip_installer.progress import progress
from clip_udfs.errors import one_line

RANDOM = "random"
FOLDER_CONFIG = "open_clip_config.json"
_DEFAULT_FILE = "open_clip_pytorch_model.bin"
_SHAPES = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)")
_SAFE_FILE = "open_clip_model.safetensors"
# Entries of an archive that are not weights.
_NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size", "attn_mask"})
_TRIES = 3
_FIRST_WAIT_SECONDS = 0.5
# The keys that determine image preprocessing; weights of tags that agree on them load the same way.
_PREPARATION = ("mean", "std", "interpolation", "resize_mode", "size", "fill_color")


@dataclass(frozen=True)
class Weights:
    """Weights for an architecture.

    Attributes:
        name: Tag, or name of the checkpoint file; '' for random weights.
        tag: The open_clip tag that defines their image preprocessing; None if no tag does.
        file: The checkpoint; None for random weights.
    """

    name: str
    tag: str | None = None
    file: Path | None = None


def find_weights(architecture: str, pretrained: str) -> Weights:
    """Resolve ``pretrained``: ``random``, a tag, a checkpoint file, or ``TAG=FILE``.

    A tag is downloaded unless the huggingface_hub cache or our own contains it, with a progress bar on a terminal and
    resuming an interrupted download. A file without a tag is accepted if all tags of the architecture share one image
    preprocessing.

    Raises:
        ModelError: It is none of these, or unavailable.
    """
    import open_clip

    if pretrained == RANDOM:
        return Weights("")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    tag, _, named = pretrained.partition("=")
    if tag in tags and named:
        return Weights(Path(named).name, tag, _existing(Path(named), pretrained))
    if pretrained in tags:
        return Weights(pretrained, pretrained, _fetched(architecture, pretrained))
    file = Path(pretrained)
    if file.is_dir():
        raise ModelError(
            f"--pretrained {pretrained} is a directory: give the checkpoint file in it; if it contains"
            f" {FOLDER_CONFIG}, use --model with the directory and omit --pretrained"
        )
    if file.is_file():
        return Weights(file.name, _common_tag(architecture, tags, file), file)
    known = f"its tags: {', '.join(tags)}" if tags else "it has no tags"
    others = [name for name, tag in open_clip.list_pretrained() if tag == pretrained]
    known += f"; {', '.join(others[:4])} has that tag" if others else ""
    raise ModelError(
        f"{pretrained!r} is neither a file nor a pretrained tag of {architecture}{like(pretrained, tags)} ({known})"
    )


def like(name: str, known: Sequence[str]) -> str:
    """A hint that suggests the ``known`` names spelled most like ``name``; '' if there are none."""
    folded = {one.casefold(): one for one in known}
    near = [folded[one] for one in get_close_matches(name.casefold(), folded, n=3, cutoff=0.7)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def folder_weights(folder: Path) -> Path:
    """The checkpoint in a folder from the Hugging Face hub, chosen as open_clip chooses it.

    Raises:
        ModelError: The folder has none; open_clip would silently use random weights.
    """
    from open_clip.factory import _find_checkpoint_in_dir

    found = _find_checkpoint_in_dir(folder)
    if found is None:
        raise ModelError(
            f"{folder} contains {FOLDER_CONFIG} but no weights (*.safetensors, *.bin or *.pth); copy the whole folder"
        )
    return Path(found)


def readable(file: Path, scratch: Path) -> Path:
    """``file``, or its tensors as safetensors in ``scratch`` if it is a TorchScript archive like OpenAI's.

    open_clip loads checkpoints as tensors only and refuses such archives.
    """
    if not zipfile.is_zipfile(file):
        return file
    with zipfile.ZipFile(file) as archive:
        if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return file
    import torch
    from safetensors.torch import save_file

    state = torch.jit.load(str(file), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    tensors = {
        name: tensor.float().contiguous()
        for name, tensor in state.items()
        if name.rpartition(".")[2] not in _NO_WEIGHTS
    }
    save_file(tensors, scratch / "weights.safetensors")
    return scratch / "weights.safetensors"


def misfit(error: BaseException) -> str | None:
    """A short description of why a checkpoint does not fit its architecture; None for any other ``error``."""
    text = str(error)
    if "Weights only load failed" in text or "UnpicklingError" in type(error).__name__:
        return "the file is damaged, or contains more than tensors, which is never loaded: save only its state_dict"
    if "loading state_dict" not in text:
        return None
    shapes = _SHAPES.findall(text)
    said = (
        [f"{len(shapes)} with a different shape ({' '.join(shapes[0][:2])} instead of {shapes[0][2]})"]
        if shapes
        else []
    )
    for kind, words in (("Missing", "missing"), ("Unexpected", "unexpected")):
        found = re.search(rf"{kind} key\(s\) in state_dict: (.*)", text)
        names = re.findall(r'"([^"]+)"', found[1]) if found else []
        said += [f"{len(names)} {words} ({names[0]})"] if names else []
    return f"the weights belong to another architecture: {', '.join(said)}; list all with: clip-udfs models --available"


def _existing(file: Path, pretrained: str) -> Path:
    if not file.is_file():
        raise ModelError(f"--pretrained {pretrained}: file {file} does not exist")
    return file


def _common_tag(architecture: str, tags: list[str], file: Path) -> str | None:
    import open_clip

    preparations: dict[tuple[object, ...], str] = {}
    for tag in tags:
        config = open_clip.get_pretrained_cfg(architecture, tag)
        preparations.setdefault(tuple(config.get(key) for key in _PREPARATION), tag)
    if len(preparations) > 1:
        raise ModelError(
            f"the tags of {architecture} use {len(preparations)} different image preprocessings; name the tag that"
            f" {file} contains or was fine-tuned from: --pretrained TAG={file}, where TAG is one of {', '.join(tags)}"
        )
    return next(iter(preparations.values()), None)


def _fetched(architecture: str, tag: str) -> Path:
    import open_clip
    from huggingface_hub import get_token, hf_hub_url, try_to_load_from_cache

    repository, _, file = open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"].rpartition("/")
    names = _candidates(file or _DEFAULT_FILE)
    own: Path = cache_folder("weights") / repository.replace("/", "--")
    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
        if (own / name).is_file():
            return own / name
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with progress() as advance:
        downloader = Downloader(attempts=_TRIES, first_wait=_FIRST_WAIT_SECONDS, advance=advance, headers=headers)
        for name in names:
            url = hf_hub_url(repository, name)
            try:
                downloader.fetch(url, own / name)
                return own / name
            except NotOnServer as error:
                refused: DownloadError = error
            except DownloadError as error:
                raise _not_to_be_had(architecture, tag, url, error) from error
    raise _not_to_be_had(architecture, tag, url, refused)


def _candidates(file: str) -> list[str]:
    if file == _DEFAULT_FILE:
        return [_SAFE_FILE, file]
    return [f"{file[:-4]}.safetensors", file] if file.endswith((".bin", ".pth")) else [file]


def _not_to_be_had(architecture: str, tag: str, url: str, error: DownloadError) -> ModelError:
    reason, cause = one_line(error), error.__cause__
    if isinstance(cause, urllib.error.HTTPError):
        reason += " (access is restricted: set HF_TOKEN)" if cause.code in (401, 403) else ""
    elif isinstance(cause, urllib.error.URLError):
        reason = f"{urlsplit(url).hostname} cannot be reached ({cause.reason})"
    return ModelError(
        f"the weights of {architecture}/{tag} are not on this machine and cannot be downloaded: {reason}."
        f" On a machine with a network, run clip-udfs build-model --model {architecture} --pretrained {tag} --output"
        f" DIR, copy DIR here and run install-udfs --model DIR; or download {url} and use --pretrained {tag}=FILE"
    )
