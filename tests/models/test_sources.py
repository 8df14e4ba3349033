"""Weights from tags, caches, files and folders, and the messages if there are none."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import open_clip
import pytest
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file

from clip_installer.cli import run
from clip_installer.commands.installation.install import install
from clip_installer.errors import ModelError
from clip_installer.models.build import RANDOM
from clip_installer.models.build.source import weights
from clip_installer.models.build.source.available import available
from clip_installer.models.build.source.hub import hub_answers_or_is_off, is_out_of_reach
from clip_installer.models.build.source.model import SourceModel, load_source, quiet
from tests.conftest import TINY_CLIP
from tests.server_trees import GLOB, make_config

OPENAI = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "interpolation": "bicubic", "resize_mode": "shortest"}
SIGLIP = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bicubic", "resize_mode": "squash"}
TINY = TINY_CLIP.stem


class Hub(ThreadingHTTPServer):
    """Serves ``files`` below /owner/tiny/resolve/main/ with ranges, each answer at most ``most`` bytes long."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.most: int | None = None
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub, name, ranged = self.server, self.path.rpartition("/")[2], self.headers.get("Range")
        assert isinstance(hub, Hub)
        hub.asked.append((name, ranged))
        if hub.status != 200 or name not in hub.files:
            self.send_error(404 if hub.status == 200 else hub.status)
            return
        content, start = hub.files[name], int(ranged[6:-1]) if ranged else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(content[start : start + hub.most] if hub.most else content[start:])
        if hub.most:
            hub.status = 503  # nothing more comes before the test says so

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache of this machine's, no hub, no token."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(weights, "_FIRST_WAIT_SECONDS", 0.0)
    point_to(monkeypatch, "http://127.0.0.1:9")


def point_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        point_to(monkeypatch, server.address)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def source() -> SourceModel:
    torch.manual_seed(21)
    return load_source(str(TINY_CLIP), RANDOM)


@pytest.fixture(scope="module")
def content(source: SourceModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of ``source`` as a safetensors file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in source.model.state_dict().items()}, path)
    return path.read_bytes()


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch, source: SourceModel) -> Callable[..., None]:
    """Makes open_clip know tags of the small architecture: name and how they prepare pictures."""

    def register(**prepared: dict[str, object]) -> None:
        known = {tag: {"url": "", "hf_hub": "owner/tiny/", **config} for tag, config in prepared.items()}
        monkeypatch.setitem(_PRETRAINED, TINY, known)

    return register


def is_same(loaded: SourceModel, source: SourceModel) -> bool:
    return torch.equal(loaded.encode_texts(["a cat"]), source.encode_texts(["a cat"]))


def test_a_tag_is_downloaded_once_and_resumes_after_an_interruption(
    hub: Hub, source: SourceModel, content: bytes, tags: Callable[..., None]
) -> None:
    tags(one=OPENAI)
    hub.files["open_clip_model.safetensors"] = content
    hub.most = len(content) // 2
    with pytest.raises(ModelError, match=r"weights of tiny-clip/one .* 503 .*; run again to continue"):
        load_source(TINY, "one")
    assert {ranged for _, ranged in hub.asked} == {None, f"bytes={hub.most}-"}
    hub.asked.clear()
    hub.status, hub.most = 200, None
    loaded = load_source(TINY, "one")
    assert hub.asked == [("open_clip_model.safetensors", f"bytes={len(content) // 2}-")]
    assert is_same(loaded, source)
    assert loaded.name == "tiny-clip-one"
    hub.shutdown()
    assert is_same(load_source(TINY, "one"), source)
    assert len(hub.asked) == 1


def test_a_hub_that_has_no_safetensors_gives_the_other_file(
    hub: Hub, source: SourceModel, tags: Callable[..., None], tmp_path: Path
) -> None:
    tags(one=OPENAI)
    torch.save(source.model.state_dict(), tmp_path / "weights.bin")
    hub.files["open_clip_pytorch_model.bin"] = (tmp_path / "weights.bin").read_bytes()
    assert is_same(load_source(TINY, "one"), source)
    assert [name for name, _ in hub.asked] == ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]


