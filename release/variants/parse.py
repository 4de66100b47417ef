"""Reading a file of rules; presets and users' files have the same form.

    summary = "one line about the whole"    # optional
    suffix = "fp8_mine"                     # optional: what file names end in

    [[rule]]                                # the first rule that fits wins
    pattern = "*.proj_in.*"                 # a glob over the whole name, or a list
    component = ["unet", "other"]           # one or several of `Component`
    kind = "matrix"                         # one or several of `Kind`
    dtype = "F16"                           # or "keep"
    scaled = false                          # true: fp8 matrices, each with its scale
    reason = "small and sensitive"

    [[unknown-rule]]                        # instead, for unknown architectures

A selector that is left out fits every tensor. A file without `[[unknown-rule]]` means
the same for every architecture. In globs `*` is any text, dots too, `?` one character,
`[0-3]` one of several.
"""

import re
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from release.architecture.sdxl import Component
from release.errors import visible
from release.formats.toml_text import parse_toml, read_toml_text
from release.numeric.dtype import Dtype
from release.recipe.names import suggestion
from release.variants.kind import Kind
from release.variants.rules import Rule, Rules
from release.variants.table import RULES_HINT, Table

_FILE_KEYS: Final = ("summary", "suffix", "rule", "unknown-rule")
_RULE_KEYS: Final = ("pattern", "component", "kind", "dtype", "scaled", "reason")
_SUFFIX: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,39}")

_DTYPES: Final[dict[str, Dtype | None]] = {
    "f32": Dtype.F32,
    "f16": Dtype.F16,
    "bf16": Dtype.BF16,
    "f8_e4m3": Dtype.F8_E4M3,
    "f8_e5m2": Dtype.F8_E5M2,
    "keep": None,
    "fp32": Dtype.F32,
    "fp16": Dtype.F16,
    "fp8": Dtype.F8_E4M3,
    "fp8_e4m3": Dtype.F8_E4M3,
    "fp8_e4m3fn": Dtype.F8_E4M3,
    "fp8_e5m2": Dtype.F8_E5M2,
    "float32": Dtype.F32,
    "float16": Dtype.F16,
    "bfloat16": Dtype.BF16,
    "float8_e4m3fn": Dtype.F8_E4M3,
    "float8_e5m2": Dtype.F8_E5M2,
}
"""Every spelling of a dtype, in lower case and with "_" for "-"."""

_DTYPE_WORDS: Final = "F32, F16, BF16, F8_E4M3, F8_E5M2, keep"

_Word = TypeVar("_Word", bound=Enum)


def read_rules(path: Path) -> Rules:
    """Read a user's file of rules: TOML of at most 1 MiB.

    Raises:
        RecipeError: Names the file and the key path. Code "rules-file" (not readable,
            too large, not TOML) or "rules" (a key or a value).
    """
    text = read_toml_text(path, code="rules-file", hint=RULES_HINT)
    return parse_rules(text, origin=str(path))


def parse_rules(text: str, *, origin: str) -> Rules:
    """Return the rules of a TOML text.

    Args:
        text: TOML.
        origin: What errors name it by, such as its path.

    Raises:
        RecipeError: As `read_rules`.
    """
    document = parse_toml(text, origin=origin, code="rules-file", hint=RULES_HINT)
    table = Table(origin, "", values=document, keys=_FILE_KEYS)
    suffix = table.text("suffix")
    if suffix and not _SUFFIX.fullmatch(suffix):
        expected = "at most 40 letters, digits, '_', '-' and '.'"
        raise table.refusal("suffix", f"got '{suffix}', expected {expected}")
    known = tuple(map(_rule, table.tables("rule", keys=_RULE_KEYS)))
    unknown = tuple(map(_rule, table.tables("unknown-rule", keys=_RULE_KEYS)))
    if not known:
        raise table.refusal("rule", "there is none, expected [[rule]] at least once")
    return Rules(origin, known, unknown or known, table.text("summary"), suffix)


def _rule(table: Table) -> Rule:
    dtype, scaled = _dtype(table), table.flag("scaled")
    kinds = _members(table, "kind", Kind)
    if scaled and (dtype is None or not dtype.is_fp8):
        reason = "got true, expected dtype F8_E4M3 or F8_E5M2 beside it"
        raise table.refusal("scaled", reason)
    if scaled and kinds != {Kind.MATRIX}:
        reason = 'got true, expected kind = "matrix" beside it'
        hint = "programs look for scales beside the weights of Linear modules only"
        raise table.refusal("scaled", reason, hint=hint)
    return Rule(
        key=table.place,
        dtype=dtype,
        reason=table.text("reason") or f"{visible(table.origin)}: {table.place}",
        scaled=scaled,
        patterns=table.texts("pattern"),
        components=_members(table, "component", Component),
        kinds=kinds,
    )


def _dtype(table: Table) -> Dtype | None:
    given = table.text("dtype")
    if not given:
        raise table.refusal("dtype", f"is missing, expected one of {_DTYPE_WORDS}")
    spelling = given.lower().replace("-", "_")
    if spelling not in _DTYPES:
        reason = f"got '{visible(given, 60)}', expected one of {_DTYPE_WORDS}"
        raise table.refusal("dtype", reason, hint=suggestion(spelling[:64], _DTYPES))
    return _DTYPES[spelling]


def _members(table: Table, key: str, words: type[_Word]) -> frozenset[_Word]:
    """Return the members that are named; all where none is."""
    known = {str(member.value): member for member in words}
    named = [each.lower() for each in table.texts(key)]
    for name in named:
        if name not in known:
            reason = f"got '{visible(name, 60)}', expected of {', '.join(known)}"
            raise table.refusal(key, reason, hint=suggestion(name[:64], known))
    return frozenset(known[name] for name in named) or frozenset(words)
