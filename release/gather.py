"""Bringing a recipe's ingredients to hand, and making sure that they are the ones."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from release.download import HUB_SCHEME, local_path
from release.errors import IntegrityError, RecipeError, UsageError, visible
from release.formats.input import InputFile
from release.formats.scan import Digest, scan
from release.numeric.digest import Sha256, Xxh3Bits128, autov2
from release.progress import Advance, Progress
from release.recipe.names import suggestion
from release.recipe.rows import FoldedRecipe
from release.recipe.text import Origin, RecipeText


@dataclass(frozen=True, slots=True)
class Gathered:
    """Where every ingredient lies.

    Attributes:
        paths: Ingredient name -> its file or folder.
        digests: Ingredient name -> SHA-256 of its file, where the recipe names it.
    """

    paths: Mapping[str, Path]
    digests: Mapping[str, str]


def gather(
    recipe: RecipeText,
    folded: FoldedRecipe,
    given: Mapping[str, str],
    *,
    base: Path,
    note: Callable[[str], None],
    progress: Progress,
    threads: int,
) -> Gathered:
    """Find every ingredient, download what is on a Hub, and check declared digests.

    Args:
        recipe: Says where ingredients are and what they must be.
        folded: Says which are needed.
        given: Ingredient name -> path or `hf://` reference, as the user named them.
        base: Folder that paths of the recipe are relative to.
        note: Told what is being done, one line.
        progress: Told how far checking is.
        threads: Files that are checked at once.

    Raises:
        UsageError: `given` names an ingredient that the recipe does not have.
        RecipeError: An ingredient is nowhere.
        IntegrityError: A file is another one than the recipe says.
        HubError: A Hub does not have it, refuses, or cannot be reached.
    """
    _refuse_unknown(given, recipe)
    places = {
        name: _place(given.get(name), recipe.ingredients[name], base)
        for name in folded.needed
    }
    _refuse_missing(places)
    paths = {name: local_path(place, note=note) for name, place in places.items()}
    declared = {name: recipe.ingredients[name] for name in folded.needed}
    check_declared(declared, paths, progress=progress, threads=threads)
    digests = {name: each.sha256 for name, each in declared.items() if each.sha256}
    return Gathered(paths, digests)


def _place(given: str | None, origin: Origin, base: Path) -> str:
    """Return a path or a reference, "" for none."""
    if given:
        return given if given.startswith(HUB_SCHEME) else _expanded(given)
    if origin.file:
        return str(base / origin.file)
    if origin.hub and origin.hub_file:
        return f"{HUB_SCHEME}{origin.hub}@{origin.revision}/{origin.hub_file}"
    return ""


def _expanded(path: str) -> str:
    """Return a path with `~` as a folder: a shell leaves `NAME=~/x` alone."""
    return os.path.expanduser(path)  # noqa: PTH111  # Path raises for unknown users


def _refuse_unknown(given: Mapping[str, str], recipe: RecipeText) -> None:
    for name in given:
        if name not in recipe.ingredients:
            raise UsageError(
                f"--ingredient {visible(name)}: the recipe has no such ingredient",
                code="unknown-ingredient",
                hint=suggestion(name, recipe.ingredients),
            )


def _refuse_missing(places: Mapping[str, str]) -> None:
    missing = [name for name, place in places.items() if not place]
    if missing:
        options = " ".join(f"--ingredient {name}=PATH" for name in missing)
        raise RecipeError(
            f"missing ingredient: {', '.join(missing)}: no file is given, and the "
            "recipe names none",
            code="missing-ingredient",
            hint=f"pass {options}; PATH may be hf://OWNER/REPO@REVISION/FILE",
        )


def _is_declared(origin: Origin) -> bool:
    return bool(origin.sha256 or origin.xxh3 or origin.autov2)


def find_at_hand(
    origins: Mapping[str, Origin],
    given: Mapping[str, str],
    *,
    base: Path,
    note: Callable[[str], None],
) -> dict[str, Path]:
    """Return the ingredients that are here, or that the user named on a Hub.

    What only a recipe names on a Hub is not downloaded, and nothing that is missing is
    an error.

    Args:
        origins: Ingredient name -> what is known of it.
        given: Ingredient name -> path or `hf://` reference, as the user named them.
        base: Folder that paths of the recipe are relative to.
        note: Told what is being done, one line.

    Raises:
        HubError: A Hub does not have it, refuses, or cannot be reached.
    """
    found = {}
    for name, origin in origins.items():
        place = _place(given.get(name), origin, base)
        if name in given or (origin.file and Path(place).exists()):
            found[name] = local_path(place, note=note)
    return found


def check_declared(
    origins: Mapping[str, Origin],
    paths: Mapping[str, Path],
    *,
    progress: Progress,
    threads: int,
) -> None:
    """Compare ingredients with the digests that are declared of them, if any are.

    Raises:
        IntegrityError: A file is another one than the recipe says.
    """
    declared = {name: each for name, each in origins.items() if _is_declared(each)}
    if not declared:
        return
    with ExitStack() as stack:
        files = {name: stack.enter_context(InputFile(paths[name])) for name in declared}
        total = sum(file.nbytes for file in files.values())
        advance = stack.enter_context(progress.stage("check ingredients", total))
        pool = stack.enter_context(ThreadPoolExecutor(threads, "krelease-digest"))
        futures = [
            pool.submit(_check, name, origin, files[name], advance)
            for name, origin in declared.items()
        ]
        for future in futures:
            future.result()


def _check(name: str, origin: Origin, file: InputFile, advance: Advance) -> None:
    identity, whole = Sha256(), Xxh3Bits128()
    digests: list[Digest] = [whole] if origin.xxh3 else []
    if origin.sha256 or origin.autov2:
        digests.append(identity)
    scan(file, 0, file.nbytes, *digests, advance=advance)
    sha256 = identity.hexdigest()
    found = {
        "SHA-256": (origin.sha256, sha256),
        "xxh3-128": (origin.xxh3, whole.hexdigest()),
        "AutoV2": (origin.autov2, autov2(sha256).lower()),
    }
    for kind, (expected, got) in found.items():
        if expected is not None and got != expected:
            raise IntegrityError(
                f"{visible(file.path, 1024)}: ingredient {name} has {kind} {got}; "
                f"expected {expected}",
                code="ingredient-digest",
                hint="it is another file, or damaged: get it again",
            )
