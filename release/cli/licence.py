"""`krelease licence`."""

from typing import TYPE_CHECKING, Final

from release.cli.app import session
from release.cli.definitions import load
from release.cli.options import (
    DefinitionOption,
    JsonOption,
    QuietOption,
    ReleaseArgument,
)

if TYPE_CHECKING:
    from release.definition import Definition
    from release.licences.combine import Combination, Part, Step

_INDENT: Final = "    "


def licence(
    release: ReleaseArgument = None,
    definition: DefinitionOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say which licences a release may have, and why.

    Follows from the licences of its ingredients, which the definition names, and of the
    model that its architecture comes from. With --quiet, only the allowed licences are
    printed. Not legal advice.

    Example: krelease licence gamma-rev2
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.licences.release import explain_licence

        wanted, _ = load(release, definition)
        found = explain_licence(wanted)
        console.result(
            "krelease.licence/1",
            _document(wanted, found),
            _text(wanted, found),
            brief=found.allowed,
        )
        for warning in found.warnings:
            console.warn(warning)
        if found.problem is not None:
            raise found.problem


def _document(definition: "Definition", found: "Combination") -> dict[str, object]:
    from release.licences.known import NOT_LEGAL_ADVICE

    problem = found.problem
    return {
        "release": definition.release.name,
        "licence": found.chosen,
        "allowed": list(found.allowed),
        "doubtful": list(found.doubtful),
        "steps": [_step(step) for step in found.steps],
        "cancelled": list(_cancelled(definition)),
        "warnings": list(found.warnings),
        "problem": problem
        and {"code": problem.code, "message": str(problem), "hint": problem.hint},
        "note": NOT_LEGAL_ADVICE,
    }


def _step(step: "Step") -> dict[str, object]:
    from release.licences.known import licence_remark

    part, known = step.part, step.part.licence
    return {
        "name": part.name,
        "title": part.title,
        "declared": part.declared or None,
        "source": part.source,
        "licence": known.name if known else None,
        "remark": licence_remark(part.declared),
        "reason": part.reason or None,
        "flags": sorted(known.flags) if known else [],
        "asks": list(known.asks) if known else [],
        "left": list(step.left),
    }


def _text(definition: "Definition", found: "Combination") -> list[str]:
    from release.errors import visible
    from release.licences.known import NOT_LEGAL_ADVICE

    lines = [f"{definition.release.name} is made of", ""]
    asked: set[str] = set()
    for step in found.steps:
        lines += [f"  {_headline(step.part)}"]
        known = step.part.licence
        if known is not None and known.name not in asked:
            asked.add(known.name)
            lines += [f"{_INDENT}asks: {line}" for line in known.asks]
        if step.part.reason:
            lines.append(f"{_INDENT}used all the same: {visible(step.part.reason)}")
        lines.append(f"{_INDENT}left: {', '.join(step.left) or 'none'}")
    lines += [f"  {name}: cancels out, has no say" for name in _cancelled(definition)]
    allowed = ", ".join(_marked(name, found) for name in found.allowed) or "none"
    verdict = "not allowed" if found.problem else "allowed"
    return [
        *lines,
        "",
        f"allowed: {allowed}",
        f"chosen:  {visible(found.chosen)} ({verdict})",
        NOT_LEGAL_ADVICE,
    ]


def _headline(part: "Part") -> str:
    from release.errors import visible
    from release.licences.known import licence_remark

    known = part.licence
    name = known.name if known else "unknown"
    meant = "" if name == part.declared else f" = {name}"
    said = f"{visible(part.declared)}{meant}" if part.declared else "no licence"
    remark = licence_remark(part.declared)
    doubt = f"; {remark}" if remark else ""
    return f"{part.name} ({visible(part.title)}): {said} (from {part.source}{doubt})"


def _marked(name: str, found: "Combination") -> str:
    from release.licences.known import licences

    notes = ["uncertain"] if name in found.doubtful else []
    if not licences()[name].text:
        notes.append("its text is not shipped with krelease")
    return f"{name} ({'; '.join(notes)})" if notes else name


def _cancelled(definition: "Definition") -> tuple[str, ...]:
    from release.definition import folded_recipe

    return folded_recipe(definition).cancelled
