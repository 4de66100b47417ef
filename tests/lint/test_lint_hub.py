"""Linting a repository of a Hub: sizes, digests and headers, and no weights."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd
from safetensors.numpy import save_file

from release.errors import CardError, HubError, UsageError
from release.hub.client import HubConnection, connect
from release.hub.rehearsal import RehearsalHub
from release.licences.known import licence_text
from release.lint.repo import read_repo
from release.lint.run import lint

REPO = "maker/one"
CARD = """---
license: other
license_name: faipl-1.0-sd
license_link: LICENSE
pipeline_tag: text-to-image
---

# Model one

| File | Dtype | Size | SHA-256 |
|---|---|---|---|
| `m.safetensors` | fp16 | 8 MB | SHA |
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with RehearsalHub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def connection(hub):
    with connect(hub.endpoint, hub.token, lfs_only=True) as opened:
        yield opened


@pytest.fixture
def put(connection, tmp_path):
    """Put files into the repository, made anew; return what Git LFS calls the file."""

    def run(card: str | None, **metadata: str) -> str:
        path = tmp_path / "m.safetensors"
        weights = (np.arange(4_000_000) % 999).reshape(2000, 2000).astype(np.float16)
        save_file({"a": weights}, path, metadata=metadata or None)
        files = {"m.safetensors": path, "LICENSE": licence_text("faipl-1.0-sd")}
        if card is not None:
            files["README.md"] = card.encode()
        connection.api.create_repo(REPO, exist_ok=True)
        upload(connection, files)
        (found,) = connection.api.get_paths_info(REPO, ["m.safetensors"])
        return str(found.lfs.sha256)

    yield run
    connection.api.delete_repo(REPO, missing_ok=True)


def upload(connection, files, repo=REPO):
    additions = [CommitOperationAdd(name, content) for name, content in files.items()]
    connection.once(
        "put",
        lambda: connection.api.create_commit(repo, additions, commit_message="put"),
    )


def rules(connection, reference=REPO):
    return [each.rule.id for each in lint(read_repo(connection, reference))]


def test_true_card_is_clean(connection, put):
    sha256 = put(CARD)
    put(CARD.replace("SHA |", f"{sha256} |"))

    assert rules(connection) == []


@pytest.fixture
def received(monkeypatch):
    """Count the bytes that are taken from the Hub's answers."""
    counts: list[int] = []
    original = HubConnection.stream

    @contextmanager
    def counted(self, address, *, start):
        with original(self, address, start=start) as response:
            chunks = response.iter_bytes

            def count():
                for chunk in chunks():
                    counts.append(len(chunk))
                    yield chunk

            monkeypatch.setattr(response, "iter_bytes", count)
            yield response

    monkeypatch.setattr(HubConnection, "stream", counted)
    return counts


def test_only_the_beginning_of_the_weights_is_fetched(connection, put, received):
    put(CARD)

    subject = read_repo(connection, REPO)

    assert subject.files
    weights = subject.files["m.safetensors"].weights
    assert weights
    assert weights.dtypes == {"F16": 8_000_000}
    assert subject.files["m.safetensors"].nbytes > 8_000_000
    assert 0 < sum(received) < 1_000_000


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("| fp16 |", "| fp8 |", "KR203"),
        ("| 8 MB |", "| 4 MB |", "KR202"),
        ("| SHA |", f"| {'ab' * 32} |", "KR204"),
        ("pipeline_tag", "library_name: diffusers\npipeline_tag", "KR206"),
    ],
)
def test_false_claim_is_found(connection, put, old, new, rule):
    put(CARD.replace(old, new))

    assert rules(connection) == [rule]


def test_private_metadata_of_a_published_file_is_found(connection, put):
    put(CARD, workflow="{}")

    assert rules(connection) == ["KR209"]


def test_revision_is_linted_as_it_was(connection, put):
    put(CARD.replace("| 8 MB |", "| 4 MB |"))
    connection.api.create_tag(REPO, tag="v1")
    put(CARD)

    assert rules(connection, f"{REPO}@v1") == ["KR202"]
    assert rules(connection) == []


def test_repository_without_a_card_is_one_line(connection, put):
    put(None)

    with pytest.raises(CardError) as refused:
        read_repo(connection, REPO)

    assert refused.value.code == "no-card"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("reference", "code"),
    [("maker/nothing", "hub-not-found"), (f"{REPO}@nope", "hub-revision-not-found")],
)
def test_what_the_hub_does_not_have_is_named(connection, put, reference, code):
    put(CARD)

    with pytest.raises(HubError) as refused:
        read_repo(connection, reference)

    assert refused.value.code == code


@pytest.mark.parametrize("reference", ["", "a", "a/b/c", "../x", "a/b@", "a /b", "-/b"])
def test_reference_of_another_form_is_refused(connection, reference):
    with pytest.raises(UsageError):
        read_repo(connection, reference)


def test_file_that_is_no_checkpoint_is_listed_without_facts(connection, put):
    put(CARD)
    upload(connection, {"m.safetensors": b"\xff" * 5000})

    subject = read_repo(connection, REPO)

    assert subject.files
    assert subject.files["m.safetensors"].weights is None
    assert rules(connection) == ["KR202"]


@pytest.fixture
def base(connection):
    """Put a repository with nothing but a card that states a licence."""
    name = "maker/base"

    def run(licence: str) -> None:
        connection.api.create_repo(name, exist_ok=True)
        card = f"---\nlicense: {licence}\n---\n".encode()
        upload(connection, {"README.md": card}, repo=name)

    yield run
    connection.api.delete_repo(name, missing_ok=True)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("cc-by-nc-nd-4.0", ["KR106"]),
        ("cc-by-nc-4.0", ["KR106"]),
        ("openrail++", []),
        ("my-own", []),
    ],
)
def test_licence_of_the_base_model_has_a_say(connection, put, base, licence, expected):
    base(licence)
    models = "base_model: [maker/base, maker/gone]\nbase_model_relation: merge\n"
    put(CARD.replace("pipeline_tag", f"{models}pipeline_tag"))

    assert rules(connection) == expected


def test_command_lints_a_repository(krelease, hub, put, tmp_path, monkeypatch):
    put(CARD.replace("| fp16 |", "| fp8 |"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
    )
    monkeypatch.setenv("HF_TOKEN", hub.token)

    code, out, err = krelease("lint", REPO, "--json")

    document = json.loads(out)
    assert code == 7
    assert [each["rule"] for each in document["findings"]] == ["KR203"]
    assert document["target"] == REPO
    assert "look at maker/one on the Hub" in err


def test_folder_here_goes_before_a_repository(krelease, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("maker") / "one"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("TODO")

    code, out, _ = krelease("lint", REPO, "--select", "KR406")

    assert code == 7
    assert "KR406" in out