def test_weights_in_the_hubs_cache_need_no_network(
    source: SourceModel, content: bytes, tags: Callable[..., None], tmp_path: Path
) -> None:
    tags(one=OPENAI)
    repository = tmp_path / "hub/models--owner--tiny"
    revision = repository / "snapshots/0123abc"
    for path in (repository / "refs", revision):
        path.mkdir(parents=True)
    (repository / "refs/main").write_text("0123abc")
    (revision / "open_clip_model.safetensors").write_bytes(content)
    assert is_same(load_source(TINY, "one"), source)
    # The same entry as a folder: it has a configuration as well.
    config = {"model_cfg": json.loads(TINY_CLIP.read_text()), "preprocess_cfg": SIGLIP}
    (revision / "open_clip_config.json").write_text(json.dumps(config))
    loaded = load_source(str(repository), "")
    assert is_same(loaded, source)
    assert (loaded.name, loaded.image.resize_mode) == ("tiny-clip-tiny", "squash")


def test_without_a_network_the_message_says_what_to_bring(tags: Callable[..., None]) -> None:
    tags(one=OPENAI)
    with pytest.raises(ModelError) as said:
        load_source(TINY, "one")
    message = str(said.value)
    assert len(message.splitlines()) == 1
    assert "are not on this machine and cannot be downloaded: 127.0.0.1 cannot be reached ([Errno 111]" in message
    assert "clip-udfs build-model --model tiny-clip --pretrained one --output DIR" in message
    assert "or download http://127.0.0.1:9/owner/tiny/resolve/main/open_clip_model.safetensors" in message
    assert "--pretrained one=FILE" in message


def test_weights_behind_a_gate_ask_for_a_token(hub: Hub, tags: Callable[..., None]) -> None:
    tags(one=OPENAI)
    hub.status = 401
    with pytest.raises(ModelError, match=r"HTTP 401 .*set HF_TOKEN"):
        load_source(TINY, "one")


def as_file(source: SourceModel, content: bytes, path: Path) -> Path:
    """The weights of ``source`` in the form that the name of ``path`` stands for."""
    state = source.model.state_dict()
    if path.suffix == ".safetensors":
        path.write_bytes(content)
    elif path.name == "torchscript.pt":
        with quiet():
            pixels, tokens = torch.zeros(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.int64)
            torch.jit.trace(source.model, (pixels, tokens), strict=False, check_trace=False).save(str(path))
    elif path.name == "training.pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["tiny.safetensors", "tiny.bin", "tiny.pt", "training.pt", "torchscript.pt"])
def test_a_checkpoint_on_the_disk(source: SourceModel, content: bytes, tmp_path: Path, name: str) -> None:
    loaded = load_source(TINY, str(as_file(source, content, tmp_path / name)))
    assert is_same(loaded, source)
    assert loaded.name == f"tiny-clip-{Path(name).stem}"


def test_a_file_gets_the_preprocessing_of_the_architectures_tags(
    content: bytes, tags: Callable[..., None], tmp_path: Path
) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(content)
    tags(one=SIGLIP, two=SIGLIP)
    loaded = load_source(TINY, str(file))
    assert (loaded.image.mean, loaded.image.resize_mode) == ((0.5, 0.5, 0.5), "squash")
    tags(one=OPENAI, two=SIGLIP)
    with pytest.raises(ModelError, match=r"use 2 different image preprocessings; .* --pretrained TAG=.*one, two"):
        load_source(TINY, str(file))
    assert load_source(TINY, f"one={file}").image.resize_mode == "shortest"
    assert load_source(TINY, f"two={file}").image.resize_mode == "squash"
    assert all("file" not in config for config in _PRETRAINED[TINY].values())


@pytest.fixture
def folder(content: bytes, tmp_path: Path) -> Path:
    """A model as the hub has it, on the disk."""
    folder = tmp_path / "CLIP-tiny-1.5B"
    folder.mkdir()
    config = {"model_cfg": {**json.loads(TINY_CLIP.read_text()), "quick_gelu": True}, "preprocess_cfg": SIGLIP}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_model.safetensors").write_bytes(content)
    return folder


def test_a_folder_of_the_hub(folder: Path, source: SourceModel) -> None:
    loaded = load_source(str(folder), "")
    assert not is_same(loaded, source), "its configuration has another activation"
    assert (loaded.name, loaded.architecture) == ("CLIP-tiny-1.5B", "CLIP-tiny-1.5B")
    assert (loaded.image.mean, loaded.image.resize_mode) == ((0.5, 0.5, 0.5), "squash")
    assert open_clip.get_model_config(loaded.architecture)["quick_gelu"] is True


def test_a_folder_without_weights_is_not_loaded_with_random_ones(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"contains open_clip_config.json but no weights"):
        load_source(str(folder), "")


