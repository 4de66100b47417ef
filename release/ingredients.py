"""Ingredients: where each one is, and how it gets to hand.

In this order: a path given by the user, a path in the definition, the Hub at a commit.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from release.definition import Definition, folded_recipe
from release.errors import IntegrityError, RecipeError, UsageError, visible
from release.formats.input import InputFile
from release.formats.open import open_checkpoint
from release.formats.scan import scan
from release.metadata import STAND_IN_KEY
from release.numeric.digest import Sha256
from release.progress import Advance, Progress
from release.recipe.names import suggestion

if TYPE_CHECKING:
    from release.hub.client import HubConnection
    from release.hub.ingredients import HubFile


@dataclass(frozen=True, slots=True)
class Located:
    """Where an ingredient is.

    `nbytes` is None where it is not known; `sha256` is what the file must have, by the
    definition or the Hub; `licence_file` is the file of the release that will hold the
    text of its licence.
    """

    name: str
    title: str
    state: Literal["at hand", "on the Hub", "missing"]
    path: Path | None = None
    nbytes: int | None = None
    sha256: str | None = None
    licence: str | None = None
    licence_reason: str | None = None
    licence_file: str | None = None
    hub_file: "HubFile | None" = None


def locate(
    definition: Definition,
    given: Mapping[str, Path],
    *,
    base: Path,
    connection: "HubConnection | None",
) -> tuple[Located, ...]:
    """Find every ingredient that the recipe needs, downloading nothing.

    Args:
        definition: The release.
        given: Ingredient name -> path, as the user named them.
        base: Folder that paths of the definition are relative to.
        connection: Where Hub ingredients are looked up; None to leave the Hub alone.

    Raises:
        UsageError: `given` names an ingredient that the recipe does not have.
        InputError: A path does not lead to a regular file.
        HubError: A Hub ingredient cannot be looked up.
    """
    needed = folded_recipe(definition).needed
    for name in given:
        if name not in definition.ingredients:
            raise UsageError(
                f"--ingredient {visible(name)}: the recipe of "
                f"{definition.release.name} has no such ingredient",
                code="unknown-ingredient",
                hint=suggestion(name, definition.ingredients),
            )
    return tuple(
        _locate_one(definition, name, given.get(name), base, connection)
        for name in needed
    )


def _locate_one(
    definition: Definition,
    name: str,
    given: Path | None,
    base: Path,
    connection: "HubConnection | None",
) -> Located:
    source = definition.ingredients[name]
    path = given or (base / source.path if source.path is not None else None)
    if path is not None:
        with InputFile(path) as file:
            nbytes = file.nbytes
        return Located(
            name,
            source.title,
            "at hand",
            path=path,
            nbytes=nbytes,
            sha256=source.sha256,
            licence=source.licence,
            licence_reason=source.licence_reason,
        )
    if source.hub is None or connection is None:
        return Located(
            name,
            source.title,
            "missing",
            licence=source.licence,
            licence_reason=source.licence_reason,
        )
    from release.hub.ingredients import resolve_ingredient

    found = resolve_ingredient(connection, source.hub, source.revision, source.file)
    return Located(
        name,
        source.title,
        "on the Hub",
        nbytes=found.nbytes,
        sha256=source.sha256 or found.sha256,
        licence=source.licence,
        licence_reason=source.licence_reason,
        hub_file=found,
    )


def require_all(located: Sequence[Located]) -> None:
    """Refuse to go on while an ingredient is missing.

    Raises:
        RecipeError: Names every missing ingredient, and what to pass.
    """
    missing = [item for item in located if item.state == "missing"]
    if not missing:
        return
    names = ", ".join(f"{item.name} ({visible(item.title)})" for item in missing)
    options = " ".join(f"--ingredient {item.name}=PATH" for item in missing)
    raise RecipeError(
        f"missing ingredient: {names}: no file is given and no Hub repository is known",
        code="missing-ingredient",
        hint=f"pass {options}; krelease publish --rehearse makes stand-ins",
    )


def require_real(located: Sequence[Located]) -> None:
    """Refuse stand-ins: what they make must not be published as a model.

    Raises:
        UsageError: Names the ingredients that hold random values.
    """
    names = []
    for item in located:
        if item.path is not None:
            with open_checkpoint(item.path) as checkpoint:
                if STAND_IN_KEY in checkpoint.metadata:
                    names.append(item.name)
    if names:
        raise UsageError(
            f"stand-ins hold random values and are not published: {', '.join(names)}",
            code="stand-ins",
            hint="pass the real files, or add --rehearse",
        )


def check_digests(
    located: Sequence[Located], *, progress: Progress, threads: int
) -> None:
    """Compare the ingredients that have a declared SHA-256 with it.

    Raises:
        IntegrityError: A file is another one than the definition or the Hub says.
    """
    declared = [item for item in located if item.sha256 and item.path]
    if not declared:
        return
    total = sum(item.nbytes or 0 for item in declared)
    with (
        progress.stage("check ingredients", total) as advance,
        ThreadPoolExecutor(threads, "krelease-sha256") as pool,
    ):

        def check(item: Located) -> None:
            if item.path is not None:
                _compare(item, _sha256(item.path, advance))

        futures = [pool.submit(check, item) for item in declared]
        for future in futures:
            future.result()


def _compare(item: Located, found: str) -> None:
    if found != item.sha256:
        raise IntegrityError(
            f"{visible(item.path, 1024)}: ingredient {item.name} has SHA-256 {found}; "
            f"expected {item.sha256}",
            code="ingredient-digest",
            hint="it is another file, or damaged: download it again",
        )


def _sha256(path: Path, advance: Advance) -> str:
    digest = Sha256()
    with InputFile(path) as file:
        scan(file, 0, file.nbytes, digest, advance=advance)
    return digest.hexdigest()
