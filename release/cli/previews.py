"""How a dry run is shown."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from release.hub.plan import HubPreview
    from release.preview import Preview


def preview_document(preview: "Preview") -> dict[str, object]:
    """Return the plan for scripts."""
    document: dict[str, object] = {
        "target": str(preview.target),
        "ingredients": [
            {
                "name": item.name,
                "title": item.title,
                "state": item.state,
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


def preview_text(preview: "Preview") -> list[str]:
    """Return the plan for people."""
    from release.console import size
    from release.errors import visible

    lines = ["Ingredients"]
    for item in preview.located:
        nbytes = "" if item.nbytes is None else f"  {size(item.nbytes)}"
        lines.append(
            f"  {item.name:<8} {item.state:<11}{nbytes}  {visible(item.title)}"
        )
    lines.append(f"Files in {preview.target}")
    for file in preview.files:
        known = (
            "measured while building"
            if file.nbytes is None
            else f"{file.nbytes:,} bytes"
        )
        lines.append(f"  {file.name}  {known}")
    if not preview.is_exact:
        lines.append("  (sizes of full-size fp16 ingredients, as some are not at hand)")
    lines.append(
        f"Disk: needs {size(preview.needed_nbytes)}, {size(preview.free_nbytes)} free"
    )
    lines += [f"Note: {warning}" for warning in preview.warnings]
    return lines + (_hub_text(preview.hub) if preview.hub else [])


def _hub_text(hub: "HubPreview") -> list[str]:
    exists = "exists" if hub.repo_exists else "would be created"
    tag = f"already at {hub.tag_commit}" if hub.tag_commit else "would be created"
    account = hub.account or "nobody (no token)"
    lines = [f"Hub: {hub.repo_id} {exists}; tag {hub.tag} {tag}; as {account}"]
    lines += [f"  {file.state:<9} {file.name}" for file in hub.files]
    lines += [f"  kept      {name}" for name in hub.foreign]
    return lines
