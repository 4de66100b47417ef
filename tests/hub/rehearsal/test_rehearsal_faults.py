"""Every fault a test can plant, and what the unmodified client makes of it."""

import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from numpy.random import default_rng

from release.hub.rehearsal import Fault, RehearsalHub
from release.hub.rehearsal.faults import STRANGER

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = default_rng(5).bytes(3_000)
LARGE = default_rng(6).bytes(25_000)


@pytest.fixture
def digest(sha256_of):
    """The name under which the Hub stores `WEIGHTS`."""
    return sha256_of(WEIGHTS)


def titles(api, repo):
    return [commit.title for commit in api.list_repo_commits(repo)]


def seen_since(hub, since, method, part):
    return [
        seen
        for seen in hub.requests[since:]
        if seen.method == method and part in seen.path
    ]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_refused_upload_is_repeated_by_the_client(hub, repo, push, waits, status):
    hub.faults.answer_status(f"PUT /{repo}.git/", status, times=2)
    since = len(hub.requests)

    push(repo, {"model.safetensors": WEIGHTS})

    puts = seen_since(hub, since, "PUT", repo)
    assert [put.status for put in puts] == [status, status, 200]
    assert waits == [1, 2]


def test_an_upload_refused_six_times_is_given_up(hub, api, repo, push, waits):
    hub.faults.answer_status(f"PUT /{repo}.git/", 503, times=6)

    with pytest.raises(RuntimeError, match="Error while uploading"):
        push(repo, {"model.safetensors": WEIGHTS})

    assert waits == [1, 2, 4, 8, 8]
    assert titles(api, repo) == ["initial commit"]


def test_a_rate_limit_says_how_long_to_wait(hub, repo, push, waits):
    route = f"POST /api/models/{repo}/preupload/"
    limit = {
        "RateLimit": '"api";r=0;t=55',
        "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
    }
    hub.faults.answer_status(route, 429, headers=limit)
    hub.faults.answer_status(route, 429, headers={"Retry-After": "7"})

    push(repo, {"a.txt": b"1"})

    assert waits == [56, 8]


def test_a_fault_strikes_only_its_method_and_path(hub, api, repo):
    hub.faults.answer_status("POST /api/whoami-v2", 500)
    hub.faults.answer_status("GET /api/models/other", 500)

    api.whoami()
    api.repo_info(repo)

    assert hub.faults.pending == 2
    hub.faults.clear()


def test_skipped_requests_pass_before_a_fault_strikes(hub, api):
    hub.faults.answer_status("GET /api/whoami-v2", 500, skip=2)

    api.whoami()
    api.whoami()
    with pytest.raises(HfHubHTTPError):
        api.whoami()
    api.whoami()


def test_faults_of_one_route_strike_one_after_the_other(hub, web):
    hub.faults.answer_status("GET /api/whoami-v2", 500)
    hub.faults.answer_status("GET /api/whoami-v2", 502)

    statuses = [web.get("/api/whoami-v2").status_code for _ in range(3)]

    assert statuses == [500, 502, 200]


def test_a_refused_commit_leaves_only_stored_bytes(hub, api, repo, push):
    hub.faults.refuse_commit(repo)

    with pytest.raises(HfHubHTTPError) as error:
        push(repo, {"model.safetensors": WEIGHTS})
    since = len(hub.requests)
    assert error.value.response.status_code == 503
    assert titles(api, repo) == ["initial commit"]

    push(repo, {"model.safetensors": WEIGHTS})

    assert not seen_since(hub, since, "PUT", repo)
    assert titles(api, repo) == ["Add", "initial commit"]


def test_a_commit_whose_answer_is_lost_has_happened(hub, api, repo, push):
    hub.faults.lose_commit_answer(repo)

    with pytest.raises(httpx2.RemoteProtocolError):
        push(repo, {"model.safetensors": WEIGHTS})

    assert titles(api, repo) == ["Add", "initial commit"]
    (lost,) = [seen for seen in hub.requests if f"{repo}/commit/" in seen.path]
    assert (lost.status, lost.response_bytes) == (0, 0)


def test_somebody_elses_commit_makes_the_parent_stale(hub, api, repo, push):
    head = api.repo_info(repo).sha
    hub.faults.move_main_before_commit(repo)

    with pytest.raises(HfHubHTTPError) as error:
        push(repo, {"a.txt": b"1"}, parent_commit=head)

    assert error.value.response.status_code == 412
    assert titles(api, repo) == ["Move main", "initial commit"]
    assert api.list_repo_commits(repo)[0].authors == [STRANGER]
    assert not api.file_exists(repo, "a.txt")


