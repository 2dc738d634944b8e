"""The environments in which pip and uv are run, and the files of settings they are made from."""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.errors import HostError
from lab.kept_settings import KEPT_IN_UV_FILES, Environment, for_pip, for_uv, kept


def pip_config(listed: str) -> dict[str, str]:
    """Option → value, of what `pip config list` prints; what `install` says beats `global`."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in listed.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if equals and section in found:
            try:
                found[section][option] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                continue
    return {**found["global"], **found["install"]}


def uv_files(environ: Mapping[str, str], start: Path, system: str) -> list[Path]:
    """The files of settings that uv would read for a command in `start`, the strongest first."""
    if named := environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    if environ.get("UV_NO_CONFIG"):
        return []
    found = []
    for folder in (start, *start.parents):
        project = folder / "pyproject.toml"
        if (folder / "uv.toml").is_file():
            found.append(folder / "uv.toml")
            break
        if project.is_file() and "[tool.uv" in project.read_text("utf-8", "replace"):
            found.append(project)
            break
    if system == "win32":
        users, systems = environ.get("APPDATA", ""), [environ.get("PROGRAMDATA", "")]
    else:
        home = environ.get("HOME", "")
        users = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
        systems = [*(environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), "/etc"]
    places = [Path(one, "uv", "uv.toml") for one in (users, *systems) if one]
    return [*found, *(one for one in places if one.is_file())]


def uv_settings(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is kept of uv's files, the strongest first, as one document."""
    merged: dict[str, Any] = {}
    for document in documents:
        top = document.get("tool", {}).get("uv", {}) if "tool" in document else document
        for table in (top, top.get("pip", {})):
            for key in KEPT_IN_UV_FILES & set(table):
                here, value = merged.get(key), table[key]
                merged[key] = [*here, *value] if isinstance(here, list) else merged.get(key, value)
    return merged


def toml(value: object) -> str:
    """A value as TOML in one line; a document is one of these a key."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_quoted(key)} = {toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, str):
        return _quoted(value)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """A string of JSON, and of TOML, which takes no pairs of surrogates and no DEL as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@contextmanager
def clients(python: str | Path, start: Path) -> Iterator[tuple[Environment, Environment]]:
    """The whole environments for pip of `python` and for uv run in `start`, while it lasts.

    Raises HostError for a settings file that cannot be read.
    """
    files, version = _ask_pip(str(python))
    pip = for_pip(os.environ, files, version, sys.platform)
    documents = [_read(one) for one in uv_files(os.environ, start, sys.platform)]
    settings = uv_settings(documents)
    own = bool({"index", "index-url", "no-index"} & set(settings))
    uv = for_uv(os.environ, pip, own, sys.platform)
    if not _writable(_uv_cache(uv)):
        uv["UV_NO_CACHE"] = "true"
    with tempfile.TemporaryDirectory(prefix="sidecar-lab-uv-") as folder:  # 0700: may hold secrets
        file = Path(folder, "uv.toml")
        lines = [f"{key} = {toml(value)}\n" for key, value in settings.items()]
        file.write_text("".join(lines), encoding="utf-8")
        yield pip, {**uv, "UV_CONFIG_FILE": str(file)}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HostError(
            f"uv's settings in {file} cannot be read: {error}", hint="mend it"
        ) from error


def _ask_pip(python: str) -> tuple[dict[str, str], tuple[int, ...]]:
    """What pip's files say, and its version; nothing where there is no pip."""
    env = kept(os.environ)
    said = _answer([python, "-m", "pip", "--version"], env).split()
    numbers = re.findall(r"\d+", said[1]) if len(said) > 1 else []
    listed = _answer([python, "-m", "pip", "config", "list"], env)
    return pip_config(listed), tuple(int(one) for one in numbers[:2])


def _answer(argv: Sequence[str], env: Environment) -> str:
    utf8 = {**env, "PYTHONUTF8": "1"}
    done = subprocess.run(argv, env=utf8, capture_output=True, check=False, timeout=60)
    return done.stdout.decode(errors="replace")


def _uv_cache(environ: Mapping[str, str]) -> Path:
    if named := environ.get("UV_CACHE_DIR"):
        return Path(named)
    folder = environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(folder or os.path.expanduser("~/.cache"), "uv")  # noqa: PTH111 - never raises


def _writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in what is there of the way to it.

    Not in "~": that is what is left of it for a user without a home.
    """
    if not folder.is_absolute():
        return False
    for one in (folder, *folder.parents):
        if one.exists():
            return one.is_dir() and os.access(one, os.W_OK)
    return False


def name_in_ascii(environment: Path, checkout: Path) -> None:
    """Have an editable install name its checkout in ASCII.

    Python below 3.13 reads a .pth file in the locale's encoding, UTF-8 mode or not: in a C locale
    a path with other letters would keep it from starting at all.
    """
    if str(checkout).isascii():
        return
    for file in environment.glob("**/site-packages/_editable_impl_*.pth"):
        escaped = ascii(str(checkout))
        file.write_text(f"import sys; sys.path.append({escaped})\n", encoding="ascii")
