"""`-i NAME=hf://...`: an ingredient from a Hub on loopback."""

from functools import partial

import safetensors

from release.hub.client import connect
from release.hub.rehearsal import RehearsalHub

REPO = "maker/gamma"


def test_ingredients_of_a_hub_are_fetched_and_merged(
    merge, formulas, models, here, tmp_path, monkeypatch
):
    """One of them is named by the recipe, the other on the command line."""
    reference = f"hf://{REPO}@v1/b.safetensors"
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        "[recipe]\nschema = 1\n[ingredients]\n"
        f'a = {{ hub = "{REPO}@v1/a.safetensors" }}\nb = {{}}\n'
        '[steps]\nhalf = "0.5*a + 0.5*b"\n[output]\nfrom = "half"\n'
    )
    with RehearsalHub(tmp_path / "hub") as hub:
        monkeypatch.setattr(
            "huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf")
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        monkeypatch.setenv("HF_TOKEN", hub.token)
        with connect(hub.endpoint, hub.token, lfs_only=True) as connection:
            connection.api.create_repo(REPO)
            for name in "ab":
                connection.once(
                    "put",
                    partial(
                        connection.api.upload_file,
                        path_or_fileobj=models[name],
                        path_in_repo=f"{name}.safetensors",
                        repo_id=REPO,
                    ),
                )
            connection.api.create_tag(REPO, tag="v1")

        done = merge(f"--recipe={recipe}", f"-ib={reference}")

    values = {name: formulas.values(models[name]) for name in "ab"}
    row = {"a": 0.5, "b": 0.5}
    wrong = formulas.differing(done.path(), values, lambda _: row, copied_from="a")
    assert wrong == []
    assert f"fetch {reference}" in done.said
    assert f"fetch hf://{REPO}@v1/a.safetensors" in done.said
    for path in here.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    with safetensors.safe_open(done.path(), "np") as opened:
        merged_from = opened.metadata()["modelspec.merged_from"]
    assert merged_from == "a.safetensors, b.safetensors"
