"""Python and this project's code for programs that run as another user, or with fewer rights.

A checkout may lie in a private folder (a home of mode 0700, files of umask 077) that neither user
1337 nor a root without CAP_DAC_OVERRIDE may enter. So what such programs need is copied to where
everybody may read it and only its owner may write it; the copy goes with the process that made it.
"""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STRANGER: Final = 65533
"""A user who owns nothing here; what this one may run, every user may."""
_PREFIX: Final = "sidecar-lab-code-"
_NEEDED: Final = "import sys; sys.exit(sys.version_info < (3, 11))"


def as_user(uid: int, gid: int | None = None) -> tuple[str, ...]:
    """The words before a command that run it as another user, in no other group.

    Told to drop what it never had, setpriv also starts the command with that user's rights alone;
    else it looks for the program with root's.
    """
    group = uid if gid is None else gid
    return ("setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups", "--inh-caps=-all")


@functools.cache
def python() -> str:
    """A Python, 3.11 or newer, that every user may run. Raises RuntimeError where none is."""
    found = [os.path.realpath(getattr(sys, "_base_executable", sys.executable))]
    found += (shutil.which("python3", path=one) or "" for one in ("/usr/local/bin", "/usr/bin"))
    for candidate in filter(None, found):
        words = [*as_user(STRANGER), candidate, "-I", "-c", _NEEDED]
        if not subprocess.run(words, cwd="/", capture_output=True, check=False).returncode:
            return candidate
    raise RuntimeError(f"no Python 3.11 that every user may run among {', '.join(found)}")


@functools.cache
def code() -> Path:
    """A folder to import `lab.mesh` from, as in the images: with nothing of the project besides.

    Raises RuntimeError where no folder is open to all, or no Python.
    """
    place = _place()
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    package = folder / "lab"
    package.mkdir()
    shutil.copyfile(ROOT / "lab" / "__init__.py", package / "__init__.py")
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        ROOT / "lab" / "mesh", package / "mesh", ignore=leave_out, copy_function=shutil.copyfile
    )
    # Written once: those who run it may not, and each start would compile it anew.
    compileall = (python(), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    subprocess.run([*compileall, "."], cwd=folder, check=True)
    _open_to_all(folder)
    return folder


def environment() -> dict[str, str]:
    """What this process has, with our code where Python looks, and nothing of it written there."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    return {**kept, "PYTHONPATH": str(code()), "PYTHONDONTWRITEBYTECODE": "1"}


def program(source: Path) -> Path:
    """A copy of a program, such as Envoy, that every user may run."""
    copy = code() / "bin" / source.name
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, copy)
        _open_to_all(code())
        copy.chmod(0o755)
    return copy


def _open_to_all(folder: Path) -> None:
    """Modes whatever the umask is; the folder itself last, so that nobody sees it half made."""
    for where, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(where, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        Path(where).chmod(0o755)


def _place() -> Path:
    """A folder for temporary files into which every user may go, whatever TMPDIR says."""
    for one in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        place = Path(one).resolve()
        if place.is_dir() and all(up.stat().st_mode & 0o001 for up in (place, *place.parents)):
            return place
    raise RuntimeError("neither TMPDIR nor /tmp nor /var/tmp is a folder that every user may enter")


def _sweep(place: Path) -> None:
    """Remove what a killed process of this user left behind."""
    for old in _left(place):
        shutil.rmtree(old, ignore_errors=True)


def _left(place: Path) -> Iterator[Path]:
    for one in place.glob(f"{_PREFIX}*"):
        owner = one.name.removeprefix(_PREFIX).partition("-")[0]
        mine = not one.is_symlink() and one.lstat().st_uid == os.geteuid()
        if mine and owner.isdigit() and not Path("/proc", owner).exists():
            yield one