def test_main_moves_between_two_commits_of_a_staged_release(hub, api, repo, push):
    api.create_branch(repo, branch="staging/x")
    head = api.repo_info(repo).sha
    hub.faults.move_main_before_commit(repo, skip=1)

    push(repo, {"a.txt": b"1"}, revision="staging/x")
    with pytest.raises(HfHubHTTPError):
        push(repo, {"a.txt": b"1"}, parent_commit=head)

    assert titles(api, repo) == ["Move main", "initial commit"]


def test_main_can_be_moved_at_any_time_and_twice(hub, api, repo):
    first = hub.faults.move_main(repo)
    second = hub.faults.move_main(repo)

    assert [c.commit_id for c in api.list_repo_commits(repo)][:2] == [second, first]


def test_a_token_revoked_before_the_commit_leaves_nothing_visible(tmp_path):
    with RehearsalHub(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("maker/model")
        hub.faults.revoke_before_commit("maker/model", hub.token)

        with pytest.raises(HfHubHTTPError) as error:
            api.upload_file(
                path_or_fileobj=WEIGHTS, path_in_repo="a.bin", repo_id="maker/model"
            )

        anonymous = HfApi(endpoint=hub.endpoint, token=False)
        assert error.value.response.status_code == 401
        assert anonymous.list_repo_files("maker/model") == [".gitattributes"]


def test_a_download_cut_in_the_middle_is_resumed_by_range(
    *, hub, api, repo, push, waits, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    push(repo, {"model.safetensors": LARGE})
    hub.faults.cut_response(f"GET /{repo}/resolve/", after_bytes=10_000)
    since = len(hub.requests)

    path = api.hf_hub_download(repo, "model.safetensors", cache_dir=tmp_path)

    first, second = seen_since(hub, since, "GET", "/resolve/")
    assert Path(path).read_bytes() == LARGE
    assert (first.response_bytes, second.range) == (10_000, "bytes=10000-")
    assert second.response_bytes == len(LARGE) - 10_000


def test_an_upload_cut_in_the_middle_is_sent_again(
    *, hub, api, repo, push, waits, digest
):
    hub.faults.cut_request(f"PUT /{repo}.git/", after_bytes=500)
    since = len(hub.requests)

    push(repo, {"model.safetensors": WEIGHTS})

    first, second = seen_since(hub, since, "PUT", repo)
    assert (first.status, second.status) == (0, 200)
    assert first.request_bytes >= 500
    assert api.get_paths_info(repo, "model.safetensors")[0].lfs.sha256 == digest
    assert not list((hub.git_directory(repo) / "lfs/incomplete").iterdir())


@pytest.mark.parametrize(
    ("method", "content"), [("PUT", WEIGHTS), ("PUT", LARGE), ("POST", LARGE)]
)
def test_an_upload_whose_answer_is_lost_can_be_repeated(
    *, hub, api, repo, push, waits, method, content, sha256_of
):
    objects = f"/{repo}.git/info/lfs/objects"
    hub.faults.drop_response(f"{method} {objects}/{sha256_of(content)}")
    since = len(hub.requests)

    push(repo, {"model.safetensors": content})

    (lost,) = [seen for seen in hub.requests[since:] if seen.status == 0]
    assert [s.status for s in hub.requests[since:] if s.path == lost.path] == [0, 200]
    assert api.get_paths_info(repo, "model.safetensors")[0].size == len(content)


def test_a_part_cut_in_the_middle_is_sent_again(hub, repo, push, waits):
    hub.faults.cut_request(f"PUT /{repo}.git/", after_bytes=500, skip=1)
    since = len(hub.requests)

    push(repo, {"model.safetensors": LARGE})

    parts = [seen.path[-2:] for seen in seen_since(hub, since, "PUT", repo)]
    assert parts == ["/1", "/2", "/2", "/3"]


@pytest.mark.parametrize("offset", [0, 1_234, len(WEIGHTS) - 1])
def test_a_flipped_byte_is_downloaded_without_complaint(
    *, hub, api, repo, push, tmp_path, offset, digest
):
    push(repo, {"model.safetensors": WEIGHTS})

    hub.faults.flip_lfs_byte(repo, digest, offset=offset)

    path = api.hf_hub_download(repo, "model.safetensors", cache_dir=tmp_path)
    received = Path(path).read_bytes()
    wrong = [at for at in range(len(WEIGHTS)) if received[at] != WEIGHTS[at]]
    assert (len(received), wrong) == (len(WEIGHTS), [offset])
    assert api.get_paths_info(repo, "model.safetensors")[0].lfs.sha256 == digest


def test_a_truncated_object_fails_the_clients_size_check(
    *, hub, api, repo, push, waits, tmp_path, digest
):
    push(repo, {"model.safetensors": WEIGHTS})

    hub.faults.truncate_lfs(repo, digest, size=100)

    with pytest.raises(OSError, match="Consistency check failed"):
        api.hf_hub_download(repo, "model.safetensors", cache_dir=tmp_path)


def test_other_bytes_of_the_same_size_are_downloaded_without_complaint(
    *, hub, api, repo, push, tmp_path, digest
):
    push(repo, {"model.safetensors": WEIGHTS})

    hub.faults.replace_lfs(repo, digest, LARGE[:3_000])

    path = api.hf_hub_download(repo, "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == LARGE[:3_000]


def test_an_error_in_the_batch_answer_stops_the_commit(hub, api, repo, push):
    def refuse(answer):
        for item in answer["objects"]:
            item["error"] = {"code": 507, "message": "disk full"}
        return answer

    hub.faults.rewrite(f"POST /{repo}.git/info/lfs/objects/batch", refuse)

    with pytest.raises(ValueError, match="disk full"):
        push(repo, {"model.safetensors": WEIGHTS})
    assert titles(api, repo) == ["initial commit"]


def test_an_ignored_file_is_missing_from_an_otherwise_good_commit(hub, api, repo, push):
    def ignore(answer):
        answer["files"][0]["shouldIgnore"] = True
        return answer

    hub.faults.rewrite(f"POST /api/models/{repo}/preupload/", ignore)

    push(repo, {"dropped.txt": b"1", "kept.txt": b"2"})

    assert api.list_repo_files(repo) == [".gitattributes", "kept.txt"]


def test_a_part_without_its_tag_is_a_clean_error(hub, repo, push):
    hub.faults.omit_header(f"PUT /{repo}.git/", "ETag", skip=1)

    with pytest.raises(RuntimeError, match="Error while uploading") as error:
        push(repo, {"model.safetensors": LARGE})

    assert "Invalid etag" in str(error.value.__cause__)


@pytest.mark.parametrize(
    ("route", "status"), [("/verify", 404), ("/batch", 507), ("/", 400)]
)
def test_refusals_of_large_file_storage_reach_the_caller(
    *, hub, api, repo, push, route, status
):
    hub.faults.answer_status(f"POST /{repo}.git/info/lfs/objects{route}", status)

    with pytest.raises((RuntimeError, HfHubHTTPError, BadRequestError)):
        push(repo, {"model.safetensors": LARGE})

    assert titles(api, repo) == ["initial commit"]


def test_a_card_check_that_is_down_stops_the_commit(hub, api, repo, push):
    hub.faults.answer_status("POST /api/validate-yaml", 503)

    with pytest.raises(HfHubHTTPError):
        push(repo, {"README.md": b"---\nlicense: mit\n---\n"})

    assert titles(api, repo) == ["initial commit"]


def test_a_slow_answer_meets_the_clients_timeout(hub):
    hub.faults.delay("GET /api/whoami-v2", seconds=0.3)

    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{hub.endpoint}/api/whoami-v2", timeout=0.05, trust_env=False)


def test_several_things_can_happen_to_one_request(hub, web, repo):
    moved = []
    fault = Fault(status=418, before=lambda: moved.append(hub.faults.move_main(repo)))
    hub.faults.plant("GET /api/whoami-v2", fault)

    answer = web.get("/api/whoami-v2")

    assert (answer.status_code, len(moved)) == (418, 1)


def test_a_hub_that_never_answers_still_stops(tmp_path):
    hub = RehearsalHub(tmp_path)
    hub.start()
    hub.faults.delay("GET /api/whoami-v2", seconds=3_600)
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{hub.endpoint}/api/whoami-v2", timeout=0.05, trust_env=False)
    begun = time.monotonic()

    hub.stop()

    assert time.monotonic() - begun < 5
