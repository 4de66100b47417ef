"""What a model may be licensed as, from what it is made of: step by step.

Every part allows some licences for what is made of it; the result may have those that
all parts allow. A part whose licence is unknown allows none, unless its maker states a
reason why the release may be made all the same; then it is left out, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from release.errors import CardError, visible
from release.licences.known import Licence, canonical_licence, find_licence, licences


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a model is made of.

    Attributes:
        name: What the recipe calls it.
        title: What people call it.
        declared: Its licence as it was declared; "" for none.
        source: Where that was read.
        reason: Why its licence does not count, in the maker's words; "" if it counts.
        key: Where such a reason is stated.
    """

    name: str
    title: str
    declared: str
    source: str
    reason: str = ""
    key: str = ""

    @property
    def licence(self) -> Licence | None:
        """The licence that is meant, None if it is not known or there is none."""
        return find_licence(self.declared)


@dataclass(frozen=True, slots=True)
class Step:
    """One part, and which licences are left after it.

    `doubtful` are those of `left` that some part up to this one allows only by an
    uncertain reading.
    """

    part: Part
    left: tuple[str, ...]
    doubtful: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """What a model may be licensed as, and why.

    Attributes:
        steps: One per part, in the order given.
        allowed: Canonical names, in the order licences are offered.
        doubtful: Those of `allowed` that somebody should ask about.
        chosen: The licence the release is to have, canonical.
        problem: Why that is not possible; None if it is.
    """

    steps: tuple[Step, ...]
    allowed: tuple[str, ...]
    doubtful: tuple[str, ...]
    chosen: str
    problem: CardError | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is possible but uncertain, one line each."""
        if self.problem is not None or self.chosen not in self.doubtful:
            return ()
        names = [
            step.part.name
            for step in self.steps
            if not step.part.reason
            and step.part.licence is not None
            and self.chosen in step.part.licence.doubtful_outputs
        ]
        warning = (
            f"licence {self.chosen}: whether {', '.join(names)} may be released under "
            "it is uncertain; ask its maker"
        )
        return (warning,)


def combine(parts: Sequence[Part], chosen: str) -> Combination:
    """Return what something made of `parts` may be licensed as.

    Args:
        parts: Everything it is made of.
        chosen: The licence it is to have, as its maker wrote it.
    """
    left = tuple(licences())
    doubtful: tuple[str, ...] = ()
    steps: list[Step] = []
    for part in parts:
        certain, uncertain = _outputs(part)
        left = tuple(name for name in left if name in certain | uncertain)
        doubtful = tuple(n for n in left if n in uncertain or n in doubtful)
        steps.append(Step(part, left, doubtful))
    canonical = canonical_licence(chosen)
    problem = _problem(parts, canonical, left)
    return Combination(tuple(steps), left, doubtful, canonical, problem)


def _outputs(part: Part) -> tuple[frozenset[str], frozenset[str]]:
    """Return the licences that a part allows, and those it allows perhaps."""
    if part.reason:
        return frozenset(licences()), frozenset()
    licence = part.licence
    if licence is None:
        return frozenset(), frozenset()
    return frozenset(licence.outputs), frozenset(licence.doubtful_outputs)


def _allowed_by(part: Part) -> frozenset[str]:
    """Return the licences that a part allows, for certain or perhaps."""
    return frozenset().union(*_outputs(part))


def _problem(
    parts: Sequence[Part], chosen: str, allowed: Sequence[str]
) -> CardError | None:
    for part in parts:
        if part.licence is None and not part.reason:
            return _unknown(part)
    if find_licence(chosen) is None:
        return CardError(
            f"licence {visible(chosen)}: is not known, so nobody can tell whether the "
            "ingredients allow it",
            code="licence-not-known",
            hint=f"allowed here: {', '.join(allowed) or 'none'}",
        )
    if not allowed:
        return _conflict(parts)
    for part in parts:
        if chosen not in _allowed_by(part):
            return _forbidden(part, chosen, allowed)
    return None


def _unknown(part: Part) -> CardError:
    said = (
        f"declares {visible(part.declared)}, which is not known"
        if part.declared
        else "declares no licence"
    )
    return CardError(
        f"ingredient {part.name} ({visible(part.title)}): {said}, so nobody can tell "
        "what may be made of it",
        code="licence-undeclared",
        hint=_reason_hint(part, "ask its maker"),
    )


def _conflict(parts: Sequence[Part]) -> CardError:
    """Return the error for parts that no licence suits, naming two that clash.

    The second is the first part with which nothing is left. If it has a licence in
    common with every part before, the last of these is named with it.
    """
    left = frozenset(licences())
    for at, second in enumerate(parts):
        allows = _allowed_by(second)
        if not allows:
            return CardError(
                f"ingredient {second.name}: {_licence_name(second)} allows nothing to "
                "be made of it",
                code="licence-conflict",
                hint=_reason_hint(second, "leave it out"),
            )
        if not left & allows:
            earlier = [part for part in parts[:at] if not part.reason]
            apart = (p for p in earlier if not allows & _allowed_by(p))
            return _clash(next(apart, earlier[-1]), second)
        left &= allows
    raise AssertionError


def _clash(first: Part, second: Part) -> CardError:
    return CardError(
        f"ingredients {first.name} ({_licence_name(first)}) and {second.name} "
        f"({_licence_name(second)}): no licence suits both",
        code="licence-conflict",
        hint=_reason_hint(second, "leave one of the two out"),
    )


def _forbidden(part: Part, chosen: str, allowed: Sequence[str]) -> CardError:
    return CardError(
        f"licence {chosen}: ingredient {part.name} ({_licence_name(part)}) does not "
        f"allow it; allowed: {', '.join(allowed)}",
        code="licence-forbidden",
        hint=_reason_hint(part, f'write licence.name = "{allowed[0]}"'),
    )


def _reason_hint(part: Part, otherwise: str) -> str:
    if not part.key:
        return otherwise
    return f'{otherwise}; or write {part.key} = "why it may be released so"'


def _licence_name(part: Part) -> str:
    licence = part.licence
    return licence.name if licence else visible(part.declared)
