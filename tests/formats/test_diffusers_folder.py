"""Folders of a pipeline: which files are its weights, and what else belongs to it."""

import json
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import safetensors.numpy

from release.errors import CheckpointError
from release.formats import folder_files as folder_files_module
from release.formats import folder_layout as folder_layout_module
from release.formats.diffusers_folder import DiffusersFolder
from release.formats.sharded import encode_index

UNET, TEXT = "diffusion_pytorch_model", "model"
SD1 = {"unet": UNET, "vae": UNET, "text_encoder": TEXT}


def array(seed):
    return np.random.default_rng(seed).standard_normal((2, 3)).astype(np.float32)


def save(path, arrays=None, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"w": array(1)} if arrays is None else arrays
    safetensors.numpy.save_file(tensors, path, metadata or None)


def save_shards(folder, pattern, index=None):
    arrays = [{"a": array(1), "b": array(2)}, {"c": array(3)}]
    names = [pattern.format(number) for number in ("00001-of-00002", "00002-of-00002")]
    for name, tensors in zip(names, arrays, strict=True):
        save(folder / name, tensors)
    if index:
        weight_map = {"a": names[0], "b": names[0], "c": names[1]}
        (folder / index).write_bytes(encode_index(weight_map, data_nbytes=72))


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def model_index(folder, **components):
    named = {name: ["diffusers", "X"] for name in SD1} | components
    content = {"_class_name": "P", "requires_safety_checker": True} | named
    write(folder, {"model_index.json": json.dumps(content)})


@pytest.fixture
def folder(tmp_path):
    """A pipeline of SD1 with one file per component."""
    for component, stem in SD1.items():
        save(tmp_path / component / f"{stem}.safetensors", {component: array(4)})
    return tmp_path


def opened(folder, variant=None):
    """Return tensor names, relative files of weights, and warnings."""
    with DiffusersFolder(folder, variant) as checkpoint:
        files = [str(file.relative) for file in checkpoint.weight_files]
        return list(checkpoint.tensors), files, checkpoint.warnings


def refusal(folder, variant=None):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CheckpointError) as caught:
        DiffusersFolder(folder, variant)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_names_begin_with_their_component(folder):
    with DiffusersFolder(folder) as checkpoint:
        entry = checkpoint.tensors["vae/vae"]
        data = bytearray(24)
        checkpoint.read_into(entry, 0, memoryview(data))

        assert list(checkpoint.tensors) == [
            "unet/unet",
            "vae/vae",
            "text_encoder/text_encoder",
        ]
        assert data == array(4).tobytes()
        assert (entry.begin, entry.end) == (24, 48)
        assert checkpoint.path == folder
        files = [folder / file.relative for file in checkpoint.weight_files]
        assert checkpoint.files == tuple(files)
        assert checkpoint.nbytes == sum(file.stat().st_size for file in files)
        assert checkpoint.warnings == ()


def test_files_without_a_variant_are_taken_where_none_is_named(folder):
    save(folder / f"unet/{UNET}.fp16.safetensors", {"half": array(1)})

    names, _, warnings = opened(folder)

    assert "unet/unet" in names
    assert "unet/half" not in names
    assert warnings == ()


def test_only_variant_is_taken_and_said(folder):
    (folder / f"vae/{UNET}.safetensors").rename(folder / f"vae/{UNET}.fp16.safetensors")

    names, files, (warning,) = opened(folder)

    assert "vae/vae" in names
    assert f"vae/{UNET}.fp16.safetensors" in files
    assert warning.startswith("variant: vae ")
    assert f"{UNET}.fp16.safetensors" in warning


def test_several_variants_and_none_named_are_listed(folder):
    (folder / f"unet/{UNET}.safetensors").unlink()
    save(folder / f"unet/{UNET}.fp16.safetensors")
    save(folder / f"unet/{UNET}.non_ema.safetensors")

    error = refusal(folder)

    assert error.code == "variant"
    assert "fp16, non_ema" in str(error)


def test_named_variant_is_taken_where_it_is_and_its_lack_is_said(folder):
    save(folder / f"unet/{UNET}.fp16.safetensors", {"half": array(1)})

    names, _, warnings = opened(folder, "fp16")

    assert names == ["unet/half", "vae/vae", "text_encoder/text_encoder"]
    assert [line.split()[1] for line in warnings] == ["vae", "text_encoder"]
    assert all(line.startswith("variant: ") for line in warnings)


def test_unknown_variant_is_refused_with_those_that_are_there(folder):
    save(folder / f"unet/{UNET}.fp16.safetensors")

    error = refusal(folder, "bf16")

    assert error.code == "variant"
    assert "bf16" in str(error)
    assert "(no variant), fp16" in str(error)


def test_component_with_another_variant_only_is_refused(folder):
    save(folder / f"unet/{UNET}.fp16.safetensors")
    (folder / f"vae/{UNET}.safetensors").rename(folder / f"vae/{UNET}.ema.safetensors")

    error = refusal(folder, "fp16")

    assert error.code == "variant"
    assert "holds the variants ema, expected fp16" in str(error)


