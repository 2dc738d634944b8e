"""Decides which of the user's settings the lab's commands pass on to pip, uv, Go and Python.

The user decides where packages come from: indexes, proxies, certificates, credentials, time limits
and caches are kept. The lab decides where packages go and what is built from them: other settings
in `PIP_*`, `UV_*`, `PYTHON*`, `GO*` and in the settings files of pip, uv and Go are left out.

This module uses only the standard library: noxfile.py needs it before an environment exists.
"""

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

Environment = dict[str, str]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEPT: Final[Mapping[str, frozenset[str]]] = {
    # Not PYTHONPATH, PYTHONHOME, PYTHONSTARTUP, PYTHONSAFEPATH, PYTHONPLATLIBDIR, PYTHONWARNINGS.
    "PYTHON": _names(
        "UNBUFFERED DONTWRITEBYTECODE PYCACHEPREFIX HASHSEED FAULTHANDLER NOUSERSITE IOENCODING"
        " UTF8 _COLORS DEVMODE TRACEMALLOC"
    ),
    "PIP_": _names(
        "INDEX_URL PYPI_URL EXTRA_INDEX_URL NO_INDEX FIND_LINKS TRUSTED_HOST PROXY CERT CLIENT_CERT"
        " KEYRING_PROVIDER TIMEOUT DEFAULT_TIMEOUT RETRIES RESUME_RETRIES CACHE_DIR NO_CACHE_DIR"
        " USE_FEATURE USE_DEPRECATED NO_INPUT CONFIG_FILE"
    ),
    "UV_": _names(
        "INDEX DEFAULT_INDEX INDEX_URL EXTRA_INDEX_URL NO_INDEX FIND_LINKS INDEX_STRATEGY OFFLINE"
        " KEYRING_PROVIDER INSECURE_HOST NATIVE_TLS SYSTEM_CERTS HTTP_TIMEOUT HTTP_CONNECT_TIMEOUT"
        " REQUEST_TIMEOUT HTTP_RETRIES CACHE_DIR NO_CACHE CREDENTIALS_DIR CONCURRENT_DOWNLOADS"
        " CONFIG_FILE"
    ),
    # For the other tools of a session: the user's own plug-ins and paths are left out.
    "PYTEST_": _names("XDIST_AUTO_NUM_WORKERS THEME THEME_MODE DEBUG"),
    "MYPY": _names("_CACHE_DIR _FORCE_COLOR"),
}
"""Prefix of an environment variable's name → the ends of the names that are kept.

For instance, PIP_INDEX_URL is kept; PIP_TARGET is not. A variable whose name begins with none of
these prefixes is always kept. So are uv's credentials for an index (UV_INDEX_NAME_PASSWORD).
"""
_UV_CREDENTIALS = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
KEPT_IN_UV_FILES: Final = _names(
    "index index-url extra-index-url no-index find-links index-strategy keyring-provider"
    " allow-insecure-host native-tls system-certs offline cache-dir no-cache concurrent-downloads"
    " http-proxy https-proxy no-proxy"
)
KEPT_OF_GO: Final = (
    *("GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH"),
    "GOVCS",
)
"""The settings of Go that are kept: they decide where modules come from, not how Go builds."""

BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/cert.pem",
)
"""Files in which Unix systems keep the CA certificates that they trust."""
TRUSTSTORE_SINCE: Final = (23, 3)
"""From this version on, pip's `--use-feature=truststore` needs no other package."""
TRUSTSTORE_ALWAYS: Final = (24, 2)
"""From this version on, pip always uses the system's certificate store."""


def kept(environ: Mapping[str, str]) -> Environment:
    """Returns the environment without the variables that KEPT does not allow."""
    return {name: value for name, value in environ.items() if _is_kept(name)}


def _is_kept(name: str) -> bool:
    upper = name.upper()  # Windows ignores case
    for prefix, ends in KEPT.items():
        if upper.startswith(prefix) and not _UV_CREDENTIALS.fullmatch(upper):
            return upper.removeprefix(prefix) in ends
    return True


def session(environ: Mapping[str, str]) -> Environment:
    """Returns the environment for the commands of noxfile.py: `kept`, with Python's UTF-8 mode."""
    return {**kept(environ), "PYTHONUTF8": "1"}


def system_bundle(environ: Mapping[str, str]) -> Path | None:
    """Returns the file with trusted CA certificates.

    This is the file that SSL_CERT_FILE names or, if that file is missing or empty, the system's
    file. Returns None when that is missing or empty, too.
    """
    defaults = ssl.get_default_verify_paths()
    candidates = [environ.get("SSL_CERT_FILE"), *BUNDLES, defaults.openssl_cafile]
    for name in candidates:
        if name and Path(name).is_file() and Path(name).stat().st_size:
            return Path(name)
    return None


