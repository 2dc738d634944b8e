"""Which of the user's settings reach pip, uv, Go and Python: the table, and the rules around it.

Where packages come from is the user's business: indexes, proxies, certificates, credentials,
time limits and caches are kept. Where they go to and what is made of them is ours: whatever else
`PIP_*`, `UV_*`, `PYTHON*`, `GO*` and the clients' files say is left out.

Standard library alone: noxfile.py needs this before there is any environment.
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
    # What runs beside them in a session: a plug-in or a path of the user's own is no part of it.
    "PYTEST_": _names("XDIST_AUTO_NUM_WORKERS THEME THEME_MODE DEBUG"),
    "MYPY": _names("_CACHE_DIR _FORCE_COLOR"),
}
"""Prefix → the ends of the names that are kept. Names that match no prefix are all kept."""
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
"""Read from the user's Go settings; the rest of them (GOFLAGS, GOAMD64, …) is not."""

BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/cert.pem",
)
"""Where Unix systems keep the authorities that they trust."""
TRUSTSTORE_SINCE: Final = (23, 3)
"""From this pip on `--use-feature=truststore` needs no package beside it."""
TRUSTSTORE_ALWAYS: Final = (24, 2)


def kept(environ: Mapping[str, str]) -> Environment:
    """The environment without settings that would move or break what our Python tools make."""
    return {name: value for name, value in environ.items() if _is_kept(name)}


def _is_kept(name: str) -> bool:
    upper = name.upper()  # as Windows has it
    for prefix, ends in KEPT.items():
        if upper.startswith(prefix) and not _UV_CREDENTIALS.fullmatch(upper):
            return upper.removeprefix(prefix) in ends
    return True


def session(environ: Mapping[str, str]) -> Environment:
    """The environment of everything that noxfile.py starts: `kept`, and UTF-8 in every locale."""
    return {**kept(environ), "PYTHONUTF8": "1"}


def system_bundle(environ: Mapping[str, str]) -> Path | None:
    """The file of authorities that this system (or SSL_CERT_FILE) trusts; None: not in one file."""
    defaults = ssl.get_default_verify_paths()
    candidates = [environ.get("SSL_CERT_FILE"), *BUNDLES, defaults.openssl_cafile]
    for one in candidates:
        if one and Path(one).is_file() and Path(one).stat().st_size:
            return Path(one)
    return None


def for_pip(
    environ: Mapping[str, str], files: Mapping[str, str], version: tuple[int, ...], system: str
) -> Environment:
    """pip's environment: what is kept of `environ` and of the settings in pip's `files`.

    `files`: option → value, as `pip config list` tells it. `system` is sys.platform.
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
    """The index that only uv was told of."""
    found = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or ""
    name, equals, url = found.partition("=")
    return url if equals and "://" not in name else found


def for_uv(
    environ: Mapping[str, str], pip: Mapping[str, str], own: bool, system: str
) -> Environment:
    """uv's environment: its own settings, else what `pip` (for_pip's answer) says of the same.

    `own`: uv's files name an index. UV_CONFIG_FILE is the caller's to set.
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
    patience = pip.get("PIP_TIMEOUT") or pip.get("PIP_DEFAULT_TIMEOUT") or ""
    if re.fullmatch(r"\d+(\.\d+)?", patience):
        env.setdefault("UV_HTTP_TIMEOUT", str(max(1, round(float(patience)))))
    if proxy := pip.get("PIP_PROXY"):
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            if name.lower() not in env:
                env.setdefault(name, proxy if "://" in proxy else f"http://{proxy}")
    roots = system in ("win32", "darwin") or system_bundle(env) is not None
    if roots and not {"UV_NATIVE_TLS", "UV_SYSTEM_CERTS"} & set(env):
        env["UV_SYSTEM_CERTS"] = "true"
    return env


def _indexes_of_pip(env: Environment, pip: Mapping[str, str]) -> None:
    if url := pip.get("PIP_INDEX_URL"):
        env["UV_DEFAULT_INDEX"] = url
    if extra := pip.get("PIP_EXTRA_INDEX_URL", "").split():
        env["UV_INDEX"] = " ".join(extra)
        # As pip looks: in all of them. The lock's hashes say what is right.
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    links = [one for one in pip.get("PIP_FIND_LINKS", "").split() if _there(one)]
    if links:
        env.setdefault("UV_FIND_LINKS", ",".join(links))
    if pip.get("PIP_NO_INDEX", "").lower() in ("1", "true", "yes", "on"):
        env["UV_NO_INDEX"] = "true"


def _there(place: str) -> bool:
    """pip passes over a folder that is not there, uv fails."""
    return bool(urlsplit(place).netloc) or Path(place).is_dir()


_GO_VARIABLE: Final = re.compile(r"GO[A-Z0-9]+|C?GO_\w+")
_GO_HARMLESS: Final = frozenset(("GOMAXPROCS", "GOTMPDIR", "GOTRACEBACK", "GODEBUG"))


def for_go(environ: Mapping[str, str], listed: Mapping[str, str]) -> Environment:
    """Go's environment: what is kept of its settings, `listed` as `go env -json` tells them.

    Go's file of settings is switched off: an empty variable of ours would let it speak.
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
