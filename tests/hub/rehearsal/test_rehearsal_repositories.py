"""Accounts and repositories, through the real client."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from release.hub.rehearsal import RehearsalHub
from release.hub.rehearsal.accounts import SCOPED_REPO, new_token

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def as_account(hub: RehearsalHub, number: int) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.accounts[number].token)


def as_stranger(hub: RehearsalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return int(error.value.response.status_code)


def test_whoami_names_the_user_and_the_role_of_the_token(hub, api):
    assert hub.token.startswith("hf_")
    assert api.whoami()["name"] == "rehearsal"
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"
    assert as_account(hub, 1).whoami()["auth"]["accessToken"]["role"] == "read"
    assert as_account(hub, 3).whoami()["auth"]["accessToken"]["role"] == "fineGrained"


def test_whoami_refuses_an_unknown_and_an_expired_token(hub):
    with pytest.raises(HfHubHTTPError) as unknown:
        HfApi(endpoint=hub.endpoint, token=new_token()).whoami()
    with pytest.raises(HfHubHTTPError) as expired:
        as_account(hub, 2).whoami()

    assert (status_of(unknown), status_of(expired)) == (401, 401)
    assert "expired" in expired.value.response.headers["X-Error-Message"]


def test_a_repository_is_created_once_and_again_only_if_that_is_asked_for(api):
    url = api.create_repo("maker/once")

    assert url.repo_id == "maker/once"
    assert api.create_repo("maker/once", exist_ok=True).repo_id == "maker/once"
    with pytest.raises(HfHubHTTPError) as error:
        api.create_repo("maker/once")
    assert status_of(error) == 409


def test_a_new_repository_holds_only_its_attributes(api, repo):
    info = api.repo_info(repo)

    assert [sibling.rfilename for sibling in info.siblings] == [".gitattributes"]
    assert [commit.title for commit in api.list_repo_commits(repo)] == [
        "initial commit"
    ]


def test_a_repository_without_namespace_belongs_to_the_user(api):
    assert api.create_repo("mine").repo_id == "rehearsal/mine"


def test_repo_exists_tells_a_repository_from_none(api, repo):
    assert api.repo_exists(repo)
    assert not api.repo_exists("maker/nothing")


def test_a_deleted_repository_is_gone_with_its_large_files(hub, api, repo):
    api.delete_repo(repo)

    assert not api.repo_exists(repo)
    assert not hub.git_directory(repo).exists()
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(repo)
    api.delete_repo(repo, missing_ok=True)


def test_auth_check_knows_readers_from_writers(hub, api, repo):
    reader = as_account(hub, 1)

    api.auth_check(repo)
    api.auth_check(repo, write=True)
    reader.auth_check(repo)
    with pytest.raises(HfHubHTTPError) as read_only:
        reader.auth_check(repo, write=True)
    with pytest.raises(HfHubHTTPError) as anonymous:
        as_stranger(hub).auth_check(repo, write=True)
    assert (status_of(read_only), status_of(anonymous)) == (403, 401)


def test_a_read_only_token_changes_nothing(hub, api, repo):
    reader = as_account(hub, 1)
    before = api.repo_info(repo).sha
    attempts = [
        lambda: reader.create_repo("maker/not-allowed"),
        lambda: reader.create_branch(repo, branch="x"),
        lambda: reader.create_tag(repo, tag="x"),
        lambda: reader.update_repo_settings(repo, gated="auto"),
        lambda: reader.delete_repo(repo),
        lambda: reader.upload_file(
            path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo
        ),
    ]

    statuses = []
    for attempt in attempts:
        with pytest.raises(HfHubHTTPError) as error:
            attempt()
        statuses.append(status_of(error))

    assert statuses == [403] * len(attempts)
    assert api.repo_info(repo).sha == before
    assert not api.repo_exists("maker/not-allowed")


def test_a_scoped_token_writes_its_repository_and_no_other(hub, api, repo):
    scoped = as_account(hub, 3)
    scoped.create_repo(SCOPED_REPO)

    scoped.auth_check(SCOPED_REPO, write=True)
    with pytest.raises(HfHubHTTPError) as error:
        scoped.create_branch(repo, branch="x")
    assert status_of(error) == 403


def test_a_private_repository_is_seen_only_by_who_may_read_it(hub, api):
    api.create_repo("maker/hidden", private=True)

    assert api.repo_info("maker/hidden").private
    assert as_account(hub, 1).repo_exists("maker/hidden")
    assert not as_account(hub, 3).repo_exists("maker/hidden")
    assert not as_stranger(hub).repo_exists("maker/hidden")
    api.update_repo_settings("maker/hidden", visibility="public")
    assert as_stranger(hub).repo_exists("maker/hidden")


def test_a_gated_repository_is_listed_but_not_downloaded_by_others(
    hub, api, repo, tmp_path
):
    api.update_repo_settings(repo, gated="manual")

    assert as_stranger(hub).repo_info(repo).gated == "manual"
    with pytest.raises(GatedRepoError):
        as_stranger(hub).hf_hub_download(repo, ".gitattributes", cache_dir=tmp_path)
    with pytest.raises(GatedRepoError):
        as_account(hub, 1).auth_check(repo)
    api.auth_check(repo)


def test_settings_keep_what_they_are_not_told_to_change(api, repo):
    api.update_repo_settings(repo, gated="auto")
    api.update_repo_settings(repo, visibility="private")

    api.update_repo_settings(repo, gated="manual")

    info = api.repo_info(repo)
    assert (info.gated, info.private) == ("manual", True)
