"""Getting ingredients to hand: looking them up on the Hub, and downloading them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from release.definition import Definition
from release.hub.client import connect
from release.hub.ingredients import fetch_ingredient
from release.ingredients import Located, locate


def locate_with_hub(
    definition: Definition, given: Mapping[str, Path], *, base: Path
) -> tuple[Located, ...]:
    """Find every ingredient; ask the Hub only about those that are nowhere else.

    Raises:
        ReleaseError: As `release.ingredients.locate`.
    """
    located = locate(definition, given, base=base, connection=None)
    absent = {item.name for item in located if item.state == "missing"}
    if not any(definition.ingredients[name].hub for name in absent):
        return located
    with connect() as connection:
        return locate(definition, given, base=base, connection=connection)


def acquire(
    located: Sequence[Located], *, note: Callable[[str], None]
) -> tuple[Located, ...]:
    """Download what is on the Hub, at its pinned commit, into the Hub's cache.

    Raises:
        HubError: The Hub refuses or cannot be reached.
    """
    if not any(item.state == "on the Hub" for item in located):
        return tuple(located)
    found: list[Located] = []
    with connect() as connection:
        for item in located:
            if item.hub_file is None:
                found.append(item)
                continue
            file = item.hub_file
            note(f"fetch {item.name}: {file.repo_id}/{file.file} at {file.commit}")
            path = fetch_ingredient(connection, file)
            found.append(replace(item, state="at hand", path=path))
    return tuple(found)
