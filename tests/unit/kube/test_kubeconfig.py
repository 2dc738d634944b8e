"""Any kubeconfig: merged files, contexts, credentials; read and never written."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.kube import kubeconfig
from lab.kube.errors import KubeconfigError


def write(file: Path, *names: str, current: str = "", **user: Any) -> Path:
    config = {
        "current-context": current,
        "contexts": [
            {"name": n, "context": {"cluster": n, "user": n, "namespace": f"{n}-space"}}
            for n in names
        ],
        "clusters": [
            {
                "name": n,
                "cluster": {
                    "server": f"https://{n}",
                    "certificate-authority": f"{n}.crt",
                    "tls-server-name": f"{n}.example",
                },
            }
            for n in names
        ],
        "users": [{"name": n, "user": user} for n in names],
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(config))
    for n in names:
        (file.parent / f"{n}.crt").write_text(f"authority of {n}")
    return file


def test_files_are_merged_and_their_paths_are_relative_to_each(tmp_path: Path) -> None:
    first = write(tmp_path / "one" / "config", "a", current="a", token="t")
    second = write(tmp_path / "two" / "config", "a", "b", current="b", token="u")
    login = kubeconfig.read([tmp_path / "absent", first, second])
    assert (login.server, login.token) == ("https://a", "t")
    other = kubeconfig.read([first, second], "b")
    assert (other.authority, other.namespace) == (b"authority of b", "b-space")
    assert other.server_name == "b.example"


def test_certificates_and_tokens_come_from_data_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    user = {"tokenFile": "token", "client-certificate-data": base64.b64encode(b"pem").decode()}
    login = kubeconfig.read([write(tmp_path / "config", "a", current="a", **user)])
    assert (login.token, login.certificate) == ("from a file", b"pem")


def test_a_credential_plugin_is_run_and_the_file_stays_as_it_was(tmp_path: Path) -> None:
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": "of the plugin"},
    }
    plugin = {
        "apiVersion": answer["apiVersion"],
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(json.dumps(answer))})"],
        "interactiveMode": "Never",
    }
    file = write(tmp_path / "config", "a", current="a", exec=plugin)
    before = file.read_bytes()
    assert kubeconfig.read([file]).token == "of the plugin"
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("context", "message"),
    [("nowhere", "has no context 'nowhere'"), ("", "has no current context")],
)
def test_a_context_that_is_not_there_is_named(tmp_path: Path, context: str, message: str) -> None:
    file = write(tmp_path / "config", "a")
    with pytest.raises(KubeconfigError, match=message) as raised:
        kubeconfig.read([file], context)
    assert raised.value.hint


@pytest.mark.parametrize("text", ["[]", "a: [", "contexts: 3"])
def test_what_is_no_kubeconfig_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(KubeconfigError):
        kubeconfig.read([file])
    with pytest.raises(KubeconfigError, match="no such file"):
        kubeconfig.read([tmp_path / "absent"])


def test_the_files_that_kubectl_would_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "a:b")
    assert kubeconfig.default_files() == (Path("a"), Path("b"))
    monkeypatch.delenv("KUBECONFIG")
    (file,) = kubeconfig.default_files()
    assert file.parts[-2:] == (".kube", "config")
