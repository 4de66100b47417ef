"""`krelease blocks`."""

import json

import numpy as np
import pytest
import safetensors.numpy

GAMMA = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"


def test_table_counts_tensors_and_parameters(krelease, ingredients):
    code, out, err = krelease("blocks", ingredients["beta7"])

    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if line}
    assert (rows["BASE"], rows["IN00"], rows["KEEP"]) == ("831", "10", "4")
    assert (rows["sd-mecha"], rows["chattiori"], rows["sdnext"]) == (
        "260",
        "256",
        "1,684",
    )


def test_weights_are_shown_and_compared(krelease, ingredients):
    code, out, _ = krelease("blocks", ingredients["beta7"], "--weights", GAMMA)

    assert code == 0
    lines = [line.split() for line in out.splitlines() if line]
    assert [line[-1] for line in lines if line[0] in {"IN07", "OUT03"}] == [
        "0.1",
        "0.05",
    ]
    changed = {line[0]: line[1] for line in lines if line[-1] == "weight"}
    assert changed["sd-mecha"] == changed["chattiori"] == "8"
    assert changed["sdnext"] == "354"


def test_json_has_every_tensor(krelease, ingredients):
    _, out, _ = krelease(
        "blocks", ingredients["beta7"], "--json", "--weights", "0.5; time_embed=0.1"
    )

    document = json.loads(out)
    assert document["schema"] == "krelease.blocks/1"
    assert len(document["tensors"]) == 2515
    found = {entry["name"]: entry for entry in document["tensors"]}
    assert found["model.diffusion_model.time_embed.0.weight"] == {
        "name": "model.diffusion_model.time_embed.0.weight",
        "component": "unet",
        "block": "IN00",
        "part": "time_embed",
        "n_parameters": 400,
        "weight": "0.1",
    }


def test_every_tensor_is_listed_on_demand(krelease, ingredients):
    _, out, _ = krelease(
        "blocks", ingredients["beta7"], "--tensors", "--convention", "sd-mecha"
    )

    (line,) = [line for line in out.splitlines() if ".label_emb.0.0.bias" in line]
    assert line.split()[1:] == ["unet", "BASE", "label_emb"]


def test_names_of_blocks_are_the_short_form(krelease, ingredients):
    _, out, _ = krelease("blocks", ingredients["beta7"], "-q")

    assert out.split()[:2] == ["BASE", "IN00"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--convention", "sdmecha"],
            "--convention: unknown block-weight convention",
        ),
        (["--weights", "0,1"], "--weights: column 1: got 2 block weights"),
        (["--weights", GAMMA + ",0"], "supermerger takes 20 or 26"),
    ],
)
def test_wrong_options_are_refused(krelease, ingredients, arguments, words):
    code, out, err = krelease("blocks", ingredients["beta7"], *arguments)

    assert (code, out) == (3, "")
    assert words in err


def test_another_architecture_is_refused(krelease, tmp_path):
    path = tmp_path / "sd1.safetensors"
    tensors = {"cond_stage_model.transformer.x.weight": np.zeros(1, np.float16)}
    safetensors.numpy.save_file(tensors, path)

    code, _, err = krelease("blocks", path)

    assert code == 4
    assert "expected SDXL" in err
