"""What a merged file says of itself."""

import json
import struct
from hashlib import sha256  # noqa: TID251  # an oracle that is not our code

import pytest
import xxhash


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, models):
    """A recipe file of steps, with titles and one digest."""
    digest = sha256(models["a"].read_bytes()).hexdigest()
    path = tmp_path_factory.mktemp("recipe") / "mine.toml"
    path.write_text(
        "[recipe]\nschema = 1\n[ingredients]\n"
        f'a = {{ title = "Model A", file = "{models["a"]}", sha256 = "{digest}" }}\n'
        f'b = {{ file = "{models["b"]}" }}\n'
        '[steps]\nhalf = "0.5*a + 0.5*b"\nend = "half + 0.1*(a - b)"\n'
        '[output]\nfrom = "end"\n'
    )
    return path


@pytest.fixture(scope="module")
def merged(tmp_path_factory, run_merge, recipe):
    path = tmp_path_factory.mktemp("merged") / "my model.safetensors"
    run_merge(f"--recipe={recipe}", "--sha256", f"--out={path}")
    return path


def header_of(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture(scope="module")
def metadata(merged):
    return header_of(merged)[0]["__metadata__"]


def test_recipe_is_canonical_and_its_digest_is_beside_it(metadata):
    text = metadata["krelease.recipe"]

    assert json.loads(text) == {
        "schema": "krelease.recipe/1",
        "convention": "supermerger",
        "copy_from": "a",
        "loras": [],
        "methods": [],
        "missing": "error",
        "rows": {
            block: {"a": "0.6", "b": "0.4"}
            for block in [
                "BASE",
                *(f"IN{n:02}" for n in range(9)),
                "KEEP",
                "M00",
                *(f"OUT{n:02}" for n in range(9)),
            ]
        },
        "vae": "merge",
    }
    again = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert again == text
    digest = sha256(text.encode()).hexdigest()
    assert metadata["krelease.recipe_sha256"].removeprefix("0x") == digest


def test_ingredients_are_named_by_the_digests_of_their_tensors(
    metadata, formulas, models
):
    def tensor_set(path):
        lines = [
            [name, dtype, list(shape), xxhash.xxh3_128_hexdigest(data)]
            for name, (dtype, shape, data) in sorted(formulas.read(path).items())
        ]
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        return xxhash.xxh3_128_hexdigest(text.encode())

    found = json.loads(metadata["krelease.ingredients"])

    assert found == {name: tensor_set(models[name]) for name in "ab"}


def test_webuis_find_the_recipe_and_the_models(metadata, models):
    digest = sha256(models["a"].read_bytes()).hexdigest()

    recipe = json.loads(metadata["sd_merge_recipe"])
    known = json.loads(metadata["sd_merge_models"])

    assert recipe == {
        "type": "krelease",
        "expression": "half = 0.5*a + 0.5*b; end = half + 0.1*(a - b); end",
        "models": {"a": digest, "b": None},
    }
    assert known == {
        digest: {"name": "Model A", "legacy_hash": None, "sd_merge_recipe": None}
    }


def test_model_spec_is_that_of_the_merge(merged, metadata):
    _, data = header_of(merged)

    spec = {
        key.removeprefix("modelspec."): value
        for key, value in metadata.items()
        if key.startswith("modelspec.")
    }

    assert spec == {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-xl-v1-base",
        "implementation": "https://github.com/Stability-AI/generative-models",
        "resolution": "1024x1024",
        "title": "my model",
        "merged_from": "Model A, b.safetensors",
        "hash_sha256": f"0x{sha256(data).hexdigest()}",
    }


def test_record_has_the_recipe_and_the_file(merged, metadata):
    record = json.loads(merged.with_suffix(".krelease.json").read_text())

    assert record["schema"] == "krelease.conversion/1"
    assert record["recipe"]["canonical"] == metadata["krelease.recipe"]
    assert record["recipe"]["steps"] == {
        "half": "0.5*a + 0.5*b",
        "end": "half + 0.1*(a - b)",
    }
    assert {
        name: each["tensor_set_xxh3_128"]
        for name, each in record["ingredients"].items()
    } == json.loads(metadata["krelease.ingredients"])
    (file,) = record["files"]
    assert file["sha256"] == sha256(merged.read_bytes()).hexdigest()


def test_verify_finds_it_intact_and_damage_damaged(krelease, merged, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(merged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)

    code, out, _ = krelease("verify", merged)
    wrong, _, _ = krelease("verify", damaged)

    assert code == 0
    assert out.startswith("intact  my model.safetensors  2,515 tensors")
    assert wrong == 5


def test_inspect_and_recipe_show_read_it(krelease, merged):
    code, out, _ = krelease("inspect", merged)
    shown, recipe, _ = krelease("recipe", "show", merged)

    assert (code, shown) == (0, 0)
    assert "SDXL all-in-one checkpoint" in out
    assert "Model A, b.safetensors" in out
    assert "end = half + 0.1*(a - b)" in recipe


def test_merge_of_a_merge_names_its_ancestors(run_merge, merged, models, tmp_path):
    next_one = tmp_path / "next.safetensors"
    run_merge(
        "0.5*m + 0.5*c", f"-im={merged}", f"-ic={models['c']}", f"--out={next_one}"
    )

    metadata = header_of(next_one)[0]["__metadata__"]

    digest = sha256(models["a"].read_bytes()).hexdigest()
    known = json.loads(metadata["sd_merge_models"])
    assert known[digest]["name"] == "Model A"
    assert metadata["modelspec.merged_from"] == "c.safetensors, my model.safetensors"