@pytest.mark.parametrize(
    ("pattern", "index", "variant"),
    [
        (UNET + "-{}.safetensors", f"{UNET}.safetensors.index.json", None),
        (UNET + ".fp16-{}.safetensors", f"{UNET}.safetensors.index.fp16.json", "fp16"),
        (UNET + "-{}.fp16.safetensors", f"{UNET}.safetensors.fp16.index.json", "fp16"),
        ("odd_name_{}.safetensors", f"{UNET}.safetensors.index.json", None),
        (UNET + "-{}.safetensors", None, None),
        (UNET + ".fp16-{}.safetensors", None, "fp16"),
        (UNET + "-{}.fp16.safetensors", None, "fp16"),
    ],
)
def test_component_may_be_cut_into_shards(folder, pattern, index, variant):
    (folder / f"unet/{UNET}.safetensors").unlink()
    save_shards(folder / "unet", pattern, index)

    with DiffusersFolder(folder, variant) as checkpoint:
        first, second = checkpoint.weight_files[:2]
        files = checkpoint.files

    place = None if index is None else PurePosixPath("unet", index)
    assert str(first.relative) == "unet/" + pattern.format("00001-of-00002")
    assert first.tensors == ("unet/a", "unet/b")
    assert second.tensors == ("unet/c",)
    assert first.index == second.index == place
    assert (folder / "unet" / (index or first.relative.name)) in files


def test_missing_shard_is_found(folder):
    (folder / f"unet/{UNET}.safetensors").unlink()
    save_shards(folder / "unet", UNET + "-{}.safetensors")
    (folder / f"unet/{UNET}-00001-of-00002.safetensors").unlink()

    assert refusal(folder).code == "shard-missing"


@pytest.mark.parametrize(
    ("pattern", "index"),
    [
        (UNET + "-{}.safetensors", f"{UNET}.safetensors.index.json"),
        (UNET + "-{}.safetensors", None),
    ],
)
def test_whole_file_beside_shards_is_refused(folder, pattern, index):
    save_shards(folder / "unet", pattern, index)

    error = refusal(folder)

    assert error.code == "ambiguous-weights"
    assert f"{UNET}.safetensors" in str(error)


def test_two_sets_of_shards_are_refused(folder):
    (folder / f"unet/{UNET}.safetensors").unlink()
    save_shards(folder / "unet", UNET + "-{}.safetensors")
    save(folder / f"unet/{UNET}-00001-of-00003.safetensors")

    assert refusal(folder).code == "ambiguous-weights"


def test_leftovers_of_a_variant_that_is_not_read_do_no_harm(folder):
    save_shards(folder / "unet", UNET + ".fp16-{}.safetensors")
    save(folder / f"unet/{UNET}.fp16.safetensors")

    assert "unet/unet" in opened(folder)[0]


@pytest.mark.parametrize("name", [f"{UNET}.bin", f"{UNET}.fp16.bin", "x.ckpt"])
def test_component_with_pickles_only_is_refused_with_a_way_out(folder, name):
    (folder / f"unet/{UNET}.safetensors").rename(folder / "unet" / name)

    error = refusal(folder)

    assert error.code == "pickled-checkpoint"
    assert name in str(error)
    assert "safe_serialization" in error.hint


def test_pickles_beside_safetensors_are_ignored(folder):
    write(folder, {f"unet/{UNET}.bin": "", "unet/model.onnx": ""})

    assert opened(folder)[2] == ()


def test_component_that_the_pipeline_names_must_be_there(folder):
    model_index(folder, text_encoder_2=["transformers", "CLIPTextModelWithProjection"])

    error = refusal(folder)

    assert error.code == "missing-component"
    assert "text_encoder_2" in str(error)


def test_component_that_the_pipeline_sets_to_null_may_be_missing(folder):
    model_index(folder, text_encoder_2=[None, None])

    assert len(opened(folder)[0]) == 3


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: folder / "none", "not-found"),
        (lambda folder: folder / "vae" / f"{UNET}.safetensors", "not-a-folder"),
        (lambda folder: folder / "vae", "no-unet"),
        (lambda folder: folder / "nul\0", "not-found"),
    ],
)
def test_what_is_no_pipeline_is_refused(folder, make, code):
    assert refusal(make(folder)).code == code


def test_weights_may_be_symlinks_and_components_too(folder, tmp_path_factory):
    blobs = tmp_path_factory.mktemp("blobs")
    weights = folder / f"unet/{UNET}.safetensors"
    weights.rename(blobs / "0f")
    weights.symlink_to(blobs / "0f")
    (folder / "vae").rename(blobs / "vae")
    (folder / "vae").symlink_to(blobs / "vae")

    assert len(opened(folder)[0]) == 3


