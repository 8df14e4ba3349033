"""Where a model's weights are: a checkpoint's file, or that of an open_clip tag, fetched where no cache has it.

open_clip would have huggingface_hub fetch them, which begins anew after each interruption and, without a network, tries
for three quarters of a minute before it says so.
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
# What an archive keeps beside its weights.
_NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size", "attn_mask"})
_TRIES = 3
_FIRST_WAIT_SECONDS = 0.5
# What decides how a picture is prepared; the weights of tags that agree on it can be loaded alike.
_PREPARATION = ("mean", "std", "interpolation", "resize_mode", "size", "fill_color")


@dataclass(frozen=True)
class Weights:
    """Weights for an architecture.

    Attributes:
        name: Tag, or name of the checkpoint file; '' for random weights.
        tag: The tag of open_clip that says how pictures are prepared for them; None where no tag does.
        file: The checkpoint; None for random weights.
    """

    name: str
    tag: str | None = None
    file: Path | None = None


def find_weights(architecture: str, pretrained: str) -> Weights:
    """The weights that ``pretrained`` means: ``random``, a tag, a checkpoint file, or ``TAG=FILE``.

    A tag is fetched where neither huggingface_hub's cache nor our own has it, with a bar on a terminal, continuing
    what an interrupted run has left. A file without a tag is taken for weights of the architecture's tags, where these
    all prepare pictures alike.

    Raises:
        ModelError: It is none of them, or cannot be had.
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
            f"--pretrained {pretrained} is a directory: give the checkpoint file in it, or, where it has an"
            f" {FOLDER_CONFIG}, the directory as --model and no --pretrained"
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
    """A question after what is ``known`` and is spelled nearly like ``name``; '' where nothing is."""
    folded = {one.casefold(): one for one in known}
    near = [folded[one] for one in get_close_matches(name.casefold(), folded, n=3, cutoff=0.7)]
    return f" (is {' or '.join(near)} meant?)" if near else ""


def folder_weights(folder: Path) -> Path:
    """The checkpoint in a folder of the Hugging Face hub, chosen as open_clip chooses.

    Raises:
        ModelError: There is none: open_clip would go on with random weights.
    """
    from open_clip.factory import _find_checkpoint_in_dir

    found = _find_checkpoint_in_dir(folder)
    if found is None:
        raise ModelError(
            f"{folder} has an {FOLDER_CONFIG} and no weights (*.safetensors, *.bin or *.pth); copy the whole folder"
        )
    return Path(found)


def readable(file: Path, scratch: Path) -> Path:
    """``file``, or what it holds as safetensors in ``scratch`` where it is a TorchScript archive, as OpenAI's are.

    open_clip loads checkpoints as tensors only, and refuses those.
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
    """How a checkpoint does not fit its architecture, in a few words; None where ``error`` is about something else."""
    text = str(error)
    if "Weights only load failed" in text or "UnpicklingError" in type(error).__name__:
        return "it is damaged, or holds more than tensors, which is not run: save its state_dict alone"
    if "loading state_dict" not in text:
        return None
    shapes = _SHAPES.findall(text)
    said = [f"{len(shapes)} of other shapes ({' '.join(shapes[0][:2])} instead of {shapes[0][2]})"] if shapes else []
    for kind, words in (("Missing", "missing"), ("Unexpected", "that it does not have")):
        found = re.search(rf"{kind} key\(s\) in state_dict: (.*)", text)
        names = re.findall(r'"([^"]+)"', found[1]) if found else []
        said += [f"{len(names)} {words} ({names[0]})"] if names else []
    return f"the weights are another architecture's: {', '.join(said)}; clip-udfs models --available names them all"


def _existing(file: Path, pretrained: str) -> Path:
    if not file.is_file():
        raise ModelError(f"--pretrained {pretrained}: there is no file {file}")
    return file


def _common_tag(architecture: str, tags: list[str], file: Path) -> str | None:
    import open_clip

    preparations: dict[tuple[object, ...], str] = {}
    for tag in tags:
        config = open_clip.get_pretrained_cfg(architecture, tag)
        preparations.setdefault(tuple(config.get(key) for key in _PREPARATION), tag)
    if len(preparations) > 1:
        raise ModelError(
            f"the tags of {architecture} prepare pictures in {len(preparations)} ways; say whose weights {file} has, or"
            f" which they were trained from: --pretrained TAG={file}, with one of {', '.join(tags)}"
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
        reason += " (let in are only those whom its owner knows: set HF_TOKEN)" if cause.code in (401, 403) else ""
    elif isinstance(cause, urllib.error.URLError):
        reason = f"{urlsplit(url).hostname} cannot be reached ({cause.reason})"
    return ModelError(
        f"the weights of {architecture}/{tag} are not on this machine and cannot be fetched: {reason}."
        f" Where there is a network, run clip-udfs build-model --model {architecture} --pretrained {tag} --output DIR,"
        f" and bring DIR here for install-udfs --model DIR; or fetch {url} and give it as --pretrained {tag}=FILE"
    )
