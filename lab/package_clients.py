"""Makes the environments to run pip and uv with, from the user's variables and settings files."""

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
    """Parses the output of `pip config list`; returns a dict from option to value.

    A value in the section `install` overrides one in the section `global`.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in listed.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if equals and section in sections:
            try:
                sections[section][option] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                continue
    return {**sections["global"], **sections["install"]}


def uv_files(environ: Mapping[str, str], start: Path, system: str) -> list[Path]:
    """Returns the settings files that uv reads in the folder `start`, highest priority first."""
    if named := environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    if environ.get("UV_NO_CONFIG"):
        return []
    files = []
    for folder in (start, *start.parents):
        project = folder / "pyproject.toml"
        if (folder / "uv.toml").is_file():
            files.append(folder / "uv.toml")
            break
        if project.is_file() and "[tool.uv" in project.read_text("utf-8", "replace"):
            files.append(project)
            break
    if system == "win32":
        user, systems = environ.get("APPDATA", ""), [environ.get("PROGRAMDATA", "")]
    else:
        home = environ.get("HOME", "")
        user = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
        systems = [*(environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), "/etc"]
    others = [Path(root, "uv", "uv.toml") for root in (user, *systems) if root]
    return [*files, *(file for file in others if file.is_file())]


def uv_settings(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merges the kept settings of uv's settings files; the first file has the highest priority.

    Lists are joined: those of the first file come first.
    """
    merged: dict[str, Any] = {}
    for document in documents:
        top = document.get("tool", {}).get("uv", {}) if "tool" in document else document
        for table in (top, top.get("pip", {})):
            for key in KEPT_IN_UV_FILES & set(table):
                here, value = merged.get(key), table[key]
                merged[key] = [*here, *value] if isinstance(here, list) else merged.get(key, value)
    return merged


def toml(value: object) -> str:
    """Returns the value as TOML text in one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_quoted(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, str):
        return _quoted(value)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """Returns the text as a quoted TOML string: as JSON writes it, with two exceptions.

    TOML allows no surrogate pairs, so non-ASCII characters are not escaped; DEL must be escaped.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@contextmanager
def clients(python: str | Path, start: Path) -> Iterator[tuple[Environment, Environment]]:
    """Yields two environments: to run the pip of `python`, and to run uv in the folder `start`.

    The environments can be used only inside the `with` block: uv's environment names a temporary
    file. Raises HostError when a settings file of uv cannot be read.
    """
    files, version = _ask_pip(str(python))
    pip = for_pip(os.environ, files, version, sys.platform)
    documents = [_read(file) for file in uv_files(os.environ, start, sys.platform)]
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
            f"uv's settings in {file} cannot be read: {error}", hint="fix that file"
        ) from error


def _ask_pip(python: str) -> tuple[dict[str, str], tuple[int, ...]]:
    """Returns the settings in pip's files, and pip's version; ({}, ()) if `python` has no pip."""
    env = kept(os.environ)
    words = _answer([python, "-m", "pip", "--version"], env).split()
    numbers = re.findall(r"\d+", words[1]) if len(words) > 1 else []
    listed = _answer([python, "-m", "pip", "config", "list"], env)
    return pip_config(listed), tuple(int(number) for number in numbers[:2])


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
    """Whether files can be created in the folder; if it is missing, in its nearest existing parent.

    Returns False for a relative path, such as "~/.cache/uv" when the user has no home folder.
    """
    if not folder.is_absolute():
        return False
    for candidate in (folder, *folder.parents):
        if candidate.exists():
            return candidate.is_dir() and os.access(candidate, os.W_OK)
    return False


def name_in_ascii(environment: Path, checkout: Path) -> None:
    """Rewrite the .pth file of an editable install so that it has the checkout's path in ASCII.

    Python below 3.13 reads .pth files in the locale's encoding, even in UTF-8 mode. In a C locale,
    a path with non-ASCII letters would prevent Python from starting.
    """
    if str(checkout).isascii():
        return
    for file in environment.glob("**/site-packages/_editable_impl_*.pth"):
        escaped = ascii(str(checkout))
        file.write_text(f"import sys; sys.path.append({escaped})\n", encoding="ascii")
