"""`hf://OWNER/REPO[@REVISION]/FILE`, converted from a Hub on loopback."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.hub.client import HubConnection
from release.hub.rehearsal import RehearsalHub

REPO = "maker/gamma"

Run = Callable[..., tuple[int, str, str]]


def content(value: float) -> bytes:
    return safetensors.torch.save({"w": torch.full((500,), value)})


@pytest.fixture
def filled(connection: HubConnection) -> str:
    """A repository with a tag, a later version, and a file in a folder.

    Returns the commit of the first version.
    """
    api = connection.api
    api.create_repo(REPO)

    def put(value: float, name: str) -> str:
        done = connection.once(
            "put",
            lambda: api.upload_file(
                path_or_fileobj=content(value), path_in_repo=name, repo_id=REPO
            ),
        )
        return str(done.oid)

    first = put(1.0, "model.v1.safetensors")
    api.create_tag(REPO, tag="v1", revision=first)
    put(2.0, "model.v1.safetensors")
    put(3.0, "unet/model.safetensors")
    return first


@pytest.fixture
def here(hub: RehearsalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, configured for the Hub, with a cache elsewhere."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("release.hub.client.WAITS_SECONDS", ())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
    )
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return folder


@pytest.fixture
def refused(krelease: Run, here: Path) -> Callable[[str], tuple[int, str, str]]:
    """Convert a reference, which must fail: exit code, code and message; no file."""

    def run(reference: str) -> tuple[int, str, str]:
        exit_code, out, err = krelease("convert", reference, "--to=fp16", "--json")
        document = json.loads(out)
        assert list(here.iterdir()) == []
        assert document["hint"]
        assert "Traceback" not in err
        return exit_code, document["code"], document["message"]

    return run


FOUND = {
    "of main": ("", "model.v1.safetensors", 2.0),
    "of main by name": ("@main", "model.v1.safetensors", 2.0),
    "of a tag": ("@v1", "model.v1.safetensors", 1.0),
    "in a folder": ("", "unet/model.safetensors", 3.0),
    "in a folder of a branch": ("@main", "unet/model.safetensors", 3.0),
}


@pytest.mark.parametrize("case", FOUND)
def test_file_is_fetched_and_converted_into_the_current_folder(
    krelease: Run, filled: str, here: Path, case: str
) -> None:
    revision, name, value = FOUND[case]

    code, out, err = krelease(
        "convert", f"hf://{REPO}{revision}/{name}", "--to=fp16", "-q"
    )

    stem = Path(name).name.removesuffix(".safetensors")
    assert (code, out) == (0, f"{stem}-fp16.safetensors\n"), err
    assert {path.name for path in here.iterdir()} == {
        f"{stem}-fp16.safetensors",
        f"{stem}-fp16.krelease.json",
    }
    found = safetensors.torch.load_file(here / f"{stem}-fp16.safetensors")["w"]
    assert torch.equal(found, torch.full((500,), value).half())


@pytest.mark.parametrize("length", [40, 12])
def test_commit_is_a_revision(
    krelease: Run, filled: str, here: Path, length: int
) -> None:
    reference = f"hf://{REPO}@{filled[:length]}/model.v1.safetensors"

    code, _, err = krelease("convert", reference, "--to=fp32", "--out=out")

    found = safetensors.torch.load_file(here / "out" / "model.v1-fp32.safetensors")
    assert code == 0
    assert found["w"][0] == 1.0
    assert f"fetch {reference}" in err


def test_second_time_the_cache_is_enough(
    krelease: Run, filled: str, here: Path, hub: RehearsalHub
) -> None:
    reference = f"hf://{REPO}/model.v1.safetensors"
    krelease("convert", reference, "--to=fp16")
    n_before = sum("/resolve/" in seen.path for seen in hub.requests)

    code, _, _ = krelease("convert", reference, "--to=fp32")

    fetched = [
        seen
        for seen in hub.requests
        if seen.method == "GET" and "/resolve/" in seen.path
    ]
    assert code == 0
    assert n_before > 0
    assert len(fetched) == 1


def test_private_names_of_the_cache_are_not_in_the_outputs(
    krelease: Run, filled: str, here: Path, tmp_path: Path
) -> None:
    krelease("convert", f"hf://{REPO}/model.v1.safetensors", "--to=fp16", "--to=fp8")

    for path in here.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("reference", "code", "words"),
    [
        (f"hf://{REPO}/no.safetensors", "hub-file-not-found", "no.safetensors"),
        (f"hf://{REPO}/unet/no.safetensors", "hub-file-not-found", "unet/no"),
        (f"hf://{REPO}/unet", "hub-file-not-found", "unet"),
        (f"hf://{REPO}@v9/model.v1.safetensors", "hub-revision-not-found", "v9"),
        ("hf://maker/other/model.safetensors", "hub-not-found", "maker/other"),
    ],
)
def test_what_the_hub_does_not_have_is_refused(
    refused: Run, filled: str, reference: str, code: str, words: str
) -> None:
    exit_code, found, message = refused(reference)

    assert (exit_code, found) == (8, code)
    assert words in message


@pytest.mark.parametrize(
    "reference",
    [
        "hf://",
        "hf://maker",
        "hf://maker/gamma",
        "hf://maker/gamma/",
        "hf://maker/gamma@v1",
        "hf://maker/gamma@/model.safetensors",
        "hf:///gamma/model.safetensors",
        "hf://maker//model.safetensors",
        "hf://maker/gamma//model.safetensors",
        "hf://maker/gamma/../model.safetensors",
        "hf://../gamma/model.safetensors",
        "hf://maker/../model.safetensors",
        "hf://maker/./model.safetensors",
        "hf://maker/gamma/unet/",
        "hf://maker/gamma@a b/model.safetensors",
        "hf://mak er/gamma/model.safetensors",
        "hf://maker/gamma/mo\ndel.safetensors",
        "hf://maker/gamma/model\x1b[2J.safetensors",
    ],
)
def test_reference_of_another_form_is_refused_without_asking(
    refused: Run, hub: RehearsalHub, reference: str
) -> None:
    exit_code, code, message = refused(reference)

    assert (exit_code, code) == (2, "reference")
    assert "expected hf://OWNER/REPO[@REVISION]/FILE" in message
    assert message.isprintable()
    assert list(hub.requests) == []


def test_download_that_was_damaged_in_the_cache_is_refused(
    krelease: Run, refused: Run, filled: str, here: Path, tmp_path: Path
) -> None:
    reference = f"hf://{REPO}/model.v1.safetensors"
    krelease("convert", reference, "--to=fp16", "--out=../first")
    (blob,) = (tmp_path / "hf").glob("*/blobs/*")
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)

    exit_code, code, message = refused(reference)

    assert (exit_code, code) == (5, "download")
    assert "SHA-256 " in message
    assert "expected " in message


def test_hint_after_damage_is_what_mends_it(
    krelease: Run, filled: str, here: Path, tmp_path: Path
) -> None:
    reference = f"hf://{REPO}/model.v1.safetensors"
    krelease("convert", reference, "--to=fp16", "--out=../first")
    (blob,) = (tmp_path / "hf").glob("*/blobs/*")
    blob.write_bytes(bytes(blob.stat().st_size))
    _, _, err = krelease("convert", reference, "--to=fp16")
    hint = err.splitlines()[-1]

    Path(hint.removeprefix("hint: delete ").partition(" and ")[0]).unlink()
    code, _, _ = krelease("convert", reference, "--to=fp16")

    assert code == 0
    found = safetensors.torch.load_file(here / "model.v1-fp16.safetensors")["w"]
    assert found[0] == 2.0


def test_hub_that_cannot_be_reached_is_said(
    refused: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    exit_code, _, message = refused(f"hf://{REPO}/model.v1.safetensors")

    assert exit_code == 8
    assert REPO in message


def test_reference_is_a_checkpoint_only_convert_knows(
    krelease: Run, filled: str, here: Path
) -> None:
    """A folder that happens to be called hf: is a path like any other."""
    (here / "hf:" / "maker").mkdir(parents=True)
    safetensors.torch.save_file({"w": torch.ones(3)}, here / "hf:" / "maker" / "m.sft")

    code, out, _ = krelease("convert", "hf:/maker/m.sft", "--to=fp16", "-q")

    assert (code, out) == (0, "hf:/maker/m-fp16.safetensors\n")
