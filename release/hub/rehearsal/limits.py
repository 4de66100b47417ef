"""Sizes at which the rehearsal Hub changes its answers; tests make them small."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults are the real Hub's where those are known."""

    part_bytes: int = 10_000_000
    """Large files above this size are uploaded in parts of this size."""
    page_entries: int = 1_000
    """Entries per page of a tree or commit listing."""
    expanded_entries: int = 50
    """The same for a tree listing with `expand=true`."""
