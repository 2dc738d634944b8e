"""Reads any kubeconfig: the address of the API server and our credentials. Never writes one.

If $KUBECONFIG names several files, they are merged as kubectl merges them: the first definition of
a name is used. A credential plugin (`exec`) is run by the official Python client, which is imported
only in that case.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.kube.errors import KubeconfigError


@dataclass(frozen=True)
class Login:
    """An API server and credentials. Certificates and keys are in PEM format.

    A field is empty, False or None when the kubeconfig does not set it.

    `authority`: the cluster's CA certificate. `namespace`: the context's default namespace.
    `server_name`: the name in the server's certificate, if it differs from the address.
    `insecure`: whether the server's certificate is not verified. `basic`: user name and password.
    """

    server: str
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    namespace: str = ""
    server_name: str = ""
    insecure: bool = False
    proxy: str = ""
    basic: tuple[str, str] | None = None


def default_files() -> tuple[Path, ...]:
    """Returns the kubeconfig files that kubectl reads by default."""
    listed = os.environ.get("KUBECONFIG", "")
    files = tuple(Path(file) for file in listed.split(os.pathsep) if file)
    return files or (Path.home() / ".kube" / "config",)


def read(files: Sequence[Path], context: str = "") -> Login:
    """Returns the login of the context `context`, or of the current context if `context` is "".

    Raises KubeconfigError when the context does not exist or cannot be used.
    """
    documents = []
    for file in files:
        try:
            documents.append((file, file.read_text()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as bad:
            raise KubeconfigError(f"cannot read {file}: {bad}") from bad
    if not documents:
        shown = os.pathsep.join(map(str, files))
        hint = "check the value of --kubeconfig or of $KUBECONFIG"
        raise KubeconfigError(f"no such file: {shown}", hint=hint)
    return parse(documents, context)


def parse(documents: Sequence[tuple[Path, str]], context: str = "") -> Login:
    """Parses kubeconfig files, given as pairs (file, its text); returns the same as `read`.

    There must be at least one pair. Runs the credential plugin if the user's entry names one.
    """
    config, origin = _merged(documents)
    files = [file for file, _ in documents]
    shown = os.pathsep.join(map(str, files))
    name = context or str(config["current-context"] or "")
    if not name:
        raise KubeconfigError(
            f"{shown} has no current context", hint="choose a context with --context"
        )
    chosen = _named(config, "contexts", name, shown)
    cluster = _named(config, "clusters", str(chosen.get("cluster")), shown)
    user = _named(config, "users", str(chosen.get("user")), shown) if chosen.get("user") else {}
    try:
        return _login(chosen, cluster, user, origin, files, name)
    except (OSError, KeyError, TypeError, ValueError, binascii.Error) as bad:
        raise KubeconfigError(f"context {name} of {shown} cannot be used: {bad!r}") from bad


def _login(
    context: Mapping[str, Any],
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    origin: Mapping[int, Path],
    files: Sequence[Path],
    name: str,
) -> Login:
    cluster_folder = origin.get(id(cluster), files[0]).parent
    user_folder = origin.get(id(user), files[0]).parent
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = (user_folder / str(user["tokenFile"])).read_text().strip()
    certificate = _data(user, "client-certificate", user_folder)
    key = _data(user, "client-key", user_folder)
    if user.get("exec") or user.get("auth-provider"):
        token, certificate, key = _plugin(files, name, token)
    basic = (str(user["username"]), str(user.get("password", ""))) if "username" in user else None
    return Login(
        server=str(cluster["server"]),
        authority=_data(cluster, "certificate-authority", cluster_folder),
        certificate=certificate,
        key=key,
        token=token,
        namespace=str(context.get("namespace") or ""),
        server_name=str(cluster.get("tls-server-name") or ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        proxy=str(cluster.get("proxy-url") or ""),
        basic=basic,
    )


_GROUPS = (("contexts", "context"), ("clusters", "cluster"), ("users", "user"))


def _merged(documents: Sequence[tuple[Path, str]]) -> tuple[Mapping[str, Any], Mapping[int, Path]]:
    """Returns the merged kubeconfig, and a dict from id(entry) to the file that has the entry."""
    import yaml  # 0.04 s: only where a kubeconfig is read

    merged: dict[str, Any] = {group: [] for group, _ in _GROUPS} | {"current-context": None}
    origin: dict[int, Path] = {}
    for file, text in documents:
        try:
            # libyaml where there is one: certificates are long.
            config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        except (ValueError, RecursionError, yaml.YAMLError) as bad:
            raise KubeconfigError(f"cannot read {file}: {bad}") from bad
        if not isinstance(config, dict):
            raise KubeconfigError(f"{file} is not a kubeconfig")
        merged["current-context"] = merged["current-context"] or config.get("current-context")
        for group, inner in _GROUPS:
            entries = config.get(group) or []
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                wrong = f"{group} must be a list of objects"
                raise KubeconfigError(f"{file} is not a kubeconfig: {wrong}")
            merged[group] += entries
            origin |= {id(entry.get(inner)): file for entry in entries}
    return merged, origin


def _named(config: Mapping[str, Any], group: str, name: str, shown: str) -> Mapping[str, Any]:
    inner = group.removesuffix("s")
    for entry in config[group]:
        if entry.get("name") == name and isinstance(entry.get(inner), dict):
            content: Mapping[str, Any] = entry[inner]
            return content
    known = ", ".join(str(entry.get("name")) for entry in config[group]) or "none"
    raise KubeconfigError(f"{shown} has no {inner} {name!r}", hint=f"existing names: {known}")


def _data(entry: Mapping[str, Any], key: str, folder: Path) -> bytes:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    return (folder / str(entry[key])).read_bytes() if entry.get(key) else b""


def _plugin(files: Sequence[Path], context: str, token: str) -> tuple[str, bytes, bytes]:
    """Run the user's credential plugin; return its token, certificate and key.

    If the plugin returns no token, `token` is returned.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            os.pathsep.join(map(str, files)), context, configuration, persist_config=False
        )
    except config.ConfigException as bad:
        raise KubeconfigError(f"the credential plugin of context {context} failed: {bad}") from bad
    keys = configuration.api_key or {}
    # The client's versions differ in the name under which they put it.
    header = str(keys.get("BearerToken") or keys.get("authorization") or "")
    token = header.removeprefix("Bearer ") or token
    if configuration.cert_file and configuration.key_file:
        certificate = Path(configuration.cert_file).read_bytes()
        return token, certificate, Path(configuration.key_file).read_bytes()
    return token, b"", b""
