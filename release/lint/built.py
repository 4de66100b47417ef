"""The card of a release of our own, linted before anybody sees it."""

from dataclasses import replace
from pathlib import Path

from release.definition import Definition
from release.lint.folder import read_subject
from release.lint.run import lint, refuse_errors
from release.manifest import Manifest
from release.progress import Progress


def check_card(
    folder: Path, definition: Definition, manifest: Manifest, *, progress: Progress
) -> None:
    """Refuse a release whose card breaks a rule; warnings are told to `progress`.

    Args:
        folder: With card, licence and checkpoints; the manifest need not be written.
        definition: Of the release.
        manifest: What was measured; its digests are believed.
        progress: Told of warnings.

    Raises:
        CardError: Code "lint".
    """
    subject = read_subject(folder, threads=1, progress=progress, manifest=manifest)
    findings = lint(replace(subject, definition=definition))
    refuse_errors(findings)
    for finding in findings:
        progress.warn(str(finding))
