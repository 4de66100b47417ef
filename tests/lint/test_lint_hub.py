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


@pytest.fixture
def to_hub(hub, monkeypatch):
    """Let the command line speak to the Hub on loopback."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
    )
    monkeypatch.setenv("HF_TOKEN", hub.token)
    yield hub
    hub.faults.clear()


def test_command_lints_a_repository(krelease, put, to_hub):
    put(CARD.replace("| fp16 |", "| fp8 |"))

    code, out, err = krelease("lint", REPO, "--json")

    document = json.loads(out)
    assert code == 7
    assert [each["rule"] for each in document["findings"]] == ["KR203"]
    assert document["target"] == REPO
    assert "look at maker/one on the Hub" in err


VALIDATE = "POST /api/validate-yaml"


def says(hub, *, errors=(), warnings=()):
    answer = {
        "errors": [{"message": text} for text in errors],
        "warnings": [{"message": text} for text in warnings],
    }
    hub.faults.rewrite(VALIDATE, lambda _: answer)


def linted(krelease, *args):
    code, out, err = krelease("lint", *args, "--json")
    found = json.loads(out)["findings"]
    return code, [(f["rule"], f["severity"], f["text"]) for f in found], err


def test_opinion_of_the_hub_is_beside_our_findings(krelease, put, to_hub):
    put(CARD.replace("| fp16 |", "| fp8 |"))
    says(to_hub, errors=['"license" must be one of [...]'], warnings=["no metadata"])

    code, found, _ = linted(krelease, REPO)

    assert code == 7
    assert [rule for rule, _, _ in found] == ["KR003", "KR003", "KR203"]
    assert (
        "KR003",
        "error",
        'Hub says: "license" must be one of [...]',
    ) in found
    assert ("KR003", "warning", "Hub says: no metadata") in found


def test_opinion_can_be_ignored(krelease, put, to_hub):
    put(CARD)
    says(to_hub, errors=["no"])

    assert linted(krelease, REPO, "--ignore", "KR003")[:2] == (0, [])


@pytest.mark.parametrize("status", [404, 500, 503])
def test_hub_without_an_opinion_is_a_note(krelease, put, to_hub, status):
    put(CARD)
    to_hub.faults.answer_status(VALIDATE, status)

    code, found, err = linted(krelease, REPO)

    assert (code, found) == (0, [])
    assert "no opinion of the Hub: ask for an opinion on the card: " in err


@pytest.mark.parametrize(
    "answer", [[], {}, {"errors": 3}, {"errors": [1, {"message": 2}]}]
)
def test_opinion_of_another_form_says_nothing(krelease, put, to_hub, answer):
    put(CARD)
    to_hub.faults.rewrite(VALIDATE, lambda _: answer)

    assert linted(krelease, REPO)[:2] == (0, [])


def test_opinion_shows_no_escapes_and_no_more_than_twenty(krelease, put, to_hub):
    put(CARD)
    says(
        to_hub, warnings=["\x1b[2Jred\n" + "x" * 9000] * 3 + [f"{n}" for n in range(90)]
    )

    code, found, _ = linted(krelease, REPO)

    assert code == 0
    assert len(found) == 18  # three of the twenty are the same
    assert all("\x1b" not in text and len(text) < 600 for _, _, text in found)


BROKEN = "---\n- license\n---\n# One\n"


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A card here."""
    path = tmp_path / "card" / "README.md"
    path.parent.mkdir()
    path.write_text(CARD)
    return path


def test_card_here_is_sent_only_when_asked_for(krelease, card, to_hub):
    since = len(to_hub.requests)

    linted(krelease, card)
    assert len(to_hub.requests) == since

    linted(krelease, card, "--ask-hub")
    assert "/api/validate-yaml" in [seen.path for seen in to_hub.requests[since:]]


def test_embedded_hub_refuses_what_is_no_mapping_and_that_is_shown(
    krelease, card, to_hub
):
    card.write_text(BROKEN)

    code, found, _ = linted(krelease, card, "--ask-hub")

    assert code == 7
    assert [rule for rule, _, _ in found] == ["KR001", "KR003"]
    assert found[1][2] == "Hub says: The metadata must be a mapping"


def test_hub_that_is_not_there_is_a_note_and_our_rules_hold(
    krelease, card, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    card.write_text(CARD.replace("license_link: LICENSE\n", ""))

    code, found, err = linted(krelease, card, "--ask-hub", "--select", "KR10")

    assert code == 7
    assert "KR102" in [rule for rule, _, _ in found]
    assert "no opinion of the Hub" in err


def test_hub_is_asked_about_the_card_that_was_put_right(krelease, card, to_hub):
    card.write_text(CARD.replace("faipl-1.0-sd", "fair-ai-public-license-1.0-sd"))
    says(to_hub, warnings=["still"])
    select = ("--select", "KR103", "--select", "KR003")

    code, out, _ = krelease("lint", card, "--fix", "--ask-hub", "--json", *select)

    document = json.loads(out)
    assert code == 0
    assert [each["rule"] for each in document["findings"]] == ["KR003"]
    assert document["n_fixed"] == 1


def test_ids_that_lead_nowhere_are_warned_about(krelease, put, base, to_hub):
    base("openrail++")
    fields = (
        "base_model: [maker/base, maker/gone]\nbase_model_relation: merge\n"
        "datasets: [maker/pictures]\n"
    )
    put(CARD.replace("pipeline_tag", f"{fields}pipeline_tag"))

    code, found, _ = linted(krelease, REPO)

    assert code == 0
    assert sorted(found) == [
        ("KR306", "warning", "base_model: maker/gone is not on the Hub, or private"),
        ("KR306", "warning", "datasets: maker/pictures is not on the Hub, or private"),
    ]


def test_ids_that_cannot_be_looked_up_are_a_note(krelease, put, to_hub):
    put(CARD.replace("pipeline_tag", "datasets: [maker/pictures]\npipeline_tag"))
    to_hub.faults.answer_status("GET /api/datasets/maker/pictures", 503)

    code, found, err = linted(krelease, REPO)

    assert (code, found) == (0, [])
    assert "datasets: whether maker/pictures is there is not known" in err


def test_folder_here_goes_before_a_repository(krelease, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("maker") / "one"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("TODO")

    code, out, _ = krelease("lint", REPO, "--select", "KR406")

    assert code == 7
    assert "KR406" in out
