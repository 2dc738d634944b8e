"""Requests: whom they trust, how they prove who we are, and what a refusal says."""

import datetime
import ssl
from pathlib import Path

import pytest

from lab.errors import ClusterError, ObservationError
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError, KubeconfigError, NotFoundError
from lab.kube.kubeconfig import Login
from lab.mesh.trust import x509
from tests.unit.kube.api_server import ApiServer, opened, serving

PODS = "/api/v1/namespaces/shop/pods"


def test_a_refusal_is_told_in_the_servers_own_words() -> None:
    refusal = {"kind": "Status", "message": "pods is forbidden"}
    with opened((403, refusal)) as (server, api), pytest.raises(ApiError) as raised:
        api.get(PODS, limit="1")
    assert raised.value.status == 403
    assert raised.value.message == f"the API server answered 403 to GET {PODS}: pods is forbidden"
    assert server.asked == [f"GET {PODS}?limit=1"]


def test_what_is_not_there_is_an_error_of_its_own_or_none() -> None:
    with opened((404, {"message": "no"})) as (_, api):
        assert api.find(f"{PODS}/web") is None
        with pytest.raises(NotFoundError):
            api.get(f"{PODS}/web")


def test_a_server_that_does_not_answer_has_status_0_and_the_hint_of_whoever_asks() -> None:
    with serving(ApiServer([(200, {})])) as server:
        url = server.url
    with KubeApi(Login(url), silent_hint="look at the cable") as api:
        with pytest.raises(ApiError, match="does not answer") as raised:
            api.get(PODS)
        assert "does not answer" in api.ready()
    assert (raised.value.status, raised.value.hint) == (0, "look at the cable")
    # Whoever looks at a cluster and whoever looks at a pod both catch it by their own class.
    assert isinstance(raised.value, ClusterError)
    assert isinstance(raised.value, ObservationError)


@pytest.mark.parametrize(
    ("login", "header"),
    [
        (Login("", token="t"), "Bearer t"),
        (Login("", basic=("us", "pä")), "Basic dXM6cMOk"),
        (Login(""), None),
    ],
)
def test_credentials_are_sent_as_the_kubeconfig_has_them(login: Login, header: str | None) -> None:
    with opened((200, {}), login=login) as (server, api):
        api.get(PODS)
    assert server.headers[0].get("authorization") == header


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, bytes]:
    """A server's context for the name api.example alone, and the authority behind it."""
    now = datetime.datetime.now(datetime.UTC)
    authority = x509.make_authority("api", now)
    leaf = x509.make_serving(["api.example"], authority, now)
    pem = tmp_path / "server.pem"
    pem.write_text(x509.pem(leaf.certificate) + x509.key_pem(leaf.key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, x509.pem(authority.certificate).encode()


def test_the_servers_name_is_checked_against_the_one_in_the_kubeconfig(
    tls: tuple[ssl.SSLContext, bytes],
) -> None:
    context, authority = tls
    with serving(ApiServer([(200, {"items": [{}]})]), context) as server:
        with KubeApi(Login(server.url, authority, server_name="api.example")) as api:
            assert api.items(PODS) == [{}]
        with KubeApi(Login(server.url, authority)) as api, pytest.raises(ApiError, match="127"):
            api.get(PODS)
        with KubeApi(Login(server.url, authority, insecure=True)) as api:
            assert api.items(PODS) == [{}]
        with KubeApi(Login(server.url)) as api, pytest.raises(ApiError, match="verify failed"):
            api.get(PODS)


def test_a_proxy_of_the_kubeconfig_is_asked_and_one_of_the_environment_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with serving(ApiServer([(200, {})])) as proxy:
        with KubeApi(Login("http://cluster.invalid", proxy=proxy.url)) as api:
            api.get(PODS)
        assert proxy.asked == [f"GET http://cluster.invalid{PODS}"]
        with KubeApi(Login(proxy.url)) as api:
            api.get(PODS)
        assert proxy.asked[1:] == [f"GET {PODS}"]


@pytest.mark.parametrize(
    "login",
    [
        Login("https://127.0.0.1:1", authority=b"no PEM"),
        Login("https://127.0.0.1:1", authority="ü".encode()),
        Login("https://127.0.0.1:1", certificate=b"no PEM", key=b"none"),
        Login("https://127.0.0.1:1", proxy="socks5://127.0.0.1:1"),
        Login("https://127.0.0.1:1", proxy="://"),
    ],
)
def test_a_login_that_cannot_be_used_is_an_error_of_the_kubeconfig(login: Login) -> None:
    with pytest.raises(KubeconfigError):
        KubeApi(login)


def test_a_kubeconfig_of_a_lab_that_is_absent_or_damaged_names_the_command(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    with pytest.raises(KubeconfigError, match="was not created") as absent:
        KubeApi.from_file(file)
    file.write_text("clusters: 3")
    with pytest.raises(KubeconfigError, match="must be a list") as damaged:
        KubeApi.from_file(file)
    assert {absent.value.hint, damaged.value.hint} == {"run `lab up`"}


def test_apply_names_the_labs_field_manager_and_asks_for_metadata_alone_where_told() -> None:
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    with opened((200, {})) as (server, api):
        api.apply(document)
        api.request("GET", PODS, partial=True)
    assert server.asked[0] == ("PATCH /api/v1/namespaces/shop?fieldManager=sidecar-lab&force=true")
    assert server.headers[0]["content-type"] == "application/apply-patch+yaml"
    assert "as=PartialObjectMetadataList" in server.headers[1]["accept"]
