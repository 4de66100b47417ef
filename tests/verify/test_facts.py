"""What a header says, against what is in the file: each lie found, no truth accused."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from release.errors import InputError
from release.formats.checkpoint import SafetensorsCheckpoint
from release.verify.facts import header_findings
from release.verify.stated_hashes import hash_findings

UNET = "model.diffusion_model."
SDXL = f"{UNET}middle_block.1.transformer_blocks.9.norm3.weight"
SD1 = "cond_stage_model.transformer.text_model.embeddings.position_ids"


def findings(path):
    with SafetensorsCheckpoint(path) as checkpoint:
        return header_findings(checkpoint)


def brief(found):
    return [(each.code, each.severity) for each in found]


def saved(tmp_path, metadata=None, *, name="model.safetensors", **tensors):
    path = tmp_path / name
    tensors = {key.replace("__", "."): value for key, value in tensors.items()}
    safetensors.torch.save_file(tensors or {"w": torch.ones(2)}, path, metadata)
    return path


def copied(path, folder, name):
    return shutil.copy(path, folder / name)


SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
BLAKE3_OF_NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
GIT_BLOB_OF_NOTHING = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


@pytest.mark.parametrize("full", [SHA256_OF_NOTHING, BLAKE3_OF_NOTHING])
@pytest.mark.parametrize("n_digits", range(8, 65))
def test_hash_of_nothing_is_told_in_every_length(tmp_path, full, n_digits):
    metadata = {"sshs_model_hash": full[:n_digits].upper()}

    assert brief(findings(saved(tmp_path, metadata))) == [("empty-hash", "warning")]


STATED = {
    "ModelSpec": {"modelspec.hash_sha256": f"0x{SHA256_OF_NOTHING}"},
    "git": {"hash": GIT_BLOB_OF_NOTHING},
    "CRC-32": {"crc32": "0x00000000"},
    "within JSON": {"sd_merge_models": json.dumps({SHA256_OF_NOTHING: {}})},
    "within a sentence": {"note": f"made of {SHA256_OF_NOTHING[:10]}, mostly"},
}


@pytest.mark.parametrize("case", STATED)
def test_hash_of_nothing_is_told_wherever_it_stands(tmp_path, case):
    (found,) = findings(saved(tmp_path, STATED[case]))

    assert brief([found]) == [("empty-hash", "warning")]
    assert next(iter(STATED[case])) in found.text


TRUE = {
    "other hash": {"sshs_model_hash": SHA256_OF_NOTHING[::-1]},
    "one digit differs": {"sshs_model_hash": f"{SHA256_OF_NOTHING[:63]}4"},
    "too short to be one": {"sshs_model_hash": SHA256_OF_NOTHING[:7]},
    "within longer digits": {"digests": f"00{SHA256_OF_NOTHING}00"},
    "zero that is no CRC": {"modelspec.date": "00000000"},
}


@pytest.mark.parametrize("case", TRUE)
def test_other_digits_are_no_hash_of_nothing(tmp_path, case):
    assert findings(saved(tmp_path, TRUE[case])) == ()


def test_hash_of_nothing_is_true_of_a_file_with_no_data(tmp_path):
    metadata = {"modelspec.hash_sha256": f"0x{SHA256_OF_NOTHING}"}

    assert findings(saved(tmp_path, metadata, v_pred=torch.zeros(0))) == ()


OTHER = "0" * 64
DATA = "ab" * 32

HASHES = {
    "true": ({"modelspec.hash_sha256": f"0x{DATA}"}, []),
    "true of kohya": ({"sshs_model_hash": DATA.upper()}, []),
    "true and short": ({"sshs_model_hash": DATA[:12]}, []),
    "none": ({"title": "x"}, []),
    "false": ({"modelspec.hash_sha256": f"0x{OTHER}"}, ["error"]),
    "false and short": ({"sshs_model_hash": OTHER[:8]}, ["error"]),
    "false twice": (
        {"modelspec.hash_sha256": OTHER, "sshs_model_hash": OTHER},
        ["error", "error"],
    ),
    "no hash": ({"modelspec.hash_sha256": "todo\n"}, ["warning"]),
    "too long": ({"sshs_model_hash": f"{DATA}ab"}, ["warning"]),
    "of nothing, which the header tells": (
        {"sshs_model_hash": SHA256_OF_NOTHING[:10]},
        [],
    ),
}


@pytest.mark.parametrize("case", HASHES)
def test_hash_of_the_data_is_compared(case):
    metadata, severities = HASHES[case]

    found = hash_findings(metadata, DATA)

    assert [(each.code, each.severity) for each in found] == [
        ("data-hash", severity) for severity in severities
    ]
    assert all(each.text.isprintable() for each in found)


def test_hash_that_we_write_is_the_one_that_is_compared(release_folder):
    path = release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors"
    manifest = json.loads((release_folder / "manifest.json").read_text())
    (data,) = {
        each["data_sha256"]
        for each in manifest["checkpoints"]
        if each["name"] == path.name
    }

    with SafetensorsCheckpoint(path) as checkpoint:
        assert hash_findings(checkpoint.metadata, data) == ()
        assert len(hash_findings(checkpoint.metadata, OTHER)) == 1


MARK = torch.zeros(0)
EPSILON = {"modelspec.prediction_type": "epsilon"}
V = {"modelspec.prediction_type": "v"}

PREDICTIONS = {
    "v by both": ({"v_pred": MARK}, V, []),
    "epsilon by both": ({}, EPSILON, []),
    "v by the tensor alone": ({"v_pred": MARK}, {}, []),
    "unknown word": ({"v_pred": MARK}, {"predict_key": "flow"}, []),
    "metadata denies the tensor": ({"v_pred": MARK}, EPSILON, ["error"]),
    "ComfyUI's key denies it": (
        {"v_pred": MARK},
        {**V, "predict_key": "epsilon"},
        ["error"],
    ),
    "EDM of v": ({"edm_vpred__sigma_max": torch.ones(())}, EPSILON, ["error"]),
    "EDM": ({"edm_mean": torch.ones(4)}, {"predict_key": "v_prediction"}, ["error"]),
    "keys that contradict one another": ({}, {**V, "predict_key": "eps"}, ["error"]),
    "v without its tensor": ({}, V, ["warning"]),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_prediction_type_agrees_with_the_markers(tmp_path, case):
    markers, metadata, severities = PREDICTIONS[case]

    found = findings(saved(tmp_path, metadata, **{SDXL: torch.ones(2)}, **markers))

    assert [each.severity for each in found] == severities
    assert all(each.code.startswith("prediction-") for each in found)


def test_model_without_markers_in_its_family_may_say_v(tmp_path):
    assert findings(saved(tmp_path, V, **{SD1: torch.arange(77)})) == ()


ARCHITECTURES = {
    "its own": (SDXL, "stable-diffusion-xl-v1-base", []),
    "refiner": (SDXL, "stable-diffusion-xl-v1-refiner", []),
    "a word": (SDXL, "sdxl", []),
    "another": (SDXL, "Stable-Diffusion-v1", ["architecture"]),
    "another of SD1": (SD1, "stable-diffusion-xl-v1-base", ["architecture"]),
    "of an unknown model": ("w", "stable-diffusion-xl-v1-base", []),
}


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_architecture_is_not_that_of_another_family(tmp_path, case):
    tensor, stated, codes = ARCHITECTURES[case]
    metadata = {"modelspec.architecture": stated}

    found = findings(saved(tmp_path, metadata, **{tensor: torch.ones(2)}))

    assert [each.code for each in found] == codes


def test_orphan_scales_are_told_with_their_names(tmp_path, quantised):
    sample = quantised.SAMPLES["kohya"]()
    path = sample.write(tmp_path)

    found = findings(path)

    assert ("orphan-scales", "error") in brief(found)
    assert "scale_weight" in found[0].text


@pytest.mark.parametrize(
    "name",
    ["plain", "plain-fp8", "comfy-legacy", "comfy-current", "comfy-header", "rowwise"],
)
def test_layouts_that_are_explained_are_no_errors(tmp_path, quantised, name):
    found = findings(quantised.SAMPLES[name]().write(tmp_path))

    assert "error" not in {each.severity for each in found}


def test_layout_without_its_marker_is_an_error(tmp_path, quantised):
    sample = quantised.SAMPLES["comfy-legacy"]()
    markers = [name for name in sample.tensors if name.endswith("scaled_fp8")]
    changes = {name.replace(".", "__"): None for name in markers}

    found = findings(sample.with_tensors(**changes).write(tmp_path))

    assert markers
    assert brief(found)[0] == ("orphan-scales", "error")


def test_oddities_of_the_header_are_findings(tmp_path):
    path = saved(tmp_path, **{"a\nb": torch.ones(2)})

    (found,) = findings(path)

    assert brief([found]) == [("name", "warning")]
    assert not found.text.startswith("name")
    assert found.text.isprintable()


@pytest.mark.parametrize("variant", ["fp16", "fp8"])
def test_true_release_has_nothing_odd(release_folder, variant):
    path = release_folder / f"kohaku-xl-gamma-rev2-{variant}.safetensors"

    assert findings(path) == ()


def test_file_that_is_cut_while_it_is_read_is_no_finding(tmp_path, quantised):
    path = quantised.SAMPLES["comfy-current"]().write(tmp_path)

    with SafetensorsCheckpoint(path) as checkpoint:
        with path.open("r+b") as file:
            file.truncate(checkpoint.data_begin)
        with pytest.raises(InputError) as caught:
            header_findings(checkpoint)

    assert caught.value.code == "input-changed"
