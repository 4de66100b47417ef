"""Files of rules: what they may say, and what is said to those that say otherwise."""

import os
import time

import pytest

from release.errors import RecipeError
from release.numeric.dtype import Dtype
from release.variants.parse import parse_rules, read_rules
from release.variants.rules import covered

LONG_KEY = "has a key of more than 16 parts"
RULE = '[[rule]]\ndtype = "F16"\n'


def parse(text):
    return parse_rules(text, origin="my.toml")


def refusal(text):
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "rule: there is none", "krelease presets fp8 --toml"),
        ('summary = "x"', "rule: there is none", "krelease presets"),
        ('[[unknown-rule]]\ndtype = "F16"', "rule: there is none", "krelease presets"),
        ('rule = "F16"', "rule: got 'F16', expected tables", "krelease presets"),
        ('[rule]\ndtype = "F16"', "rule: got a table, expected tables", "krelease"),
        ("rule = [1]", "rule: got 1, expected tables, each under [[rule]]", "krel"),
        (f"sumary = 1\n{RULE}", "sumary: unknown key", "did you mean summary?"),
        (f"summary = 1\n{RULE}", "summary: got 1, expected text", "krelease"),
        (f'suffix = "a/b"\n{RULE}', "suffix: got 'a/b', expected at most 40", "krel"),
        (f'suffix = "{"a" * 41}"\n{RULE}', "expected at most 40 letters", "krelease"),
        (f'suffix = ".a"\n{RULE}', "suffix: got '.a', expected", "krelease"),
        (f"{RULE}[[rule]]\nkind = 'conv'", "rule[1].dtype: is missing", "krelease"),
        (f"{RULE}patern = 'a'", "rule[0].patern: unknown key", "mean pattern?"),
        (f"{RULE}[[unknown-rule]]\ndtype = 'F17'", "unknown-rule[0].dtype: got", "f1"),
        ("[[rule]]\ndtype = 'fp9'", "rule[0].dtype: got 'fp9'", "did you mean fp8?"),
        ("[[rule]]\ndtype = 'I64'", "got 'I64', expected one of F32, F16, ", ""),
        ("[[rule]]\ndtype = 16", "rule[0].dtype: got 16, expected text", "krelease"),
        ("[[rule]]\ndtype = true", "rule[0].dtype: got true, expected text", "krel"),
        (
            f"{RULE}component = 'unett'",
            "rule[0].component: got 'unett', expected of unet, clip_l, clip_g, vae",
            "did you mean unet?",
        ),
        (
            f"{RULE}kind = ['conv', 'linear']",
            "rule[0].kind: got 'linear', expected of matrix, conv, bias, norm,",
            "known: bias, conv",
        ),
        (f"{RULE}kind = []", "rule[0].kind: got a list of 0, expected text", "krel"),
        (f"{RULE}pattern = ''", "rule[0].pattern: got '', expected text", "krelease"),
        (f"{RULE}pattern = ['a', 1]", "rule[0].pattern: got 1, expected", "krel"),
        (f"{RULE}pattern = {{a = 1}}", "rule[0].pattern: got a table", "krelease"),
        (f"{RULE}scaled = 'yes'", "rule[0].scaled: got 'yes', expected true", "krel"),
        (f"{RULE}reason = 1", "rule[0].reason: got 1, expected text", "krelease"),
        (
            f"{RULE}kind = 'matrix'\nscaled = true",
            "rule[0].scaled: got true, expected dtype F8_E4M3 or F8_E5M2",
            "krelease",
        ),
        (
            "[[rule]]\ndtype = 'keep'\nkind = 'matrix'\nscaled = true",
            "rule[0].scaled: got true, expected dtype F8",
            "krelease",
        ),
        (
            "[[rule]]\ndtype = 'fp8'\nscaled = true",
            'rule[0].scaled: got true, expected kind = "matrix"',
            "Linear",
        ),
        (
            "[[rule]]\ndtype = 'fp8'\nkind = ['matrix', 'conv']\nscaled = true",
            'rule[0].scaled: got true, expected kind = "matrix"',
            "Linear",
        ),
    ],
)
def test_wrong_rules_are_refused_at_their_key(text, message, hint):
    error = refusal(text)

    assert error.code == "rules"
    assert str(error).startswith("my.toml: ")
    assert message in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]", "is not TOML: "),
        ("a = 1\na = 2", "is not TOML: "),
        ("a = " + "[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("a = " + "9" * 10_000, "holds an integer of more than 64 bits"),
        (f"{RULE}reason = 0x{'f' * 5000}", "rule[0].reason: got an integer of more"),
    ],
)
def test_what_is_not_toml_is_refused_as_a_file(text, message):
    error = refusal(text)

    assert error.code == "rules-file"
    assert str(error).startswith(f"my.toml: {message}")


def test_hostile_text_cannot_turn_the_line_around():
    error = refusal('"\\u202ea\\n" = 1')

    assert "\\u202ea\\u000a: unknown key" in str(error)
    assert "\u202e" not in str(error) + error.hint