@pytest.mark.parametrize(
    ("model", "pretrained", "said"),
    [
        ("no-such-model", "one", "no architecture 'no-such-model', and no folder has that name"),
        (TINY, "", "--pretrained is missing: give a tag of tiny-clip, a checkpoint file, or random"),
        (TINY, "nope", "'nope' is neither a file nor a pretrained tag of tiny-clip"),
        (TINY, "@/empty", "is a directory: give the checkpoint file in it"),
        ("@/empty", "", "open_clip cannot load the folder @/empty"),
        ("@/CLIP-tiny-1.5B", "one", "the folder @/CLIP-tiny-1.5B contains the weights"),
        ("@/none.json", "one", "model configuration @/none.json does not exist"),
        ("ViT-B-32", "openai=@/none.pt", "file @/none.pt does not exist"),
    ],
)
def test_an_invalid_model_is_refused_with_the_reason(
    folder: Path, source: SourceModel, model: str, pretrained: str, said: str
) -> None:
    place = str(folder.parent)
    (folder.parent / "empty").mkdir()
    with pytest.raises(ModelError) as refused:
        load_source(model.replace("@", place), pretrained.replace("@", place))
    assert said.replace("@", place) in str(refused.value)


class _Trap:
    """A pickle that would make a directory."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> object:
        return os.mkdir, (str(self._made),)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    save_file({"token_embedding.weight": torch.zeros(49408, 32), "x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError) as said:
        load_source(TINY, str(tmp_path / "other.safetensors"))
    assert "1 with a different shape (token_embedding.weight [49408, 32] instead of [49408, 64])" in str(said.value)
    assert "1 unexpected (x)" in str(said.value)
    torch.save({"state_dict": _Trap(tmp_path / "made")}, tmp_path / "trap.pt")
    (tmp_path / "damaged.bin").write_bytes(b"\x80not a checkpoint")
    for name in ("trap.pt", "damaged.bin"):
        with pytest.raises(ModelError, match=r"damaged, or contains more than tensors"):
            load_source(TINY, str(tmp_path / name))
    assert not (tmp_path / "made").exists()


def test_what_a_library_prints_does_not_come_before_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The exporter of onnxscript 0.6 prints how many rules it has applied."""
    with quiet():
        print("Applied 25 of general pattern rewrite rules.")  # noqa: T201
    assert capsys.readouterr().out == ""


def test_install_builds_architecture_and_tag_first_and_again_the_same(
    hub: Hub, content: bytes, tags: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags(one=OPENAI)
    hub.files["open_clip_model.safetensors"] = content
    image = tmp_path / "image"
    make_config(image, f"<clickhouse><path>/var/</path>{GLOB}</clickhouse>")
    answers = []
    for more in ([], ["--dry-run"]):
        arguments = ["--destdir", str(image), "--server-config", "/etc", "--model", f"{TINY}/one", "--json", *more]
        with pytest.raises(SystemExit) as left:
            run(install, "install-udfs", arguments)
        assert left.value.code == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["model"]["name"] == "tiny-clip-one"
    assert (answers[0]["changed"], answers[1]["changed"]) == (True, False)


def test_an_unreachable_hub_is_not_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_answers_or_is_off():
        assert not constants.HF_HUB_OFFLINE, "it answers, if only that it does not know HEAD"
    point_to(monkeypatch, "http://127.0.0.1:9")
    with hub_answers_or_is_off():
        assert constants.HF_HUB_OFFLINE
        with pytest.raises(LocalEntryNotFoundError) as missing:
            hf_hub_download("owner/tiny", "config.json")
    assert not constants.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE" not in os.environ
    try:
        raise RuntimeError("wrapped") from missing.value
    except RuntimeError as error:
        assert is_out_of_reach(error)
    assert not is_out_of_reach(RuntimeError("Error(s) in loading state_dict"))


def test_the_size_of_an_architecture_is_known_before_its_weights_are_fetched() -> None:
    listed = {model.name: model for model in available("vit-b-32-q")}
    assert list(listed) == ["ViT-B-32-quickgelu"]
    model = listed["ViT-B-32-quickgelu"]
    assert model.dimension == 512
    assert "openai" in model.tags
    assert model.weights is not None
    # Millions of parameters as open_clip's own documentation has them.
    assert {tower: round(size / 4e6, 2) for tower, size in model.weights.items()} == {"text": 63.43, "image": 87.85}
