"""Any kubeconfig, read and never written: which server, and how to prove who we are.

Several files in $KUBECONFIG are merged as kubectl does: the first one that names a thing wins.
A credential plugin (`exec`) is run by the official client's loader, imported only then.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.explain.errors import ExplainError
from lab.observe.api import Access


@dataclass(frozen=True)
class Login:
    """An API server and credentials; `namespace` is the context's own, "" if it names none."""

    access: Access
    namespace: str = ""
    server_name: str = ""
    insecure: bool = False
    proxy: str = ""
    basic: tuple[str, str] | None = None


def default_files() -> tuple[Path, ...]:
    """The files that kubectl would read."""
    given = os.environ.get("KUBECONFIG", "")
    files = tuple(Path(one) for one in given.split(os.pathsep) if one)
    return files or (Path.home() / ".kube" / "config",)


def read(files: Sequence[Path], context: str = "") -> Login:
    """The context named, else the current one. Raises ExplainError when it cannot be used."""
    config, origin = _merged(files)
    shown = os.pathsep.join(map(str, files))
    name = context or str(config.get("current-context") or "")
    if not name:
        raise ExplainError(f"{shown} has no current context", hint="name one with --context")
    chosen = _named(config, "contexts", name, shown)
    cluster = _named(config, "clusters", str(chosen.get("cluster")), shown)
    user = _named(config, "users", str(chosen.get("user")), shown) if chosen.get("user") else {}
    try:
        return _login(chosen, cluster, user, origin, files, name)
    except (OSError, KeyError, TypeError, ValueError, binascii.Error) as bad:
        raise ExplainError(f"context {name} of {shown} cannot be used: {bad!r}") from bad


def _login(
    context: Mapping[str, Any],
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    origin: Mapping[int, Path],
    files: Sequence[Path],
    name: str,
) -> Login:
    folder = origin.get(id(cluster), files[0]).parent
    mine = origin.get(id(user), files[0]).parent
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = (mine / str(user["tokenFile"])).read_text().strip()
    certificate, key = _data(user, "client-certificate", mine), _data(user, "client-key", mine)
    if user.get("exec") or user.get("auth-provider"):
        token, certificate, key = _plugin(files, name, token)
    basic = (str(user["username"]), str(user.get("password", ""))) if "username" in user else None
    return Login(
        Access(
            server=str(cluster["server"]),
            authority=_data(cluster, "certificate-authority", folder),
            certificate=certificate,
            key=key,
            token=token,
        ),
        namespace=str(context.get("namespace") or ""),
        server_name=str(cluster.get("tls-server-name") or ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        proxy=str(cluster.get("proxy-url") or ""),
        basic=basic,
    )


def _merged(files: Sequence[Path]) -> tuple[Mapping[str, Any], Mapping[int, Path]]:
    whole: dict[str, Any] = {"contexts": [], "clusters": [], "users": []}
    origin: dict[int, Path] = {}
    found = False
    for file in files:
        try:
            one = yaml.safe_load(file.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError) as bad:
            raise ExplainError(f"cannot read {file}: {bad}") from bad
        if not isinstance(one, dict):
            raise ExplainError(f"{file} is no kubeconfig")
        found = True
        whole.setdefault("current-context", one.get("current-context"))
        whole["current-context"] = whole["current-context"] or one.get("current-context")
        for group, inner in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
            entries = one.get(group) or ()
            if not isinstance(entries, list | tuple):
                raise ExplainError(f"{file} is no kubeconfig: {group} must be a list")
            for entry in entries:
                whole[group].append(entry)
                origin[id(entry.get(inner))] = file
    if not found:
        shown = os.pathsep.join(map(str, files))
        raise ExplainError(f"no such file: {shown}", hint="look at --kubeconfig, or at $KUBECONFIG")
    return whole, origin


def _named(config: Mapping[str, Any], group: str, name: str, shown: str) -> Mapping[str, Any]:
    inner = group.removesuffix("s")
    for one in config[group]:
        if one.get("name") == name and isinstance(one.get(inner), dict):
            found: Mapping[str, Any] = one[inner]
            return found
    known = ", ".join(str(one.get("name")) for one in config[group]) or "none"
    raise ExplainError(f"{shown} has no {inner} {name!r}", hint=f"there is: {known}")


def _data(entry: Mapping[str, Any], key: str, folder: Path) -> bytes:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    return (folder / str(entry[key])).read_bytes() if entry.get(key) else b""


def _plugin(files: Sequence[Path], context: str, token: str) -> tuple[str, bytes, bytes]:
    """Token, certificate and key as the user's credential plugin gives them."""
    from kubernetes import client, config

    made = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            os.pathsep.join(map(str, files)), context, made, persist_config=False
        )
    except config.ConfigException as bad:
        raise ExplainError(f"the credential plugin of context {context} failed: {bad}") from bad
    keys = made.api_key or {}
    # The client calls it one way or the other, by its version.
    given = str(keys.get("BearerToken") or keys.get("authorization") or "")
    token = given.removeprefix("Bearer ") or token
    if made.cert_file and made.key_file:
        return token, Path(made.cert_file).read_bytes(), Path(made.key_file).read_bytes()
    return token, b"", b""
