"""Alpha where diffusers and PEFT put it: into the metadata."""

import json

import numpy as np
import pytest

from release.errors import CheckpointError
from release.formats.lora.places import Place

NAMES = {
    "unet.m.weight": (Place("w.weight"),),
    "text_encoder.m.weight": (Place("x.weight"),),
    "text_encoder_2.m.weight": (Place("y.weight"),),
}
MODEL = {"w.weight": (3, 5), "x.weight": (3, 5), "y.weight": (3, 5)}


def lora(*components):
    made = {}
    for component in components:
        made[f"{component}.m.lora_A.weight"] = np.ones((2, 5), "<f2")
        made[f"{component}.m.lora_B.weight"] = np.ones((3, 2), "<f2")
    return made


def metadata(**fields):
    members = {key.replace("__", "."): value for key, value in fields.items()}
    return {"lora_adapter_metadata": json.dumps(members)}


def test_alpha_of_each_component_is_read(kit):
    told = metadata(
        unet__lora_alpha=8,
        unet__r=2,
        unet__alpha_pattern={},
        text_encoder__lora_alpha=1.0,
    )
    tensors = lora("unet", "text_encoder", "text_encoder_2")

    with kit.open(tensors, MODEL, NAMES, told) as opened:
        changes = {name: kit.whole(opened, name) for name in MODEL}

    assert (changes["w.weight"] == 2 * 8 / 2).all()
    assert (changes["x.weight"] == 2 * 1 / 2).all()
    assert (changes["y.weight"] == 2).all()


def test_other_metadata_changes_nothing(kit):
    with kit.open(lora("unet"), MODEL, NAMES, {"ss_network_alpha": "1"}) as opened:
        assert (kit.whole(opened, "w.weight") == 2).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"unet__alpha_pattern": {"m": 4}},
            "unet.alpha_pattern is .*, expected not set",
        ),
        ({"unet__use_rslora": True}, "unet.use_rslora is True"),
        ({"unet__use_dora": True}, "unet.use_dora"),
        ({"unet__lora_bias": True}, "unet.lora_bias"),
        ({"unet__lora_alpha": 0}, "expected a number other than 0"),
        ({"unet__lora_alpha": "8"}, "expected a number other than 0"),
        ({"unet__lora_alpha": True}, "expected a number other than 0"),
    ],
)
def test_configuration_that_says_more_is_refused(kit, fields, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        kit.open(lora("unet"), MODEL, NAMES, metadata(**fields))

    assert caught.value.code == "lora-metadata"


@pytest.mark.parametrize("text", ["[]", "{", '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_configuration_that_cannot_be_read_is_refused(kit, text):
    with pytest.raises(CheckpointError) as caught:
        kit.open(lora("unet"), MODEL, NAMES, {"lora_adapter_metadata": text})

    assert caught.value.code == "lora-metadata"


def test_two_alphas_for_one_module_are_refused(kit):
    tensors = {**lora("unet"), "unet.m.alpha": np.array(2.0, "<f4")}

    with pytest.raises(
        CheckpointError, match="a second one is in the metadata"
    ) as caught:
        kit.open(tensors, MODEL, NAMES, metadata(unet__lora_alpha=8))

    assert caught.value.code == "lora-alpha"
