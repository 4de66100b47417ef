"""How a dry run is shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from release.numeric.size import size_text

if TYPE_CHECKING:
    from release.hub.plan import HubPreview
    from release.ingredients import Located
    from release.preview import Preview

_UNKNOWN: Final = "measured while building"
_LABELS: Final = {"new": "new", "replaced": "on main", "unchanged": "unchanged"}


def preview_document(preview: "Preview") -> dict[str, object]:
    """Return the plan for scripts."""
    document: dict[str, object] = {
        "target": str(preview.target),
        "target_exists": _is_occupied(preview.target),
        "ingredients": [
            {
                "name": item.name,
                "title": item.title,
                "state": _state(item),
                "nbytes": item.nbytes,
                "path": str(item.path) if item.path else None,
            }
            for item in preview.located
        ],
        "files": [
            {"name": file.name, "role": file.role, "nbytes": file.nbytes}
            for file in preview.files
        ],
        "sizes_are_exact": preview.is_exact,
        "needed_nbytes": preview.needed_nbytes,
        "free_nbytes": preview.free_nbytes,
        "warnings": list(preview.warnings),
    }
    if preview.hub is not None:
        document["hub"] = {
            "repo": preview.hub.repo_id,
            "tag": preview.hub.tag,
            "account": preview.hub.account,
            "repo_exists": preview.hub.repo_exists,
            "tag_commit": preview.hub.tag_commit,
            "files": [
                {"name": file.name, "state": file.state} for file in preview.hub.files
            ],
            "kept": list(preview.hub.foreign),
        }
    return document


def preview_text(preview: "Preview", *, occupied: str) -> list[str]:
    """Return the plan for people.

    Args:
        preview: The plan.
        occupied: What happens where something is at the target already; may be empty.
    """
    from release.console import columns
    from release.errors import visible

    lines = ["Ingredients"]
    lines += columns(
        [
            [
                f"  {item.name}",
                _state(item),
                "-" if item.nbytes is None else size_text(item.nbytes),
                visible(item.title if item.path is None else item.path, 1024),
            ]
            for item in preview.located
        ],
        right=[2],
    )
    lines.append(f"Files in {preview.target}")
    lines += columns(
        [[f"  {file.name}", *_sizes(file.nbytes)] for file in preview.files],
        right=[1, 2],
    )
    if not preview.is_exact:
        lines.append("  (sizes of full-size fp16 ingredients, as some are not at hand)")
    lines.append("Disk")
    needed, free = preview.needed_nbytes, preview.free_nbytes
    fits = "" if needed <= free else ": does not fit"
    lines.append(f"  needs {size_text(needed)}, {size_text(free)} free{fits}")
    if _is_occupied(preview.target) and occupied:
        lines.append(f"Note: {preview.target} already exists; {occupied}")
    lines += [f"Note: {visible(warning, 400)}" for warning in preview.warnings]
    return lines + (_hub_text(preview.hub) if preview.hub else [])


def preview_paths(preview: "Preview") -> list[str]:
    """Return the paths that would be written, for `--quiet`."""
    return [str(preview.target / file.name) for file in preview.files]


def _state(item: "Located") -> str:
    """Return where an ingredient is; one that is nowhere but has a size is made."""
    is_made = item.state == "missing" and item.nbytes is not None
    return "to be made" if is_made else item.state


def _sizes(nbytes: int | None) -> tuple[str, str]:
    if nbytes is None:
        return _UNKNOWN, ""
    return f"{nbytes:,} bytes", size_text(nbytes)


def _is_occupied(target: Path) -> bool:
    if target.is_dir():
        return any(target.iterdir())
    return target.exists()


def _hub_text(hub: "HubPreview") -> list[str]:
    from release.console import columns
    from release.errors import first_names

    exists = "exists" if hub.repo_exists else "would be created"
    tag = f"stays at {hub.tag_commit}" if hub.tag_commit else "would be created"
    account = hub.account or "nobody: no token is configured"
    lines = [f"Hub repository {hub.repo_id}"]
    lines += columns(
        [
            ["  repository", exists],
            ["  tag", f"{hub.tag}, {tag}"],
            ["  account", account],
        ]
    )
    lines += columns([[f"  {_LABELS[file.state]}", file.name] for file in hub.files])
    if any(file.state == "replaced" for file in hub.files):
        lines.append("  (what is on main is replaced only if its bytes differ)")
    if hub.foreign:
        lines.append(f"  kept, not part of the release: {first_names(hub.foreign)}")
    return lines
