"""The identity of a recipe: what does not change it, and what does."""

import itertools
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes

from release.recipe.fold import fold
from release.recipe.rows import FoldedRecipe
from release.recipe.text import Origin, RecipeText

Fold = Callable[..., FoldedRecipe]
MBW = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
OUTER = [f"OUT0{n}=0.050" for n in range(3, 9)]
GAMMA = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"


def test_canonical_text_and_its_digest_are_stable(gamma: Fold) -> None:
    recipe = gamma()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(recipe.canonical().encode())
    sha256 = recipe.sha256()
    assert sha256 == digest.finalize().hex()
    assert sha256 == "06830edd08cb7c46fc9280b9cbb843942755ddac0e2c01cc395a851a3d1a3c35"


def test_canonical_text_is_compact_sorted_ascii_json(gamma: Fold) -> None:
    text = gamma(vae="anxl3").canonical()
    document = json.loads(text)
    assert text == json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert text.isascii()
    assert document.keys() == {
        "schema",
        "convention",
        "copy_from",
        "loras",
        "methods",
        "missing",
        "rows",
        "vae",
    }
    assert (document["copy_from"], document["vae"]) == ("beta7", "anxl3")


def test_canonical_text_holds_all_that_a_method_needs(folded: Fold) -> None:
    recipe = folded("only(slerp(a + lora(c), b, 0.30), OUT03) + only(a, unet)")
    document = json.loads(recipe.canonical())
    assert document["loras"] == ["c"]
    assert document["methods"] == [
        {
            "name": "slerp#1",
            "method": "slerp",
            "parameters": {"t": "0.3"},
            "models": [{"OUT03": {"a": "1", "c": "1"}}, {"OUT03": {"b": "1"}}],
        }
    ]
    assert document["rows"]["OUT03"] == {"a": "1", "slerp#1": "1"}


def test_no_path_and_no_digest_of_an_ingredient_is_in_the_text() -> None:
    origin = Origin(title="Secret", file="/home/me/a.safetensors", sha256="ab" * 32)
    recipe = fold(RecipeText({"s": "a"}, "s", {"a": origin}))
    plain = fold(RecipeText({"s": "a"}, "s", {"a": Origin()}))
    assert recipe.canonical() == plain.canonical()


@pytest.mark.parametrize(
    "text",
    [
        f"{GAMMA} + 0",
        f"({GAMMA})",
        "beta7+(anxl3-anxl2)+0.250*(base8-beta7)",
        "0.25*base8 - anxl2 + anxl3 + 0.75*beta7",
        "(anxl3 - anxl2)*1 + lerp(beta7, base8, 0.25)",
        "-(anxl2 - anxl3) + 0.5*0.5*base8 + (1 - .25)*beta7 + 1 - 1",
        " --beta7 - anxl2 + anxl3 + (base8 - beta7) * 0.25 + 0 * base8",
        f"only({GAMMA}, unet) + only({GAMMA}, clip_l, clip_g, vae, other)",
    ],
)
def test_spelling_does_not_change_the_identity(gamma: Fold, text: str) -> None:
    assert gamma(text).canonical() == gamma().canonical()


@pytest.mark.parametrize(
    "weights",
    [
        MBW.replace(",", " , "),
        "0; " + ", ".join([*(f"IN0{n}=.1" for n in (0, 1, 3, 4, 6, 7)), *OUTER]),
        f"{MBW}; clip_l=0",
    ],
)
def test_spelling_of_weights_does_not_change_the_identity(
    folded: Fold, weights: str
) -> None:
    plain = folded(f"mbw(a, b, '{MBW}')", "ab")
    assert folded(f'mbw(a, b, "{weights}")', "ab").sha256() == plain.sha256()


def test_order_of_steps_and_ingredients_does_not_change_the_identity() -> None:
    steps = {
        "x": "slerp(a, b, 0.2)",
        "y": "dare(x, c, 0.5, 1)",
        "z": "dare(x, c, 0.5, 2)",
        "w": "0.5*y + 0.25*z + 0.25*slerp(b, a, 0.2)",
        "s": "lerp(w, slerp(a, b, 0.2), 0.5)",
    }
    found = {
        fold(
            RecipeText(
                {key: steps[key] for key in keys},
                "s",
                {name: Origin() for name in names},
                copy_from="a",
            )
        ).canonical()
        for keys in itertools.permutations(steps)
        for names in ("abc", "cab")
    }
    assert len(found) == 1


def test_names_of_steps_do_not_change_the_identity(folded: Fold) -> None:
    one = folded({"s": "0.5*m + 0.5*c", "m": "slerp(a, b, 0.2)"})
    other = folded({"s": "0.5*c + 0.5*zz", "zz": "slerp(a, b, 0.2)"}, copy_from="a")
    assert one.sha256() == other.sha256()
    assert one.sha256() == folded("0.5*slerp(a, b, t=0.20) + c*0.5").sha256()


def test_vae_that_is_merged_away_anyhow_changes_only_its_key(folded: Fold) -> None:
    assert folded("a", "ab", vae="b").sha256() != folded("a", "a").sha256()


PLAIN = "0.5*slerp(a, b, 0.3) + 0.5*dare(a, c, 0.5, 7) + only(lora(d), unet)"
CHANGES = {
    "weight": PLAIN.replace("0.5*slerp", "0.50001*slerp"),
    "parameter": PLAIN.replace("0.3", "0.31"),
    "seed": PLAIN.replace("7", "8"),
    "order of models": PLAIN.replace("(a, b", "(b, a"),
    "model of a method": PLAIN.replace("(a, b", "(a, 0.5*b + 0.5*c"),
    "method": PLAIN.replace("slerp", "add_cosine"),
    "part": PLAIN.replace("unet", "clip_l"),
    "LoRA that is a model": PLAIN.replace("lora(d)", "d"),
    "nested method": PLAIN.replace("(a, b", "(slerp(a, c, 0.1), b"),
    "part of a model": PLAIN.replace("(a, b", "(a, b + only(c - b, vae)"),
}


@pytest.mark.parametrize("text", CHANGES.values(), ids=CHANGES.keys())
def test_change_of_meaning_changes_the_identity(folded: Fold, text: str) -> None:
    assert folded(text, "abcd").sha256() != folded(PLAIN, "abcd").sha256()


@pytest.mark.parametrize(
    "settings",
    [
        {"convention": "sd-mecha"},
        {"convention": "sdnext"},
        {"copy_from": "anxl3"},
        {"vae": "beta7"},
        {"missing": "keep:beta7"},
        {"gamma": GAMMA.replace("0.25", "0.26")},
    ],
)
def test_change_of_a_setting_changes_the_identity(
    gamma: Fold, settings: dict[str, str]
) -> None:
    assert gamma(**settings).sha256() != gamma().sha256()


def test_default_of_copies_is_written_out(folded: Fold) -> None:
    assert folded("a + b - c").sha256() == folded("a + b - c", copy_from="a").sha256()
