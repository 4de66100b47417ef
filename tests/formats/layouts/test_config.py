"""The config.json beside a checkpoint: found, strict, limited in size."""

import os

import pytest

from release.errors import CheckpointError, InputError
from release.formats.layouts.configured import quantization_config_beside

GOOD = '{"model_type": "x", "quantization_config": {"quant_method": "fp8", "n": [1]}}'


@pytest.fixture
def config(tmp_path):
    """Write a config.json; return the checkpoint beside it."""

    def write(text):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "config.json").write_bytes(data)
        return tmp_path / "model.safetensors"

    return write


def test_object_beside_the_file_is_returned(config):
    found = quantization_config_beside(config(GOOD))

    assert found == {"quant_method": "fp8", "n": [1]}


def test_folder_is_looked_into(config):
    assert quantization_config_beside(config(GOOD).parent)["quant_method"] == "fp8"


def test_no_config_is_nothing(tmp_path):
    assert quantization_config_beside(tmp_path / "model.safetensors") is None


@pytest.mark.parametrize("text", ["{}", '{"a": 1}', '{"quantization_config": null}'])
def test_config_that_says_nothing_of_quantisation_is_nothing(text, config):
    assert quantization_config_beside(config(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        b'{"a": "\xff"}',
        '{"quantization_config": {}, "quantization_config": {}}',
        '{"a": NaN}',
        '{"a": ' + "[" * 500 + "]" * 500 + "}",
    ],
)
def test_config_that_is_no_strict_json_is_refused(text, config):
    path = config(text)

    with pytest.raises(CheckpointError) as caught:
        quantization_config_beside(path)

    assert caught.value.code == "json"
    assert str(path.parent / "config.json") in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("value", ["[]", '"fp8"', "1"])
def test_quantization_config_that_is_no_object_is_refused(value, config):
    path = config(f'{{"quantization_config": {value}}}')

    with pytest.raises(CheckpointError) as caught:
        quantization_config_beside(path)

    assert caught.value.code == "config-json"


def test_config_larger_than_a_mebibyte_is_refused_unread(config):
    path = config(GOOD)
    os.truncate(path.parent / "config.json", 2**20 + 1)

    with pytest.raises(CheckpointError) as caught:
        quantization_config_beside(path)

    assert caught.value.code == "json-too-large"


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")

    with pytest.raises(InputError) as caught:
        quantization_config_beside(tmp_path / "model.safetensors")

    assert caught.value.code == "not-a-file"
