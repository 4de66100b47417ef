"""`krelease presets`."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from release.console import Console
    from release.variants.preset import Preset
    from release.variants.rules import Rule

_KNOWN: Final = "SDXL, SD1.x and SD2.x"
_UNKNOWN: Final = "Other architectures"
_ALL: Final = "All architectures"
_COPIED: Final = (
    "Every preset copies bit for bit: integers, position_ids, logit_scale, noise"
    " schedules, markers of the prediction type"
)


def presets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="PRESET", help="Show this one rule by rule."),
    ] = None,
    toml: Annotated[
        bool,
        typer.Option("--toml", help="Print the file of rules, to edit a copy of it."),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the presets, or show one rule by rule, with the reasons.

    The first rule that fits a tensor counts. A rule has a dtype (F32, F16, BF16,
    F8_E4M3, F8_E5M2, or keep) and any of: pattern, a glob over the whole tensor
    name, in which * is any text; component: unet, clip_l, clip_g, vae, other;
    kind: matrix, conv, bias, norm, embedding, other; scaled = true, for fp8
    matrices with a scale each as ComfyUI reads them; reason, any text. A pattern,
    component or kind may be a list. [[unknown-rule]] is for architectures whose
    parts are not known; without it [[rule]] is for all.

    Example: krelease presets fp8 --toml
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.errors import UsageError
        from release.variants.preset import find_preset
        from release.variants.preset import presets as all_presets

        if toml and (json or name is None):
            raise UsageError(
                "--toml: expected the name of one preset, and no --json",
                code="presets-toml",
                hint="for example krelease presets fp8 --toml",
            )
        if name is None:
            _show_all(console, all_presets())
            return
        preset = find_preset(name)
        lines = preset.toml.splitlines() if toml else _text(preset)
        console.result(
            "krelease.presets/1",
            {"presets": [_document(preset)]},
            lines,
            brief=lines if toml else [preset.name],
        )


def _show_all(console: "Console", found: "tuple[Preset, ...]") -> None:
    from release.console import columns

    console.result(
        "krelease.presets/1",
        {"presets": [_document(preset) for preset in found]},
        columns([[preset.name, preset.summary] for preset in found]),
        brief=[preset.name for preset in found],
    )


def _text(preset: "Preset") -> list[str]:
    known, unknown = preset.rules.known, preset.rules.unknown
    parts = [(_KNOWN, known), (_UNKNOWN, unknown)]
    if known == unknown:
        parts = [(_ALL, known)]
    lines = [
        f"{preset.name}: {preset.summary}",
        f"Files: NAME-{preset.suffix}.safetensors",
    ]
    for title, rules in parts:
        lines += ["", title, *(f"  {line}" for line in _table(rules))]
    return [*lines, "", _COPIED]


def _table(rules: "tuple[Rule, ...]") -> list[str]:
    from release.console import columns

    return columns(
        [
            [
                rule.subject if rule.is_selective or not at else "everything else",
                _dtype(rule),
                rule.reason,
            ]
            for at, rule in enumerate(rules)
        ]
    )


def _dtype(rule: "Rule") -> str:
    return f"{_code(rule)} scaled" if rule.scaled else _code(rule)


def _code(rule: "Rule") -> str:
    return rule.dtype.code if rule.dtype else "keep"


def _document(preset: "Preset") -> dict[str, object]:
    return {
        "name": preset.name,
        "summary": preset.summary,
        "suffix": preset.suffix,
        "rules": [_rule(rule) for rule in preset.rules.known],
        "unknown_rules": [_rule(rule) for rule in preset.rules.unknown],
    }


def _rule(rule: "Rule") -> dict[str, object]:
    return {
        "patterns": list(rule.patterns),
        "components": [part.value for part in rule.listed_components],
        "kinds": [kind.value for kind in rule.listed_kinds],
        "dtype": _code(rule),
        "scaled": rule.scaled,
        "reason": rule.reason,
    }
