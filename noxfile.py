#!/usr/bin/env python3
"""Every session of the project; each calls one function of `lab`.

    python3 noxfile.py                  the tests: lint, unit, data-plane, e2e
    python3 noxfile.py -s lab-up e2e    the lab, and the walkthrough on it
    python3 noxfile.py -l               all sessions

Needs only Python 3.11 with venv: run as a script it makes `.nox/env` from the hash-locked
`lab/locks/` and continues with the nox in it. With nox installed, `nox -s NAME` is the
same. All sessions share that one environment: one for each would cost more time than it is worth.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this is what reports an older Python
    sys.exit("error: Sidecar Lab needs Python 3.11 or newer\nhint: run this file with one")

ROOT = Path(__file__).resolve().parent
ENV = ROOT / ".nox" / "env"
BIN = ENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCKS = ROOT / "lab" / "locks"

# With PYTHONSAFEPATH, and in nox, the checkout is not on the path by default.
sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]

from lab import kept_settings, package_clients  # noqa: E402
from lab.mesh.errors import SidecarLabError  # noqa: E402
from lab.session import summary  # noqa: E402


def fingerprint() -> str:
    """Returns a digest of the environment's inputs: locks, project file, interpreter, folder."""
    digest = hashlib.sha256(f"{sys.version}\0{ROOT}".encode())
    for file in (LOCKS / "bootstrap.txt", LOCKS / "dev.txt", ROOT / "pyproject.toml"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def ensure_environment() -> Path:
    """Create `.nox/env`, or create it again if its inputs changed; return its Python."""
    stamp = ENV / "made-from"
    wanted = fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted and PYTHON.is_file():
        return PYTHON
    started = time.monotonic()
    say("making the Python environment .nox/env (once, from lab/locks)")
    shutil.rmtree(ENV, ignore_errors=True)
    make([sys.executable, "-m", "venv", str(ENV)], kept_settings.kept(os.environ))
    pip = [str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    uv = [str(PYTHON), "-m", "uv", "pip", "install", "--quiet", "--python", str(PYTHON)]
    with package_clients.clients(PYTHON, ROOT) as (for_pip, for_uv):
        bootstrap = ["--require-hashes", "--only-binary=:all:", "-r", str(LOCKS / "bootstrap.txt")]
        make([*pip, *bootstrap], for_pip)
        # Compile bytecode once here: if the user's settings keep Python from writing it, every
        # start of a program would compile again.
        locked = ["--compile-bytecode", "--require-hashes", "-r", str(LOCKS / "dev.txt")]
        make([*uv, *locked], for_uv)
        make([*uv, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], for_uv)
    package_clients.name_in_ascii(ENV, ROOT)
    stamp.write_text(wanted)
    say(f"environment ready in {time.monotonic() - started:.0f} s")
    return PYTHON


def say(text: str) -> None:
    """Print one line of this file's own."""
    print(f"noxfile: {text}", flush=True)


def make(argv: list[str], environment: dict[str, str]) -> None:
    """Run one step of creating the environment; exit with an error message if it fails."""
    try:
        subprocess.run(argv, check=True, cwd=ROOT, env=environment)
    except subprocess.CalledProcessError as failed:
        print(f"error: `{' '.join(argv)}` exited {failed.returncode}", file=sys.stderr)
        print(
            "hint: needs Python 3.11 or newer with its venv module (Debian: apt-get install "
            "python3-venv) and a reachable package index",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    try:
        python = ensure_environment()
        argv = [str(python), "-m", "nox", "-f", str(Path(__file__).resolve()), *sys.argv[1:]]
        environment = kept_settings.session(os.environ)
        sys.exit(subprocess.run(argv, check=False, env=environment).returncode)
    except SidecarLabError as error:
        sys.exit(f"error: {error.message}\nhint: {error.hint}")
    except KeyboardInterrupt:
        sys.exit(130)

import nox  # noqa: E402 - the code above must run before nox is installed

nox.needs_version = ">=2024.3"
nox.options.sessions = ["lint", "unit", "data-plane", "e2e"]
nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False


STEADY = {"PYTHONHASHSEED": "0"}
"""For sessions that must do the same each time: it fixes the order of sets of text."""
LOGS = ROOT / ".nox" / "logs"
INTERRUPT_SECONDS = 120.0
"""How long a command may take to restore things after Ctrl-C."""
BEGUN: dict[str, bool] = {}
"""Session of this run → whether all its commands have succeeded so far."""


def run(
    session: nox.Session, *argv: str, env: dict[str, str] | None = None, log: bool = True
) -> None:
    """Run Python of the project's environment; `log`: keep the output in the file of `log_of`."""
    python = ensure_environment()
    base: dict[str, str | None] = dict.fromkeys(os.environ)
    base |= kept_settings.session(os.environ)
    base["PATH"] = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    name, extent = session.name, "more" if session.name in BEGUN else "fresh"
    BEGUN[name] = False
    logged = ("-m", "lab.session", log_of(name), extent, str(python)) if log else ()
    session.run(
        str(python),
        *logged,
        *argv,
        external=True,
        env={**base, **(env or {})},
        interrupt_timeout=INTERRUPT_SECONDS,
    )
    BEGUN[name] = True


def log_of(session: str) -> str:
    """Returns the path of a session's log, which is kept until the session runs again."""
    return str((LOGS / f"{session}.log").relative_to(ROOT))


@atexit.register
def close() -> None:
    """Print last which sessions passed, and which failed in which tests."""
    sessions = [summary.Session(name, log_of(name), good) for name, good in BEGUN.items()]
    for line in summary.closing(sessions):
        print(line, flush=True)


@nox.session(name="lab-up")
def lab_up(session: nox.Session) -> None:
    """Bring the lab up (arguments after -- go to `lab up`)."""
    run(session, "-m", "lab", "up", *session.posargs)


@nox.session(name="lab-down")
def lab_down(session: nox.Session) -> None:
    """Remove the lab; `-- --all` also stops a Docker daemon that the lab started."""
    run(session, "-m", "lab", "down", *session.posargs)


@nox.session(name="lab-status")
def lab_status(session: nox.Session) -> None:
    """Show what is running and what it was built from."""
    run(session, "-m", "lab", "status", *session.posargs)


@nox.session
def doctor(session: nox.Session) -> None:
    """Check this machine: what it has, what is missing, and how to fix that."""
    run(session, "-m", "lab", "doctor", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, lint, types, import contracts, generated pages, and locks for every host.

    `-- --index` asks the package index which files exist.
    """
    run(session, "-m", "ruff", "format", "--check", "--quiet", ".")
    run(session, "-m", "ruff", "check", "--quiet", ".")
    run(session, "-m", "mypy")
    run(session, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-logo'])")
    run(session, "-m", "lab", "docs", "--check")
    run(session, "-m", "tests.rooms", "--check")
    run(session, "-m", "tests.locks", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Run the tests that need neither Docker nor root."""
    options = ("-q", "-n", "2", "--dist", "loadfile")
    run(session, "-m", "pytest", *options, *session.posargs, env=STEADY)


@nox.session(name="data-plane")
def data_plane(session: nox.Session) -> None:
    """Test real rules with real packets in network namespaces (Linux, root)."""
    run(session, "-m", "tests.dataplane")
    options = ("-q", "-m", "dataplane", "tests/dataplane")
    run(session, "-m", "pytest", *options, *session.posargs, env=STEADY)


@nox.session
def e2e(session: nox.Session) -> None:
    """Run the walkthrough as assertions on the lab; `-- --mesh istio`: on real Istio."""
    run(session, "-m", "lab", "e2e", "--up", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Compare injector, rules and flows with real Istio, built from its Go modules (root)."""
    run(session, "-m", "tests.dataplane")
    run(session, "-m", "tests.peers", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Search for errors at random: properties, 100,000 reviews, 20,000 manifests, on the lab."""
    # With `-- --name other`, the user has to bring that lab up.
    if not {"--name", "--offline", "-h", "--help"} & set(session.posargs):
        run(session, "-m", "lab", "up")
    run(session, "-m", "tests.fuzz", *session.posargs)


@nox.session
def breaks(session: nox.Session) -> None:
    """Prove the checks: each step's `breaks` must make it fail."""
    run(session, "-m", "lab", "e2e", "--up", "--breaks", *session.posargs)


@nox.session
def live(session: nox.Session) -> None:
    """Test the lab's own parts on the running lab: images, discovery, observation."""
    run(session, "-m", "lab", "up")
    run(session, "-m", "pytest", "-q", "-m", "live", "tests/live", *session.posargs)


@nox.session
def workshop(session: nox.Session) -> None:
    """Follow the walkthrough as a paced workshop."""
    run(session, "-m", "lab", "up")
    run(session, "-m", "lab", "walk", *session.posargs, log=False)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the lab, and print where the time goes."""
    run(session, "-m", "tests.bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write docs/walkthrough.md from the chapters, with output recorded now."""
    run(session, "-m", "lab", "up")
    run(session, "-m", "lab", "docs", *session.posargs)
