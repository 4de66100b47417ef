"""Broken, hostile and unknown LoRAs: each has its own error, and closes its file."""

import numpy as np
import pytest

from release.errors import CheckpointError
from release.formats.lora import checkpoint
from release.formats.lora.places import Place

MODEL = {"w.weight": (6, 10), "w.bias": (6,), "in.weight": (9, 4)}
NAMES = {
    "m.weight": (Place("w.weight"),),
    "again.weight": (Place("w.weight"),),
    "m.bias": (Place("w.bias"),),
    "either.weight": (Place("w.weight"), Place("in.weight")),
    "q.weight": (Place("in.weight", 0, 3),),
    "odd.weight": (Place("in.weight", 0, 2),),
    "turned.weight": (Place("w.weight", transposed=True),),
}


def ones(*shape, dtype="<f2"):
    return np.ones(shape, dtype)


UP, DOWN = {"m.lora_up.weight": ones(6, 2)}, {"m.lora_down.weight": ones(2, 10)}
LORA = {**UP, **DOWN}
LOHA = {
    "m.hada_w1_a": ones(6, 2),
    "m.hada_w1_b": ones(2, 10),
    "m.hada_w2_a": ones(6, 2),
    "m.hada_w2_b": ones(2, 10),
}
LOKR = {"m.lokr_w1": ones(2, 2), "m.lokr_w2": ones(3, 5)}

