"""Getting ingredients to hand: looking them up on the Hub, downloading, licences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from release.definition import Definition
from release.errors import HubError
from release.ingredients import Located, locate, require_all
from release.licences.release import check_licence
from release.licences.texts import FoundText, LicenceTexts, release_texts


def locate_with_hub(
    definition: Definition,
    given: Mapping[str, Path],
    *,
    base: Path,
    note: Callable[[str], None],
    is_plan: bool = False,
) -> tuple[Located, ...]:
    """Find every ingredient; ask the Hub only about those that are nowhere else.

    Args:
        definition: The release.
        given: Ingredient name -> path, as the user named them.
        base: Folder that paths of the definition are relative to.
        note: Told what is being done, one line.
        is_plan: An ingredient that is nowhere is no error yet, nor is a Hub that cannot
            be asked: sizes of what lies there are then unknown.

    Raises:
        RecipeError: An ingredient is nowhere; known before the Hub is asked.
        CardError: The ingredients do not allow the release's licence.
        ReleaseError: As `release.ingredients.locate`.
    """
    check_licence(definition)
    located = locate(definition, given, base=base, connection=None)
    absent = [item for item in located if item.state == "missing"]
    on_hub = [item for item in absent if definition.ingredients[item.name].hub]
    if not is_plan:
        require_all([item for item in absent if item not in on_hub])
    if not on_hub:
        return located
    from release.hub.client import connect

    note(f"look up on the Hub: {', '.join(item.name for item in on_hub)}")
    try:
        with connect() as connection:
            return locate(definition, given, base=base, connection=connection)
    except HubError as error:
        if not is_plan:
            raise
        note(f"warning: {error}")
        names = {item.name for item in on_hub}
        return tuple(
            replace(item, state="on the Hub") if item.name in names else item
            for item in located
        )


def acquire(
    located: Sequence[Located], *, note: Callable[[str], None]
) -> tuple[Located, ...]:
    """Download what is on the Hub, at its pinned commit, into the Hub's cache.

    Raises:
        HubError: The Hub refuses or cannot be reached.
    """
    if not any(item.state == "on the Hub" for item in located):
        return tuple(located)
    from release.hub.client import connect
    from release.hub.ingredients import fetch_ingredient

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


def gather_texts(
    definition: Definition, located: Sequence[Located], *, base: Path
) -> LicenceTexts:
    """Return the licence texts that go with a release.

    The Hub is asked about the ingredients that come from there and whose text the
    definition does not name.

    Args:
        definition: The release.
        located: Its ingredients, from `locate_with_hub`.
        base: Folder that paths of the definition are relative to.

    Raises:
        HubError: The Hub refuses or cannot be reached.
        InputError: A text that the definition names cannot be read.
        CardError: As `release.licences.texts.release_texts`.
    """
    asked = {
        item.name: item.hub_file
        for item in located
        if item.hub_file and not definition.ingredients[item.name].licence_file
    }
    found: dict[str, FoundText] = {}
    if asked:
        from release.hub.client import connect
        from release.hub.licences import fetch_licence

        with connect() as connection:
            for name, file in asked.items():
                text = fetch_licence(connection, file)
                if text is not None:
                    found[name] = text
    return release_texts(definition, base, on_hub=found)