def test_hostile_reason_is_made_safe_to_show():
    rule = parse(f'{RULE}reason = "a\\u202eb\\n"').known[0]

    assert rule.reason == "a\\u202eb\\u000a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#" * (1024 * 1024 + 1), "is over 1,048,576 bytes"),
        (b'[[rule]]\ndtype = "\xff"', "is not UTF-8 at byte 18"),
        (b"#\n" + b".".join([b"a"] * 100_000) + b"=1", f"{LONG_KEY} in line 2"),
        (b"a = {" + b" . ".join([b'"a.b"'] * 17) + b" = 1}", f"{LONG_KEY} in line 1"),
    ],
)
def test_file_that_is_no_small_text_is_refused(tmp_path, content, message):
    path = tmp_path / "my.toml"
    path.write_bytes(content)

    with pytest.raises(RecipeError) as caught:
        read_rules(path)

    assert caught.value.code == "rules-file"
    assert str(caught.value) == f"{path}: {message}"


def test_missing_file_folder_and_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "pipe"):
        with pytest.raises(RecipeError) as caught:
            read_rules(path)
        assert str(caught.value) == f"{path}: is not a file"


def test_keys_of_sixteen_parts_and_prose_with_dots_are_read(tmp_path):
    path = tmp_path / "my.toml"
    key = ".".join("abcdefghijklmnop")
    prose = "Ready. Steady. Go... J. R. R. Tolkien, e. g., v1.2.3.4.5.6 and a.b.c. " * 9
    path.write_text(f'# {prose}\nsummary = """{prose}"""\n{RULE}{key} = 1')

    with pytest.raises(RecipeError) as caught:
        read_rules(path)

    assert str(caught.value) == f"{path}: rule[0].a: unknown key"


@pytest.mark.parametrize("filler", ["a", "-.", '"', "'a'.", " ", "a .\t", "."])
def test_search_for_long_keys_is_quick_whatever_the_file_holds(tmp_path, filler):
    path = tmp_path / "my.toml"
    path.write_text((filler * 1024 * 1024)[: 1024 * 1024])

    begin = time.perf_counter()
    with pytest.raises(RecipeError):
        read_rules(path)

    assert time.perf_counter() - begin < 2


def test_file_of_exactly_the_limit_is_read(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("\ufeff" + RULE, encoding="utf-8")
    path.write_bytes(path.read_bytes().ljust(1024 * 1024, b"#"))

    assert [rule.dtype for rule in read_rules(path).known] == [Dtype.F16]


@pytest.mark.parametrize(
    ("spelling", "dtype"),
    [
        ("F32", Dtype.F32),
        ("fp32", Dtype.F32),
        ("float16", Dtype.F16),
        ("FP16", Dtype.F16),
        ("Bf16", Dtype.BF16),
        ("fp8", Dtype.F8_E4M3),
        ("F8_E4M3", Dtype.F8_E4M3),
        ("fp8-e4m3fn", Dtype.F8_E4M3),
        ("float8_e4m3fn", Dtype.F8_E4M3),
        ("fp8_e5m2", Dtype.F8_E5M2),
        ("F8-E5M2", Dtype.F8_E5M2),
        ("KEEP", None),
    ],
)
def test_dtypes_are_written_in_any_usual_way(spelling, dtype):
    assert parse(f'[[rule]]\ndtype = "{spelling}"').known[0].dtype is dtype


def test_words_and_lists_of_words_are_selectors():
    rule = parse(
        '[[rule]]\npattern = "a.*"\ncomponent = "UNet"\nkind = ["conv", "bias"]\n'
        'dtype = "fp8"\nreason = "because"'
    ).known[0]

    assert rule.patterns == ("a.*",)
    assert [part.value for part in rule.listed_components] == ["unet"]
    assert [kind.value for kind in rule.listed_kinds] == ["conv", "bias"]
    assert (rule.key, rule.scaled, rule.reason) == ("rule[0]", False, "because")
    assert rule.subject == "'a.*': unet: conv, bias"


def test_suffix_and_summary_are_read():
    rules = parse(f'summary = "mine"\nsuffix = "fp8_mine-2.1"\n{RULE}')

    assert (rules.summary, rules.suffix) == ("mine", "fp8_mine-2.1")


def test_rule_without_a_reason_is_its_own_reason():
    assert parse(RULE).known[0].reason == "my.toml: rule[0]"


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        ("*", ["a.b.weight", "a.c1.weight", "A.b"]),
        ("a.*", ["a.b.weight", "a.c1.weight"]),
        ("*.weight", ["a.b.weight", "a.c1.weight"]),
        ("a.c[0-3].weight", ["a.c1.weight"]),
        ("a.?.weight", ["a.b.weight"]),
        ("a", []),
        ("a.b", []),
    ],
)
def test_globs_cover_whole_names_across_dots(pattern, covers):
    assert covered([pattern], ["a.b.weight", "a.c1.weight", "A.b"]) == covers


def test_glob_of_many_stars_is_quick():
    assert covered(["*a" * 30 + "b"], ["a" * 1000]) == []
