"""Presets: the dtype policies that krelease comes with, the *.toml files in presets/.

Source:
    The fp8 presets are the plain layout that AUTOMATIC1111 (PR #14031), Forge and
    ComfyUI all read as fp8; see `release.variants.outcome.majority`. The scaled one is
    what ComfyUI's QUANTIZATION.md describes.
"""

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from release.errors import UsageError, visible
from release.variants.parse import parse_rules
from release.variants.rules import Rules

PRESET_NAMES: Final = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2", "fp8-scaled")
"""Every preset, in the order they are offered."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A named dtype policy.

    Attributes:
        name: What users call it by.
        rules: Which tensors become what; the last one of each list fits all.
        toml: The file that says so.
    """

    name: str
    rules: Rules
    toml: str

    @property
    def summary(self) -> str:
        """One line about it."""
        return self.rules.summary

    @property
    def suffix(self) -> str:
        """What the names of its files end in."""
        return self.rules.suffix

    @property
    def is_reduced(self) -> bool:
        """Whether precision below 16 bits is used anywhere."""
        return any(rule.dtype and rule.dtype.is_fp8 for rule in self.rules.known)


@cache
def presets() -> tuple[Preset, ...]:
    """Return every preset, in the order they are offered."""
    folder = resources.files("release.variants") / "presets"
    texts = {
        name: (folder / f"{name}.toml").read_text(encoding="utf-8")
        for name in PRESET_NAMES
    }
    return tuple(
        Preset(name, parse_rules(text, origin=f"preset {name}"), text)
        for name, text in texts.items()
    )


def find_preset(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        UsageError: There is none; the message lists them, the hint the nearest.
    """
    for preset in presets():
        if preset.name == name:
            return preset
    near = difflib.get_close_matches(name.lower(), PRESET_NAMES, n=1, cutoff=0.4)
    raise UsageError(
        f"unknown preset '{visible(name)}': expected one of {', '.join(PRESET_NAMES)}",
        code="unknown-preset",
        hint=f"did you mean {near[0]}?" if near else "",
    )