CASES = {
    "nothing": ({}, "no-tensors", "has no tensors"),
    "no down": (UP, "lora-incomplete", "m has no lora_down"),
    "no up": (DOWN, "lora-incomplete", "m has no lora_up"),
    "alpha alone": ({"m.alpha": ones()}, "lora-incomplete", "m has an alpha and no"),
    "core alone": (
        {"m.lora_mid.weight": ones(2, 2, 3, 3)},
        "lora-incomplete",
        "m has no lora_up",
    ),
    "half a loha": (
        {name: LOHA[name] for name in list(LOHA)[:2]},
        "lora-incomplete",
        "m has no hada_w2_a",
    ),
    "loha with one core": (
        {**LOHA, "m.hada_t1": ones(2, 2, 1)},
        "lora-incomplete",
        "core in one half only",
    ),
    "half a lokr": ({"m.lokr_w1": ones(2, 2)}, "lora-incomplete", "no lokr_w2_a"),
    "lokr twice": (
        {**LOKR, "m.lokr_w2_a": ones(3, 1)},
        "lora-incomplete",
        "m has both lokr_w2 and lokr_w2_a",
    ),
    "two families": (
        {**LORA, **LOKR},
        "lora-incomplete",
        "m has factors of LoKr and LoRA, expected one family",
    ),
    "diff with alpha": (
        {"m.diff": ones(6, 10), "m.alpha": ones()},
        "lora-incomplete",
        "m has an alpha beside its full difference",
    ),
    "ranks differ": (
        {**UP, "m.lora_down.weight": ones(3, 10)},
        "lora-shape",
        r"m.lora_down.weight has the shape \[3, 10\], expected rank 2",
    ),
    "core of another rank": (
        {**LORA, "m.lora_mid.weight": ones(2, 3, 1, 1)},
        "lora-shape",
        "m.lora_mid.weight has the shape",
    ),
    "rank of the halves": (
        {**LOHA, "m.hada_w2_a": ones(6, 3), "m.hada_w2_b": ones(3, 10)},
        "lora-shape",
        "m.hada_w2_b",
    ),
    "halves of two shapes": (
        {**LOHA, "m.hada_w2_b": ones(2, 9)},
        "lora-shape",
        "m.hada_w2_b",
    ),
    "too many rows": (
        {"m.lora_up.weight": ones(7, 2), **DOWN},
        "lora-shape",
        r"m changes a tensor of shape \[7, 10\], expected \[6, 10\] as w.weight has",
    ),
    "too few columns": (
        {**UP, "m.lora_down.weight": ones(2, 9)},
        "lora-shape",
        r"shape \[6, 9\], expected \[6, 10\]",
    ),
    "swapped factors": (
        {"m.lora_up.weight": ones(2, 10), "m.lora_down.weight": ones(6, 2)},
        "lora-shape",
        "expected rank 10",
    ),
    "same count, other shape": ({"m.diff": ones(10, 6)}, "lora-shape", "10, 6"),
    "kernel of a matrix": (
        {**UP, "m.lora_down.weight": ones(2, 5, 2)},
        "lora-shape",
        r"\[6, 5, 2\]",
    ),
    "bias of another length": ({"m.diff_b": ones(7)}, "lora-shape", "m.diff_b"),
    "vector as a factor": (
        {"m.lora_up.weight": ones(6), **DOWN},
        "lora-shape",
        "expected a matrix",
    ),
    "rank 0": (
        {"m.lora_up.weight": ones(6, 0), "m.lora_down.weight": ones(0, 10)},
        "lora-shape",
        "expected a matrix",
    ),
    "rank beyond reason": (
        {"m.lora_up.weight": ones(6, 4097), "m.lora_down.weight": ones(4097, 10)},
        "lora-rank",
        "m has rank 4,097, expected at most 4,096",
    ),
    "part of another shape": (
        {"q.diff": ones(9, 4)},
        "lora-shape",
        r"expected \[3, 4\]",
    ),
    "parts that do not divide": ({"odd.diff": ones(4, 4)}, "lora-shape", "odd changes"),
    "not transposed": (
        {"turned.diff": ones(6, 10)},
        "lora-shape",
        r"expected \[10, 6\]",
    ),
    "several alphas": (
        {**LORA, "m.alpha": ones(2)},
        "lora-shape",
        "expected one number",
    ),
    "alpha NaN": (
        {**LORA, "m.alpha": np.array(np.nan, "<f4")},
        "not-finite",
        "m.alpha is nan",
    ),
    "alpha infinite": (
        {**LORA, "m.alpha": np.array(np.inf, "<f2")},
        "not-finite",
        "m.alpha is inf",
    ),
    "alpha 0": (
        {**LORA, "m.alpha": np.array(0.0, "<f4")},
        "lora-alpha",
        "m.alpha is 0, expected any other number",
    ),
    "factor of integers": (
        {**UP, "m.lora_down.weight": ones(2, 10, dtype="<i8")},
        "lora-dtype",
        "m.lora_down.weight is I64, expected one of BF16, F16, F32",
    ),
    "factor in float64": (
        {"m.diff": ones(6, 10, dtype="<f8")},
        "lora-dtype",
        "m.diff is F64",
    ),
    "alpha of bytes": (
        {**LORA, "m.alpha": ones(dtype="<u1")},
        "lora-dtype",
        "m.alpha is U8",
    ),
    "no such module": (
        {"x.lora_up.weight": ones(6, 2), "x.lora_down.weight": ones(2, 10), **LORA},
        "lora-names",
        "2 names that match no tensor .*: x.lora_up.weight, x.lora_down.weight",
    ),
    "no such bias": (
        {"again.diff": ones(6, 10), "again.diff_b": ones(6)},
        "lora-names",
        "1 names .*: again.diff_b",
    ),
    "foreign tensor": (
        {**LORA, "emb_params": ones(3)},
        "lora-names",
        "1 names .*: emb_params",
    ),
    "weight of a model": ({**LORA, "w.weight": ones(3)}, "lora-names", ": w.weight"),
    "name with two meanings": (
        {"either.diff": ones(6, 10)},
        "lora-ambiguous",
        "either may be w.weight, in.weight",
    ),
    "one factor in two spellings": (
        {**LORA, "m.lora_A.weight": ones(2, 10)},
        "lora-duplicate",
        "m.lora_down.weight and m.lora_A.weight are the same factor",
    ),
    "one tensor changed twice": (
        {**LORA, "again.diff": ones(6, 10)},
        "lora-duplicate",
        "m and again both change w.weight",
    ),
    "dora": (
        {**LORA, "m.dora_scale": ones(6, 1)},
        "lora-kind",
        "m.dora_scale belongs to DoRA, whose change depends on the weight",
    ),
    "dora of peft": (
        {**LORA, "m.lora_magnitude_vector": ones(6)},
        "lora-kind",
        "belongs to DoRA",
    ),
    "oft": ({"m.oft_blocks": ones(2, 3, 3)}, "lora-kind", "belongs to OFT"),
    "glora": ({"m.a1.weight": ones(2, 3)}, "lora-kind", "belongs to GLoRA"),
    "ia3": ({"m.weight": ones(6), "m.on_input": ones()}, "lora-kind", "IA"),
    "bias of a factor": ({**LORA, "m.lora_B.bias": ones(6)}, "lora-kind", "a bias"),
    "whole weight": ({"m.set_weight": ones(6, 10)}, "lora-kind", "a whole weight"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_broken_lora_is_refused_with_its_reason(kit, case):
    tensors, code, message = CASES[case]

    with pytest.raises(CheckpointError, match=message) as caught:
        kit.open(tensors, MODEL, NAMES)

    assert caught.value.code == code
    assert caught.value.hint
    assert str(caught.value).startswith(str(kit.path))


def test_every_kind_of_trouble_is_tried():
    codes = {code for _, code, _ in CASES.values()}

    assert codes == {
        "no-tensors",
        "lora-alpha",
        "lora-ambiguous",
        "lora-dtype",
        "lora-duplicate",
        "lora-incomplete",
        "lora-kind",
        "lora-names",
        "lora-rank",
        "lora-shape",
        "not-finite",
    }


def test_names_in_messages_are_made_visible(kit):
    with pytest.raises(CheckpointError, match=r"m\\u001b\[31m.lora_up.weight"):
        kit.open({"m\x1b[31m.lora_up.weight": ones(6, 2)}, MODEL, NAMES)


def test_refused_file_is_closed(kit, monkeypatch):
    opened = []
    real = checkpoint.open_checkpoint

    def remember(path):
        opened.append(real(path))
        return opened[-1]

    monkeypatch.setattr(checkpoint, "open_checkpoint", remember)

    with pytest.raises(CheckpointError):
        kit.open(UP, MODEL, NAMES)

    with pytest.raises(OSError, match="descriptor"):
        opened[0].check_unchanged()
