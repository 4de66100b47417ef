"""The files of the catalog: releases here, trained models in `models/`."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from release.catalog.extend import Source

SUFFIX: Final = ".toml"


def catalog_names() -> tuple[str, ...]:
    """Return the names of the catalog's releases, sorted."""
    return _names(_releases())


def model_names() -> tuple[str, ...]:
    """Return the names of the catalog's trained models, sorted."""
    return _names(_models())


def catalog_source(name: str) -> Source | None:
    """Return the file of a release or a trained model; None if the catalog has none."""
    for names, folder in ((catalog_names(), _releases()), (model_names(), _models())):
        if name in names:
            text = (folder / f"{name}{SUFFIX}").read_text(encoding="utf-8")
            return Source(text, f"catalog {name}")
    return None


def _names(folder: Traversable) -> tuple[str, ...]:
    files = (entry.name for entry in folder.iterdir())
    return tuple(sorted(x.removesuffix(SUFFIX) for x in files if x.endswith(SUFFIX)))


def _releases() -> Traversable:
    return resources.files("release.catalog")


def _models() -> Traversable:
    return _releases() / "models"
