"""The dtype of every tensor of a checkpoint, why it has it, and what that risks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from release.architecture.sdxl import Component, component_of, copied_reason
from release.errors import RecipeError, visible
from release.numeric.dtype import Dtype
from release.variants.kind import Kind, TensorLike, kind_of
from release.variants.preset import Preset
from release.variants.rules import Rule, Rules, covered

_TEXT_ENCODERS: Final = frozenset({Component.CLIP_L, Component.CLIP_G})


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one tensor becomes.

    Attributes:
        dtype: Dtype of its elements.
        scaled: Whether they are divided by one scale, which is stored beside them.
        reason: Why, for people; never empty.
    """

    dtype: Dtype
    scaled: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Subject:
    """A tensor as the rules see it; `copied` tells why it reaches no rule, or is ""."""

    component: Component
    kind: Kind
    copied: str


def assign(
    preset: Preset,
    tensors: Mapping[str, TensorLike],
    *,
    architecture: str,
    rules: Rules | None = None,
) -> dict[str, Assignment]:
    """Return what each tensor becomes, in the order of `tensors`.

    Tensors that are copied bit for bit (integers, markers, schedule buffers) reach no
    rule. For all others the first rule that fits counts: the user's, then the preset's.

    Args:
        preset: The policy.
        tensors: Tensor name -> dtype and shape, a whole checkpoint.
        architecture: As `release.architecture.sdxl.detect` names it.
        rules: The user's own.

    Raises:
        RecipeError: A rule of the user's fits no tensor ("rule-unused"), or only such
            as are copied ("rule-copied").
    """
    subjects = {
        name: _Subject(
            component_of(name),
            kind_of(name, tensors),
            copied_reason(name, tensor.dtype),
        )
        for name, tensor in tensors.items()
    }
    chain = preset.rules.of(architecture)
    if rules:
        own = rules.of(architecture)
        for rule in own:
            _check_used(rule, subjects, origin=rules.origin)
        chain = own + chain
    chosen: dict[str, Rule] = {}
    for rule in chain:
        for name in _fitting(rule, subjects):
            chosen.setdefault(name, rule)
    return {
        name: _assignment(tensor.dtype, subjects[name].copied, chosen.get(name))
        for name, tensor in tensors.items()
    }


def risks(assignments: Mapping[str, Assignment]) -> tuple[str, ...]:
    """Return what may go wrong with the result, one line each.

    No preset has a risk; they come from a user's own rules.
    """
    fp8 = [name for name, each in assignments.items() if each.dtype.is_fp8]
    vae = [name for name in fp8 if component_of(name) is Component.VAE]
    text = [name for name in fp8 if component_of(name) in _TEXT_ENCODERS]
    scaled = [name for name in (*vae, *text) if assignments[name].scaled]
    found = []
    if vae:
        found.append(
            f"{len(vae):,} tensors of the VAE become fp8: images decode with visible"
            " damage"
        )
    if text:
        found.append(
            f"{len(text):,} tensors of the text encoders become fp8: prompts may be"
            " understood less well, and most programs make them 16 bits again"
        )
    if scaled:
        found.append(
            f"{len(scaled):,} weights outside the U-Net are scaled: programs that do"
            " not look for scales there read wrong values"
        )
    return tuple(found)


def _fitting(rule: Rule, subjects: Mapping[str, _Subject]) -> list[str]:
    """Return the names of the tensors that all selectors of `rule` fit."""
    names = [
        name
        for name, subject in subjects.items()
        if subject.component in rule.components and subject.kind in rule.kinds
    ]
    return covered(rule.patterns, names) if rule.patterns else names


def _assignment(source: Dtype, copied: str, rule: Rule | None) -> Assignment:
    if copied or rule is None:
        return Assignment(source, scaled=False, reason=copied or "no rule fits it")
    return Assignment(rule.dtype or source, rule.scaled, rule.reason)


def _check_used(rule: Rule, subjects: Mapping[str, _Subject], *, origin: str) -> None:
    """Refuse a user's rule that changes nothing, as it was surely meant to.

    Raises:
        RecipeError: As `assign`.
    """
    fitting = _fitting(rule, subjects)
    place = f"{visible(origin, 1024)}: {rule.key} ({rule.subject})"
    if not fitting:
        raise RecipeError(
            f"{place}: fits no tensor of the checkpoint",
            code="rule-unused",
            hint=_unused_hint(rule, subjects),
        )
    copied = [name for name in fitting if subjects[name].copied]
    if rule.dtype and copied == fitting:
        more = f" and {len(copied) - 1:,} more" if len(copied) > 1 else ""
        raise RecipeError(
            f"{place}: fits only tensors that are never cast: {visible(copied[0])}"
            f" ({subjects[copied[0]].copied}){more}",
            code="rule-copied",
            hint="remove the rule: they are copied bit for bit",
        )


def _unused_hint(rule: Rule, subjects: Mapping[str, _Subject]) -> str:
    if not rule.patterns:
        return "the checkpoint has no such part; remove the rule"
    if covered(rule.patterns, subjects):
        return "tensors of such names are of another component or kind"
    for pattern in rule.patterns:
        wider = replace(rule, patterns=(f"*{pattern}*",))
        n_found = len(_fitting(wider, subjects))
        if n_found:
            return f"did you mean {wider.subject}? it fits {n_found:,}"
    return "a pattern covers the whole name of a tensor; * is any text, dots too"
