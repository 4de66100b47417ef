"""Which metadata survives a conversion."""

import json

import pytest

from release.carried import CARRIED_NBYTES_MAX, Reason, carry

FILLED = {
    "format": "pt",
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "stable-diffusion-xl-v1-base",
    "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
    "modelspec.resolution": "1024x1024",
    "modelspec.title": "stem",
}


def carried(metadata, **options):
    chosen = {"architecture": "unknown", "title": "stem", "has_v_pred": False}
    return carry(metadata, **(chosen | options))


def reasons(found):
    return {each.key: each.reason.value for each in found.dropped}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modelspec.title", "A title"),
        ("modelspec.author", "somebody"),
        ("modelspec.merged_from", "one, another"),
        ("modelspec.unet_dtype", "bf16,fp32"),
        ("modelspec.vae_dtype", "fp32"),
        ("modelspec.thumbnail", "data:image/jpeg;base64,/9j/4AAQ"),
        ("sd_merge_recipe", '{"type": "webui"}'),
        ("sd_merge_models", '{"ab12": {"name": "sub/one.safetensors"}}'),
        ("mecha_recipe", "version 0.1.0"),
        ("krelease.recipe", "a canonical text"),
        ("krelease.recipe_sha256", "0" * 64),
        ("ss_mixed_precision", "fp16"),
        ("ss_full_fp16", "False"),
        ("ss_sd_model_hash", "ab12cd34"),
        ("ss_dataset_dirs", '{"10_somebody": {"n_repeats": 10}}'),
        ("predict_key", "epsilon"),
        ("alias.weight", "kept.weight"),
        ("something of our own", "line\n\x1b[31m\u202e"),
    ],
)
def test_what_stays_true_is_kept_as_it_is(key, value):
    found = carried({key: value})

    assert found.kept == {"format": "pt", key: value}
    assert found.dropped == found.corrected == ()
    assert found.filled == ("format",)


@pytest.mark.parametrize(
    "key",
    [
        "sshs_model_hash",
        "sshs_legacy_hash",
        "modelspec.hash_blake3",
        "krelease.release",
        "krelease.ingredients",
        "dtype",
        "unet_dtype",
    ],
)
def test_what_no_longer_holds_is_dropped_and_named(key):
    found = carried({key: "x"})

    assert found.kept == {"format": "pt"}
    assert reasons(found) == {key: "no longer holds"}


@pytest.mark.parametrize(
    "key",
    [
        "modelspec.hash_sha256",
        "krelease.tensors_xxh3_128",
        "krelease.tensor_set_xxh3_128",
        "krelease.variant",
    ],
)
def test_what_every_output_states_anew_is_neither_kept_nor_missed(key):
    found = carried({key: "x"})

    assert found.kept == {"format": "pt"}
    assert found.dropped == ()


def test_caller_names_further_keys_that_no_longer_hold():
    metadata = {"_quantization_metadata": "{}", "modelspec.title": "A title"}

    found = carried(metadata, outdated={"_quantization_metadata"})

    assert reasons(found) == {"_quantization_metadata": "no longer holds"}
    assert found.kept["modelspec.title"] == "A title"


PRIVATE = {
    "prompt": "a cat",
    "workflow": "{}",
    "ss_output_dir": r"C:\Users\somebody\out",
    "ss_network_args": json.dumps({"log": "/home/somebody/log"}),
    "modelspec.merged_from": "/home/somebody/a.safetensors",
    "sd_merge_models": json.dumps({"1": {"name": "/mnt/models/a.ckpt"}}),
}


def test_private_entries_are_dropped_with_what_they_give_away():
    found = carried(PRIVATE)

    assert found.kept == {"format": "pt"}
    assert reasons(found) == dict.fromkeys(PRIVATE, "private")
    assert [each.key for each in found.dropped] == sorted(PRIVATE)
    assert all(each.detail.startswith("a ") for each in found.dropped)


def test_private_entries_are_kept_on_request_and_nothing_else_is():
    found = carried({**PRIVATE, "sshs_model_hash": "x"}, keep_private=True)

    assert found.kept == {"format": "pt", **PRIVATE}
    assert reasons(found) == {"sshs_model_hash": "no longer holds"}


@pytest.mark.parametrize("value", ["random values", "", "/home/x/y", "x" * 9_000_000])
def test_mark_of_a_stand_in_survives_whatever_it_says(value):
    found = carried({"krelease.stand_in": value})

    assert found.kept == {"format": "pt", "krelease.stand_in": "random values"}
    assert found.dropped == ()


def test_sdxl_gets_the_fields_that_a_model_must_have():
    found = carried({}, architecture="sdxl")

    assert found.kept == FILLED
    assert list(found.kept) == sorted(FILLED)
    assert found.filled == tuple(sorted(FILLED))


def test_fields_that_are_there_are_not_replaced():
    own = {
        "format": "mlx",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": "A title",
        "modelspec.implementation": "sgm",
        "modelspec.architecture": "stable-diffusion-xl-v1-refiner",
        "modelspec.resolution": "768x768",
    }

    found = carried(own, architecture="sdxl")

    assert found.kept == own
    assert found.filled == ()


@pytest.mark.parametrize("architecture", ["unknown", "sd1", "sd2"])
def test_nothing_is_invented_for_other_architectures(architecture):
    found = carried({}, architecture=architecture, has_v_pred=True)

    assert found.kept == {"format": "pt"}


def test_private_title_is_replaced_by_the_given_one():
    found = carried({"modelspec.title": "/home/x/a.ckpt"}, architecture="sdxl")

    assert found.kept["modelspec.title"] == "stem"
    assert reasons(found) == {"modelspec.title": "private"}


def test_author_and_date_are_never_filled():
    kept = carried({}, architecture="sdxl").kept

    assert not {"modelspec.author", "modelspec.date"} & kept.keys()


def test_marker_of_v_prediction_fills_and_corrects_the_metadata():
    untrue = {"modelspec.prediction_type": "epsilon", "predict_key": "epsilon"}

    found = carried(untrue, has_v_pred=True)
    empty = carried({}, architecture="sdxl", has_v_pred=True)

    assert found.kept == {"format": "pt", **dict.fromkeys(untrue, "v")}
    assert found.corrected == ("modelspec.prediction_type", "predict_key")
    assert empty.kept["modelspec.prediction_type"] == "v"
    assert empty.corrected == ()


def test_stated_v_prediction_without_a_marker_is_believed():
    found = carried({"modelspec.prediction_type": "v"}, architecture="sdxl")

    assert found.kept["modelspec.prediction_type"] == "v"
    assert found.corrected == ()


def test_largest_entries_are_left_out_until_the_rest_fits():
    half = CARRIED_NBYTES_MAX // 2
    metadata = {"a": "x" * half, "b": "é" * half, "c": "small"}

    found = carried(metadata)

    assert reasons(found) == {"b": Reason.TOO_LARGE.value}
    assert found.kept.keys() == {"a", "c", "format"}


def test_input_is_not_changed():
    metadata = {"prompt": "x", "modelspec.prediction_type": "epsilon"}

    carried(metadata, architecture="sdxl", has_v_pred=True)

    assert metadata == {"prompt": "x", "modelspec.prediction_type": "epsilon"}
