"""What a header's metadata gives away."""

import json

import pytest

from release.privacy import LOCAL_PATH, WORKFLOW, private_reason

NODE = {"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}


@pytest.mark.parametrize(
    "value",
    [
        r"C:\Users\somebody\model.safetensors",
        "C:/Users/somebody/model.safetensors",
        r"saved to D:\train\out",
        r"\\server\share\model.ckpt",
        r"\\wsl$\Ubuntu\home",
        r"\\?\C:\train\out",
        "/home/somebody/model.safetensors",
        "/Users/somebody/model.safetensors",
        "made of /mnt/disk1/model.safetensors by hand",
        "--output_dir=/workspace/out",
        "'/root/train.toml'",
        "see file:///srv/models/x",
        "/c/Users/somebody/model.ckpt",
        "/gpfs/group/someone/run 7/model.safetensors",
        "first line\n/gpfs/group/someone",
    ],
)
def test_local_paths_are_private_wherever_they_stand(value):
    assert private_reason("modelspec.description", value) == LOCAL_PATH


@pytest.mark.parametrize(
    "value",
    [
        "",
        "A model. Use it with and/or without the VAE.",
        "https://example.org/home/somebody",
        "https://example.org/Users/x and http://example.org:8080/mnt/y",
        "stable-diffusion-xl-v1-base/lora",
        "../home/relative",
        "~/models/x.safetensors",
        "0.5/0.3, 1:2, ratio 3:/4",
        "emoticons :/ and :\\",
        "/",
        "/sdxl",
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQN",
        "data:image/jpeg;base64,/9j/4AAQ+/home/x",
        "64-bit\\n and \\d+",
        "2023-07-16T18:13:38Z",
        '{"conv_dim": "8", "algo": "lora"}',
        '{"10_somebody": {"img_count": 20}}',
        "[1, 2, [3]]",
        "{not json",
        '["/9j/4AAQSkZJRgABAQAAAQABAAD"]',
    ],
)
def test_what_names_nobody_is_not_private(value):
    assert private_reason("ss_training_comment", value) == ""


@pytest.mark.parametrize(
    "inner",
    [
        {"a": [{"b": r"C:\Users\x"}]},
        {"/home/x/data": 1},
        [["/home/x/data"]],
    ],
)
def test_json_is_looked_into_also_within_json(inner):
    once = json.dumps(inner)
    thrice = json.dumps([json.dumps({"k": once})])

    assert private_reason("ss_datasets", once) == LOCAL_PATH
    assert private_reason("ss_datasets", thrice) == LOCAL_PATH


def test_escaped_slashes_of_json_hide_no_path():
    assert private_reason("k", r'{"a": "\/home\/x", "b": "\u002fhome"}') == LOCAL_PATH


def test_path_in_a_key_is_private_too():
    assert private_reason("/home/somebody/model.ckpt", "1") == LOCAL_PATH


@pytest.mark.parametrize("key", ["prompt", "workflow", "Workflow", "extra_pnginfo"])
def test_keys_of_comfyui_are_private_whatever_they_hold(key):
    assert private_reason(key, "a cat") == WORKFLOW


@pytest.mark.parametrize(
    "graph", [NODE, {"nodes": [], "links": [], "version": 0.4}, {"x": [NODE]}]
)
def test_workflow_is_recognised_under_any_key(graph):
    assert private_reason("notes", json.dumps(graph)) == WORKFLOW


def test_workflow_goes_before_the_paths_in_it():
    graph = {"3": {"class_type": "Load", "inputs": {"file": "/home/x/y"}}}
    assert private_reason("notes", json.dumps(graph)) == WORKFLOW


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000, '{"a":' * 100_000, '["9"' + "9" * 5000 + "]", "[" + "9" * 5000],
)
def test_hostile_json_is_read_as_text(value):
    assert private_reason("k", value) == ""


def test_path_in_broken_json_is_found_in_its_text():
    assert private_reason("k", '{"a": "/home/x/y"') == LOCAL_PATH
    assert private_reason("k", r'{"a": "C:\\Users\\x"') == LOCAL_PATH
