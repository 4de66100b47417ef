"""The benchmark's proofs: real programs on a narrow release, and invented times."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import merge_runs
import proof_runs
import proofs
import pytest
from measures import Bench
from proof_runs import Kept
from runs import lacks
from timing import BenchError, PeerError, Sample

from release.manifest import read_manifest


@pytest.fixture
def kept(release_folder: Path, tmp_path: Path) -> Kept:
    """A copy of a release of two checkpoints, of which fp16 is looked at."""
    folder = tmp_path / "kept"
    shutil.copytree(release_folder, folder)
    (record,) = [
        record
        for record in read_manifest(folder / "manifest.json").checkpoints
        if record.variant == "fp16"
    ]
    path = folder / record.name
    return Kept(folder, path, record.xxh3_128, record.sha256)


def test_a_release_is_verified_by_both_digests(kept: Kept) -> None:
    assert proof_runs.verify(kept.checkpoint, threads=1).seconds > 0
    assert proof_runs.verify_identity(kept.folder).seconds > 0
    assert proof_runs.verify_pass(kept.checkpoint, threads=2).seconds < 60


def test_a_verify_that_sees_no_damage_could_not_win(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof_runs.require_damage_is_seen(kept.checkpoint)
    monkeypatch.setattr(proof_runs, "KRELEASE", Path("/bin/true"))

    with pytest.raises(BenchError, match="exit code 0, expected 5"):
        proof_runs.require_damage_is_seen(kept.checkpoint)


def test_parity_must_have_seen_that_the_values_differ(
    kept: Kept, ingredients: Mapping[str, Path]
) -> None:
    assert proof_runs.parity(kept.checkpoint, ingredients["beta7"]).seconds > 0

    with pytest.raises(BenchError, match="exit code 0, expected 6"):
        proof_runs.parity(kept.checkpoint, kept.checkpoint)


def answering(folder: Path, answer: str, exit_code: int) -> Path:
    """Write a program that gives the same answer whatever it is asked."""
    program = folder / "answering"
    program.write_text(f"#!/bin/sh\necho '{answer}'\nexit {exit_code}\n")
    program.chmod(0o755)
    return program


def test_a_parity_that_looks_at_a_few_tensors_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = '{"total": {"n_tensors": 2515, "n_failed": 2512}}'
    monkeypatch.setattr(proof_runs, "KRELEASE", answering(tmp_path, few, 6))

    with pytest.raises(BenchError, match="2512"):
        proof_runs.parity(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("verdict", "is_whole"), [("rounding-order", "true"), ("exact", "false")]
)
def test_an_audit_of_another_verdict_or_extent_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str, is_whole: str
) -> None:
    answer = (
        f'{{"verdict": "{verdict}", "whole": {is_whole}, "sentence": "a few of it"}}'
    )
    monkeypatch.setattr(proof_runs, "KRELEASE", answering(tmp_path, answer, 0))

    with pytest.raises(BenchError, match="a few of it"):
        proof_runs.audit(tmp_path, merge_runs.Recipe("rev2", "", ()))


def test_another_programs_digest_must_be_the_manifests(kept: Kept) -> None:
    proof_runs.hash_file(["sha256sum"], kept.checkpoint, kept.sha256)

    with pytest.raises(BenchError, match="another digest"):
        proof_runs.hash_file(["sha256sum"], kept.checkpoint, kept.xxh3_128)


def test_huggingface_hub_verifies_against_the_stub(kept: Kept) -> None:
    with proof_runs.stub_hub(kept) as address:
        assert proof_runs.hf_cache_verify(address, kept).seconds > 0


def test_huggingface_hub_that_finds_another_file_is_no_measurement(kept: Kept) -> None:
    other = replace(kept, sha256="0" * 64)

    with (
        proof_runs.stub_hub(other) as address,
        pytest.raises(PeerError, match="Verification failed"),
    ):
        proof_runs.hf_cache_verify(address, other)


def test_huggingface_hub_that_looks_at_nothing_is_no_measurement(kept: Kept) -> None:
    kept.checkpoint.rename(kept.checkpoint.with_name("elsewhere.safetensors"))
    gone = replace(kept, checkpoint=kept.folder / "LICENSE.safetensors")
    gone.checkpoint.write_text("")

    with proof_runs.stub_hub(gone) as address:
        gone.checkpoint.unlink()
        with pytest.raises(PeerError, match="another file"):
            proof_runs.hf_cache_verify(address, gone)


def test_a_command_that_is_missing_is_said_for_each_of_its_rows(
    bench: Bench, kept: Kept
) -> None:
    def never(*_: object) -> list[object]:
        pytest.fail("measured")

    figures = proofs.unless_missing(bench, kept, "notarise", ["a", "b"], never)

    assert [figure.what for figure in figures] == ["a", "b"]
    assert {figure.missing for figure in figures} == {
        "this krelease has no command `notarise`"
    }
    assert lacks("verify") == ""
    assert lacks("Build") != ""


def after(seconds: float) -> Callable[..., Sample]:
    return lambda *_, **__: Sample(seconds, peak_nbytes=1)


def test_an_audit_is_held_against_the_merge_itself(
    bench: Bench, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def audit(_: Path, __: merge_runs.Recipe, *options: str) -> Sample:
        return Sample(0.5 if options == ("--sample",) else 5.0, peak_nbytes=1)

    monkeypatch.setattr(proof_runs, "audit", audit)
    monkeypatch.setattr(merge_runs, "merge", after(4.0))

    whole, sampled = proofs.measure_audit(bench, kept)

    assert (whole.value, whole.verdict) == (1.25, "bar met")
    assert (sampled.value, sampled.unit, sampled.bar) == (0.5, "s", None)


def test_parity_is_held_against_reading_both_files(
    bench: Bench, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_runs, "parity", after(3.0))
    monkeypatch.setattr(proof_runs, "cat", after(1.5))

    (figure,) = proofs.measure_parity(bench, kept)

    assert figure.value == 2.0


def test_a_peer_that_fails_leaves_the_other_row(
    bench: Bench, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Sample:
        raise PeerError("no such command")

    monkeypatch.setattr(proof_runs, "verify_identity", after(3.0))
    monkeypatch.setattr(proof_runs, "hash_file", after(2.0))
    monkeypatch.setattr(proof_runs, "hf_cache_verify", fails)

    beside_sha256sum, beside_hf = proofs.measure_identity(bench, kept)

    assert beside_sha256sum.value == 1.5
    assert beside_hf.missing == "no such command"