def test_small_files_are_those_a_copy_needs(folder):
    model_index(folder, tokenizer=["transformers", "T"], scheduler=["diffusers", "S"])
    wanted = {
        "tokenizer/vocab.json": "{}",
        "tokenizer/merges.txt": "",
        "tokenizer/spiece.model": "",
        "scheduler/scheduler_config.json": "{}",
        "unet/config.json": "{}",
    }
    unwanted = {
        "README.md": "",
        "workflow.json": "",
        "unet/notes.py": "",
        "unet/x.safetensors.index.json": "",
        "unet/deep/config.json": "",
        "vae_decoder/config.json": "",
    }
    write(folder, wanted | unwanted)

    with DiffusersFolder(folder) as checkpoint:
        found = {str(file.relative): file for file in checkpoint.small_files}

    assert found.keys() == wanted.keys() | {"model_index.json"}
    assert found["unet/config.json"].path == folder / "unet/config.json"
    assert found["unet/config.json"].nbytes == 2


def test_small_files_of_the_hubs_cache_are_symlinks_to_its_blobs(folder, tmp_path):
    repository = tmp_path / "models--a--b"
    snapshot = repository / "snapshots" / "0123"
    write(repository, {"blobs/aa": "{}"})
    for component, stem in SD1.items():
        save(snapshot / component / f"{stem}.safetensors")
    (snapshot / "unet/config.json").symlink_to("../../../blobs/aa")

    with DiffusersFolder(snapshot) as checkpoint:
        assert [str(file.relative) for file in checkpoint.small_files] == [
            "unet/config.json"
        ]
        assert checkpoint.warnings == ()


def test_small_file_from_outside_the_folder_is_left_out_and_said(
    folder, tmp_path_factory
):
    secret = tmp_path_factory.mktemp("home") / "secret"
    secret.write_text("key")
    (folder / "unet/config.json").symlink_to(secret)

    with DiffusersFolder(folder) as checkpoint:
        assert checkpoint.small_files == ()
        (warning,) = checkpoint.warnings

    assert warning.startswith("small-files: unet/config.json ")


def test_large_small_file_is_left_out_and_said(folder, monkeypatch):
    monkeypatch.setattr(folder_files_module, "SMALL_FILE_NBYTES_MAX", 2)
    write(folder, {"unet/config.json": "{ }", "vae/config.json": "{}"})

    with DiffusersFolder(folder) as checkpoint:
        assert [str(file.relative) for file in checkpoint.small_files] == [
            "vae/config.json"
        ]
        assert "unet/config.json" in checkpoint.warnings[0]


def test_too_many_small_files_are_refused(folder, monkeypatch):
    monkeypatch.setattr(folder_files_module, "SMALL_FILES_MAX", 2)
    write(folder, {f"unet/{n}.json": "" for n in range(3)})

    assert refusal(folder).code == "small-files"


def test_small_file_with_a_dangerous_name_is_refused(folder):
    write(folder, {"unet/con.json": ""})

    assert refusal(folder).code == "small-file-name"


def test_pipe_named_like_a_config_is_not_opened(folder):
    os.mkfifo(folder / "unet/config.json")

    with DiffusersFolder(folder) as checkpoint:
        assert checkpoint.small_files == ()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "json"),
        ("[]", "json"),
        ('{"unet": ["a", "b"], "unet": ["a", "b"]}', "json"),
        ('{"../up": ["a", "b"]}', "model-index"),
        ('{"a/b": ["a", "b"]}', "model-index"),
        ('{"": ["a", "b"]}', "model-index"),
    ],
)
def test_index_of_the_pipeline_is_read_strictly(folder, content, code):
    write(folder, {"model_index.json": content})

    assert refusal(folder).code == code


def test_component_whose_weights_are_not_read_is_said(folder):
    model_index(folder, safety_checker=["sd", "C"], feature_extractor=["t", "F"])
    save(folder / "safety_checker/model.safetensors")
    write(folder, {"feature_extractor/preprocessor_config.json": "{}"})

    with DiffusersFolder(folder) as checkpoint:
        assert checkpoint.unread == ("safety_checker",)
        (warning,) = checkpoint.warnings

    assert warning.startswith("unread: ")
    assert "safety_checker" in warning


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ("", False)),
        ({"prediction_type": "epsilon"}, ("epsilon", False)),
        (
            {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
            ("v_prediction", True),
        ),
        ({"prediction_type": 1, "rescale_betas_zero_snr": "yes"}, ("", False)),
    ],
)
def test_schedule_says_what_the_model_predicts(folder, content, expected):
    (folder / "scheduler").mkdir()
    if content is not None:
        write(folder, {"scheduler/scheduler_config.json": json.dumps(content)})

    with DiffusersFolder(folder) as checkpoint:
        schedule = checkpoint.schedule

    assert (schedule.prediction_type, schedule.zero_terminal_snr) == expected


def test_folder_with_too_many_names_is_refused(folder, monkeypatch):
    monkeypatch.setattr(folder_layout_module, "FOLDER_ENTRIES_MAX", 3)
    write(folder, {f"unet/{n}": "" for n in range(3)})

    assert refusal(folder).code == "folder-size"
