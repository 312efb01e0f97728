import asyncio
from pathlib import Path

import pytest
from fake_kube_api import FakeKubeApi

from raftq_k8s.kube.client import (
    ApiClient,
    ApiConfig,
    ApiUnreachable,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotInCluster,
    Unauthorized,
)


@pytest.fixture
async def api():
    async with FakeKubeApi() as fake:
        yield fake


@pytest.fixture
async def client(api):
    client = ApiClient(ApiConfig(api.url, "test"), total_s=0.5)
    yield client
    await client.close()


async def test_pods_are_listed_by_selector_as_metadata_alone(api, client):
    api.create("raftq-0", role="leader")
    api.create("raftq-1")
    api.create("other", labels={"app": "other", "role": "leader"})

    listed = await client.list_pods("app=raftq,role=leader")

    assert [meta.name for meta in listed] == ["raftq-0"]
    assert "as=PartialObjectMetadataList" in api.accepts[-1]


async def test_the_api_is_asked_whether_the_account_has_a_right(api, client):
    api.allowed = {("patch", "pods", "raftq-0")}

    assert await client.may("patch", "pods", "raftq-0")
    assert not await client.may("patch", "pods", "raftq-1")
    assert not await client.may("list", "pods")


async def test_a_patch_returns_what_the_pod_has_become(api, client):
    pod = api.create("raftq-0")
    patch = {"metadata": {"uid": pod["uid"], "resourceVersion": pod["resourceVersion"], "labels": {"role": "leader"}}}

    after = await client.patch_pod("raftq-0", patch)

    assert after.labels["role"] == "leader"
    assert after.resource_version != pod["resourceVersion"]
    with pytest.raises(Conflict):
        await client.patch_pod("raftq-0", patch)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Conflict), (422, Invalid), (400, Invalid)]
    + [(status, ApiUnreachable) for status in (429, 500, 502, 503, 504)],
)
async def test_each_refusal_is_its_own_error(api, client, status, error):
    api.refuse = lambda request: status
    with pytest.raises(error, match=str(status)):
        await client.get_pod("raftq-0")
    assert (client.last_success is not None) == (status in (404, 409))


async def test_a_frozen_api_costs_no_more_than_the_time_out(api, client):
    api.freeze()
    start = asyncio.get_running_loop().time()
    with pytest.raises(ApiUnreachable, match="in time"):
        await client.get_pod("raftq-0")
    assert asyncio.get_running_loop().time() - start < 2


async def test_nobody_listening_and_no_api_at_all_are_the_same_to_the_caller(api):
    closed = ApiClient(ApiConfig("http://127.0.0.1:1", "test"))
    with pytest.raises(ApiUnreachable):
        await closed.get_pod("raftq-0")
    await closed.close()


async def test_an_answer_that_is_no_pod_is_no_answer(api, client):
    api.pods["raftq-0"] = {"hello": "from a captive portal"}
    with pytest.raises(ApiUnreachable, match="not the API's"):
        await client.get_pod("raftq-0")
    assert client.last_success is None


@pytest.mark.parametrize(("status", "error"), [(200, ApiUnreachable), (403, Forbidden), (502, ApiUnreachable)])
async def test_an_answer_that_is_no_text_is_an_error_like_any_other(api, client, monkeypatch, status, error):
    async def exchange(*_):
        return status, b'{"message":"\xff\xfe","metadata":{"name":"\xff"}}'

    monkeypatch.setattr(client, "_exchange", exchange)
    with pytest.raises(error):
        await client.get_pod("raftq-0")


@pytest.mark.parametrize("content", [b"\xff\xfe\0tok", b"tok\nen", b"tok\x7fen", b"tok en"])
async def test_a_file_that_holds_no_token_is_not_sent(api, tmp_path: Path, content):
    token = tmp_path / "token"
    token.write_bytes(content)
    client = ApiClient(ApiConfig(api.url, "test", token))
    for _ in range(2):  # what was read once is not taken for good the next time
        with pytest.raises(Unauthorized, match="the token cannot be read"):
            await client.get_pod("raftq-0")
    assert api.tokens == []
    token.write_text("good\n")
    api.create("raftq-0")
    await client.get_pod("raftq-0")
    await client.close()


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\0"])
async def test_without_the_certificates_of_the_api_there_is_no_client(tmp_path: Path, content):
    authority = tmp_path / "ca.crt"
    if content is not None:
        authority.write_bytes(content)
    with pytest.raises(NotInCluster, match=r"the certificates .*ca\.crt cannot be read"):
        ApiClient(ApiConfig("https://127.0.0.1:1", "test", authority=authority))


async def test_a_token_is_read_again_when_its_file_changes_and_when_it_is_not_accepted(api, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("first\n")
    client = ApiClient(ApiConfig(api.url, "test", token))
    api.create("raftq-0")
    await client.get_pod("raftq-0")

    replaced = tmp_path / "replaced"
    replaced.write_text("second")
    replaced.rename(token)  # as the kubelet does
    await client.get_pod("raftq-0")
    assert api.tokens == ["Bearer first", "Bearer second"]

    api.refuse = lambda request: 401 if len(api.tokens) == 3 else None
    await client.get_pod("raftq-0")
    assert len(api.tokens) == 4
    token.unlink()
    with pytest.raises(Unauthorized, match="cannot be read"):
        await client.get_pod("raftq-0")
    await client.close()


def test_a_pod_finds_its_credentials_where_the_kubelet_puts_them(tmp_path: Path):
    (tmp_path / "namespace").write_text("here\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    config = ApiConfig.in_cluster(tmp_path, environment)
    assert config == ApiConfig("https://[fd00::1]:6443", "here", tmp_path / "token", tmp_path / "ca.crt")

    with pytest.raises(NotInCluster, match="KUBERNETES_SERVICE_HOST"):
        ApiConfig.in_cluster(tmp_path, {})
    with pytest.raises(NotInCluster, match="namespace"):
        ApiConfig.in_cluster(tmp_path / "nowhere", environment)
    (tmp_path / "namespace").write_bytes(b"\xff")
    with pytest.raises(NotInCluster, match="cannot be read"):
        ApiConfig.in_cluster(tmp_path, environment)
