"""What is odd about a file that was read, whether or not it is what it should be."""

from release.formats.checkpoint import SafetensorsCheckpoint
from release.verify.examine import Examination
from release.verify.finding import Finding
from release.verify.report import FileVerdict


def own_facts(examined: Examination, verdict: FileVerdict) -> tuple[Finding, ...]:
    """Return the findings about a file's header, its stated hashes and its values.

    Values were looked at while the file was read, or else are those that krelease
    wrote; only those of damaged tensors are looked at now.

    Args:
        examined: What was read of it; still open.
        verdict: What it was found to be.

    Raises:
        InputError: The file cannot be read any more.
    """
    header = examined.header
    if header is None or examined.fault is not None:
        return ()
    from release.verify.facts import header_findings
    from release.verify.stated_hashes import hash_findings

    checkpoint = SafetensorsCheckpoint(examined.file, header=header)
    findings = [*header_findings(checkpoint)]
    if examined.data_sha256 is not None:
        findings += hash_findings(header.metadata, examined.data_sha256)
    if verdict.tensors:
        examined.look_at_values(verdict.tensors)
    if examined.values:
        from release.verify.values import findings_of, position_findings  # NumPy

        findings += findings_of(examined.values, header.tensors)
        findings += position_findings(checkpoint)
    return tuple(findings)