def for_pip(
    environ: Mapping[str, str], files: Mapping[str, str], version: tuple[int, ...], system: str
) -> Environment:
    """Returns the environment to run pip with: the kept settings of `environ` and of pip's files.

    If no index is set for pip, uv's default index is used. If no CA certificates are set for pip,
    the system's certificates are used. `files`: the settings in pip's files, as a dict from option
    to value. `version`: pip's version. `system`: the value of sys.platform.
    """
    env = kept(environ)
    for option, value in files.items():
        name = option.upper().replace("-", "_")
        if name in KEPT["PIP_"] and name != "CONFIG_FILE":
            env.setdefault(f"PIP_{name}", value)
    env["PIP_CONFIG_FILE"] = os.devnull
    if "PIP_INDEX_URL" not in env and (default := _uv_default(environ)):
        env["PIP_INDEX_URL"] = default
    if {"PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} & set(env):
        return env
    if version < TRUSTSTORE_ALWAYS:
        bundle = system_bundle(environ)
        if system in ("win32", "darwin") and version >= TRUSTSTORE_SINCE:
            env.setdefault("PIP_USE_FEATURE", "truststore")
        elif bundle is not None:
            env["PIP_CERT"] = str(bundle)
    return env


def _uv_default(environ: Mapping[str, str]) -> str:
    """Returns the URL of the default index that uv's variables set; "" when they set none."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or ""
    name, equals, url = index.partition("=")
    return url if equals and "://" not in name else index


def for_uv(
    environ: Mapping[str, str], pip: Mapping[str, str], own: bool, system: str
) -> Environment:
    """Returns the environment to run uv with: uv's own settings and, where uv has none, pip's.

    `pip`: the result of `for_pip`. `own`: whether uv's files name an index. `system`: the value of
    sys.platform. The caller must add UV_CONFIG_FILE with the kept settings of uv's files.
    """
    env = kept(environ)
    if not own and not {"UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_INDEX"} & set(env):
        _indexes_of_pip(env, pip)
    cert = pip.get("PIP_CERT", "")
    if cert:
        env.setdefault("SSL_CERT_DIR" if Path(cert).is_dir() else "SSL_CERT_FILE", cert)
    if client := pip.get("PIP_CLIENT_CERT"):
        env.setdefault("SSL_CLIENT_CERT", client)
    if hosts := pip.get("PIP_TRUSTED_HOST", "").split():
        env.setdefault("UV_INSECURE_HOST", " ".join(hosts))
    timeout = pip.get("PIP_TIMEOUT") or pip.get("PIP_DEFAULT_TIMEOUT") or ""
    if re.fullmatch(r"\d+(\.\d+)?", timeout):
        env.setdefault("UV_HTTP_TIMEOUT", str(max(1, round(float(timeout)))))
    if proxy := pip.get("PIP_PROXY"):
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            if name.lower() not in env:
                env.setdefault(name, proxy if "://" in proxy else f"http://{proxy}")
    roots = system in ("win32", "darwin") or system_bundle(env) is not None
    if roots and not {"UV_NATIVE_TLS", "UV_SYSTEM_CERTS"} & set(env):
        env["UV_SYSTEM_CERTS"] = "true"
    return env


def _indexes_of_pip(env: Environment, pip: Mapping[str, str]) -> None:
    """Add the package indexes in pip's environment to `env`, the environment of uv."""
    if url := pip.get("PIP_INDEX_URL"):
        env["UV_DEFAULT_INDEX"] = url
    if extra := pip.get("PIP_EXTRA_INDEX_URL", "").split():
        env["UV_INDEX"] = " ".join(extra)
        # pip looks in all indexes, too. The lock's hashes decide which file is right.
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    links = [link for link in pip.get("PIP_FIND_LINKS", "").split() if _exists(link)]
    if links:
        env.setdefault("UV_FIND_LINKS", ",".join(links))
    if pip.get("PIP_NO_INDEX", "").lower() in ("1", "true", "yes", "on"):
        env["UV_NO_INDEX"] = "true"


def _exists(link: str) -> bool:
    """Whether uv can use `link`: it is a URL or an existing folder (a missing one is an error)."""
    return bool(urlsplit(link).netloc) or Path(link).is_dir()


_GO_VARIABLE: Final = re.compile(r"GO[A-Z0-9]+|C?GO_\w+")
_GO_HARMLESS: Final = frozenset(("GOMAXPROCS", "GOTMPDIR", "GOTRACEBACK", "GODEBUG"))


def for_go(environ: Mapping[str, str], listed: Mapping[str, str]) -> Environment:
    """Returns the environment to run Go with.

    It is `environ` without Go's variables (harmless ones stay), plus the settings in KEPT_OF_GO.
    Their values are from `listed`: all settings of Go, as `go env -json` prints them.
    GOENV=off switches off Go's settings file, which Go would otherwise read for every variable that
    is not set.
    """
    env = {
        name: value
        for name, value in environ.items()
        if name in _GO_HARMLESS or not _GO_VARIABLE.fullmatch(name)
    }
    return {
        **env,
        **{name: listed[name] for name in KEPT_OF_GO if listed.get(name)},
        "GOENV": "off",
    }
