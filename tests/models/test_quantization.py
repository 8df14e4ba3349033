"""An int8 bundle: close to the model, with a recorded loss, and checked when it is installed."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from clip_installer.cli import program
from clip_installer.errors import ModelError
from clip_installer.install.checks.golden import Golden, deviation, precision_loss
from clip_installer.models.build import RANDOM, build_model
from clip_installer.models.build.parity import TEXTS, GoldenVectors, compare, of_bundle
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import prepared
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.manifest import FLOAT32, INT8
from tests.conftest import TINY_CLIP


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small model in int8."""
    import torch

    torch.manual_seed(7)
    return build_model(str(TINY_CLIP), RANDOM, tmp_path_factory.mktemp("int8") / "tiny", precision=INT8)


def vectors(found: GoldenVectors) -> dict[str, np.ndarray]:
    return {"text": found.text, "image": found.image}


def test_the_manifest_says_what_was_measured(int8: Bundle, tiny_bundle: Path) -> None:
    exact = vectors(of_bundle(Bundle.open(tiny_bundle), "onnx"))  # the same weights
    manifest = int8.manifest
    assert (manifest.name, manifest.precision) == ("tiny-clip-random-int8", INT8)
    for tower, found in vectors(of_bundle(int8, "onnx")).items():
        cosine = float((found * exact[tower]).sum(axis=1).min())
        assert 0.99 < cosine < 0.99999
        assert manifest.cosine[tower] == pytest.approx(cosine, abs=1e-5)
        assert f"{manifest.cosine[tower]:.4f} ({tower})" in (precision_loss(manifest) or "")
    assert precision_loss(Bundle.open(tiny_bundle).manifest) is None


def test_its_matrices_are_a_quarter(int8: Bundle, tiny_bundle: Path) -> None:
    files = int8.manifest.files, Bundle.open(tiny_bundle).manifest.files
    table = 49408 * 64 * 4  # the token embedding, which is looked up and not multiplied
    quantized, exact = (one["text.onnx.data"].bytes - table for one in files)
    assert quantized < 0.5 * exact
    quantized, exact = (one["image.onnx.data"].bytes for one in files)
    assert quantized < 0.5 * exact


def test_golden_values_are_its_own_and_are_compared_with_their_tolerance(int8: Bundle) -> None:
    golden = Golden.of(int8.directory)
    own = vectors(of_bundle(int8, "onnx"))["text"]
    assert [len(sample.vector) for sample in golden.texts] == [512] * len(TEXTS)
    np.testing.assert_allclose([sample.vector for sample in golden.texts], own, atol=1e-6)
    assert {sample.min_cosine for sample in (*golden.texts, *golden.pictures)} == {0.99}
    assert deviation(own.tolist(), golden.texts, normalized=True) is None
    assert "cosine" in str(deviation(own[::-1].tolist(), golden.texts, normalized=True))


def test_prepared_graphs_give_the_same_vectors(int8: Bundle) -> None:
    plain = vectors(of_bundle(int8, "onnx"))
    folder = int8.directory / prepared.FOLDER
    folder.mkdir()
    assert prepared.prepare(int8, folder)
    assert prepared.graph_files(int8, "text")[1]
    for tower, found in vectors(of_bundle(int8, "onnx")).items():
        np.testing.assert_allclose(found, plain[tower], atol=1e-6)


def test_a_tower_that_is_too_far_is_refused() -> None:
    expected = GoldenVectors(np.eye(2, 4, dtype=np.float32), np.eye(2, 4, dtype=np.float32))
    turned = np.array([[1, 0, 0, 0], [0.2, 0.98, 0, 0]], np.float32)
    found = GoldenVectors(expected.text, turned)
    with pytest.raises(
        ModelError, match=r"image tower in int8 reaches a cosine of 0\.979\d .* below 0\.99;.*--min-cosine"
    ):
        compare(found, expected, INT8, 0.99)
    assert compare(found, expected, INT8, 0.95)["image"].min_cosine == pytest.approx(0.9798, abs=1e-4)
    with pytest.raises(ModelError, match="does not equal open_clip's"):
        compare(found, expected, FLOAT32, 0.95)


def test_a_nan_is_too_far() -> None:
    expected = GoldenVectors(np.eye(2, 4, dtype=np.float32), np.eye(2, 4, dtype=np.float32))
    found = GoldenVectors(np.full((2, 4), np.nan, np.float32), expected.image)
    for precision in (INT8, FLOAT32):
        with pytest.raises(ModelError, match="text tower"):
            compare(found, expected, precision, 0.0)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "both", "--precision", "int8"), "omit --engine"),
        (("--min-cosine", "0.9"), "--precision int8"),
    ],
)
def test_contradictory_options_are_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = invoke(
        *("build-model", "--model", TINY_CLIP, "--pretrained", RANDOM, "--output", tmp_path / "x"), *arguments
    )
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
    assert not (tmp_path / "x").exists()


def test_the_plan_says_how_exact_it_is(int8: Bundle, tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text("<clickhouse><path>/var/lib/clickhouse/</path></clickhouse>")
    place = ("--server-config", tmp_path, "--user", getpass.getuser())
    command = ("install", *place, "--model", int8.directory, "--dry-run", "--no-ddl")
    text = invoke(*command)
    assert f"precision    {precision_loss(int8.manifest)}" in text.output
    model = json.loads(invoke(*command, "--json").stdout)["model"]
    assert (model["precision"], model["cosine"]) == (INT8, dict(int8.manifest.cosine))


def test_a_row_does_not_depend_on_those_beside_it(int8: Bundle) -> None:
    """The scales of activations are the bundle's, not the batch's."""
    height, width = int8.manifest.image.size
    pixels = np.random.default_rng(1).integers(0, 255, (8, height, width, 3), dtype=np.uint8)
    pixels[1:] //= 4
    image, text = OnnxEncoder(int8, "image", 1), OnnxEncoder(int8, "text", 1)
    np.testing.assert_allclose(image.encode(pixels)[0], image.encode(pixels[:1])[0], rtol=1e-4, atol=1e-5)
    tokens = np.array([[49406, 320, 2368, 49407], [49406, 1929, 49407, 0], [49406, 4, 5, 49407]], np.int64)
    np.testing.assert_allclose(text.encode(tokens)[1], text.encode(tokens[1:2])[0], rtol=1e-4, atol=1e-5)


def test_no_scale_is_computed_from_a_batch(int8: Bundle) -> None:
    for name in ("text.onnx", "image.onnx"):
        kinds = {node.op_type for node in onnx.load(str(int8.file(name)), load_external_data=False).graph.node}
        assert "MatMulInteger" in kinds
        assert "DynamicQuantizeLinear" not in kinds
