"""The plain data a card is rendered from: one entry per section.

What was measured comes from the manifest, what a maker states from the definition; the
two must be about the same release.
"""

from release.card.block_errors import block_errors_section
from release.card.changes import changes_section
from release.card.environment import Plain
from release.card.files import (
    files_section,
    full_precision,
    in_published_order,
    measured_section,
)
from release.card.formula import recipe_section
from release.card.ingredients import HUB, ingredients_section
from release.card.lineage import LINEAGE_NAME, lineage_of, lineage_text
from release.card.permissions import permissions_of
from release.card.programs import programs_section
from release.card.usage import (
    audience_note,
    settings_section,
    sizes_section,
    tags_section,
)
from release.definition import Definition, folded_recipe
from release.errors import CardError, first_names, visible
from release.licences.known import canonical_licence, licence_notes, licences
from release.licences.release import licence_parts
from release.manifest import Manifest
from release.recipe.rows import is_method


def card_context(
    definition: Definition,
    manifest: Manifest,
    *,
    previous: Definition | None = None,
    has_pictures: bool = False,
) -> dict[str, Plain]:
    """Return the context of every section, and of the pages for other sites.

    Args:
        definition: What the maker states.
        manifest: What was measured.
        previous: The release before this one, for the changelog.
        has_pictures: Whether `release.card.block_errors` draws one beside the card.

    Raises:
        CardError: Definition and manifest are of different releases, there is no
            checkpoint, or the licence is not one whose text krelease ships. With
            pictures also as `release.card.block_errors.block_errors`.
        RecipeError: A step of the manifest's recipe cannot be read.
    """
    check_same_release(definition, manifest)
    return {
        "release": _release(definition, manifest),
        "files": files_section(definition, manifest),
        "programs": programs_section(definition, manifest),
        "settings": settings_section(definition.usage),
        "tag_tables": tags_section(definition),
        "audience": audience_note(definition),
        "sizes": sizes_section(definition.usage),
        "background": _background(definition),
        "recipe": recipe_section(definition, manifest),
        "lineage": {"text": lineage_text(lineage_of(definition)), "file": LINEAGE_NAME},
        "ingredients": ingredients_section(definition, manifest),
        "measured": measured_section(definition, manifest),
        "block_errors": (
            block_errors_section(definition, manifest) if has_pictures else {}
        ),
        "audit": _audit(manifest),
        "issues": _issues(definition),
        "licence": _licence(definition, manifest),
        "changes": changes_section(definition, previous),
    }


def _release(definition: Definition, manifest: Manifest) -> dict[str, Plain]:
    release = definition.release
    return {
        "title": release.title,
        "summary": release.summary,
        "author": release.author,
        "name": release.name,
        "tag": release.tag,
        "repo": release.repo,
        "url": f"{HUB}/{release.repo}/tree/{release.tag}",
        "date": release.date or "",
        "rehearsal": manifest.rehearsal,
        "n_checkpoints": len(manifest.checkpoints),
    }


def _background(definition: Definition) -> dict[str, Plain]:
    card = definition.card
    return {"introduction": list(card.introduction), "why": list(card.why)}


def _audit(manifest: Manifest) -> dict[str, Plain]:
    audit = manifest.audit
    if audit is None:
        return {"sentence": ""}
    return {
        "sentence": audit.sentence,
        "checkpoint": audit.checkpoint,
        "is_whole": audit.is_whole,
        "n_compared": audit.n_compared,
        "n_tensors": audit.n_tensors,
        "n_compared_values": audit.n_compared_values,
        "n_compared_of": audit.n_values,
        "n_equal_values": audit.n_equal_values,
        "n_near_values": audit.n_near_values,
    }


def _issues(definition: Definition) -> dict[str, Plain]:
    return {
        "known": [
            {"issue": known.issue, "workaround": known.workaround}
            for known in definition.known_issues
        ],
        "bad_files": [
            {"file": bad.file, "reason": bad.reason, "sha256": bad.sha256 or ""}
            for bad in definition.known_bad
        ],
    }


def _licence(definition: Definition, manifest: Manifest) -> dict[str, Plain]:
    licence = definition.licence
    checkpoints = in_published_order(definition, manifest)
    allowed = permissions_of(licence.name)
    return {
        "name": canonical_licence(licence.name),
        "link": licence.link,
        "notes": [
            {"topic": note.topic, "text": note.text}
            for note in licence_notes(licence.name)
        ],
        "inherited": _inherited(definition, manifest),
        "notices": list(licence.notices),
        "merged": [
            source.title
            for name, source in definition.ingredients.items()
            if name in {record.name for record in manifest.ingredients}
        ],
        "full_precision": full_precision(checkpoints).name,
        "title": licences()[canonical_licence(licence.name)].title,
        "allows": {
            "uncredited": allowed.uncredited,
            "merges": allowed.merges,
            "other_licence": allowed.other_licence,
            "commercial": allowed.commercial,
        },
    }


def _inherited(definition: Definition, manifest: Manifest) -> list[Plain]:
    """Return the other licences of what went in: name, link, whose, and their texts."""
    chosen = canonical_licence(definition.licence.name)
    texts = {record.name: record.licence_file for record in manifest.ingredients}
    titles: dict[str, list[str]] = {}
    files: dict[str, list[str]] = {}
    for part in licence_parts(definition):
        if part.licence is None or part.licence.name == chosen:
            continue
        titles.setdefault(part.licence.name, []).append(part.title)
        file = texts.get(part.name)
        held = files.setdefault(part.licence.name, [])
        if file is not None and file not in held:
            held.append(file)
    return [
        {
            "name": name,
            "link": licences()[name].link,
            "titles": held,
            "files": files[name],
        }
        for name, held in titles.items()
    ]


def check_same_release(definition: Definition, manifest: Manifest) -> None:
    """Refuse a manifest that is not of the definition's release, or of no checkpoint.

    Raises:
        CardError: Code "card-mismatch" or "card-empty".
    """
    release = definition.release
    recipe = definition.recipe
    identity = folded_recipe(definition).sha256()
    for what, stated, built in (
        ("release", release.name, manifest.release),
        ("tag", release.tag, manifest.tag),
        ("recipe", identity, manifest.recipe.sha256),
        ("steps", sorted(recipe.steps), sorted(manifest.recipe.steps)),
    ):
        if stated != built:
            raise _mismatch(f"{what} is {built}, the definition says {stated}")
    named = {record.name for record in manifest.ingredients}
    named |= {name for row in manifest.recipe.rows.values() for name in row}
    strangers = {name for name in named if not is_method(name)}
    strangers -= definition.ingredients.keys()
    if strangers:
        names = first_names(sorted(strangers))
        raise _mismatch(f"ingredients that the definition does not name: {names}")
    if not manifest.checkpoints:
        raise CardError(
            "manifest: no checkpoint in it, so there is nothing to describe",
            code="card-empty",
            hint="build at least one variant first",
        )


def _mismatch(difference: str) -> CardError:
    return CardError(
        f"manifest: {visible(difference)}",
        code="card-mismatch",
        hint="build the release again with this definition",
    )
