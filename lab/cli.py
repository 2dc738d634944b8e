"""The `lab` command; it alone turns exceptions into `error:` and `hint:` lines and an exit code.

Each subcommand is in the package whose code it runs and is imported only when it is called, so
that `lab kube-inject` never loads the libraries for clusters.
"""

import importlib
import sys

import click

from lab import __version__, streams
from lab.mesh.errors import SidecarLabError

COMMANDS = {
    "kube-inject": ("lab.kube_inject.cli", "kube_inject", "Inject the sidecar into manifests."),
    "explain": ("lab.explain.cli", "explain", "Say why a pod was, was not, or would be injected."),
    "up": ("lab.cluster.cli", "up", "Bring the lab up; if it is up already, check it."),
    "down": ("lab.cluster.cli", "down", "Remove the lab and count what is left of it."),
    "pause": ("lab.cluster.cli", "pause", "Freeze the lab; `lab up` thaws it."),
    "rotate": ("lab.cluster.cli", "rotate", "Give the webhook a new CA and a new certificate."),
    "status": ("lab.cluster.cli", "status", "Show what is running and what it was built from."),
    "doctor": ("lab.cluster.cli", "doctor", "Check this machine; say how to fix what is missing."),
    "cache": ("lab.cluster.cli", "cache", "List and prune what was built."),
    "e2e": ("lab.scenario.cli", "e2e", "Run the walkthrough as assertions on the lab."),
    "walk": ("lab.scenario.cli", "walk", "Follow the workshop, paced."),
    "docs": ("lab.scenario.cli", "docs", "Write docs/walkthrough.md from recorded output."),
    "report": ("lab.scenario.cli", "report", "Make JUnit and HTML from the last records."),
}


class LazyGroup(click.Group):
    """A click group that imports the module of a command only when the user calls the command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the commands' names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and return it; returns None when there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into the help text, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:  lab up  |  lab walk --to 2.3  |  lab kube-inject -f app.yaml",
)
@click.version_option(__version__, prog_name="lab")
@click.option("-v", "--verbose", is_flag=True, help="Print every command that is run.")
def lab(verbose: bool) -> None:
    """See what sidecar injection does to a pod, proven on a live cluster."""
    if verbose:
        import logging

        logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stderr)
        for noisy in ("urllib3", "kubernetes", "docker", "asyncio", "httpcore", "httpx"):
            logging.getLogger(noisy).setLevel(logging.WARNING)


INTERRUPTED = {
    "up": "run the same command again: it continues where this one stopped",
    "down": "run the same command again: it removes what is left",
    "pause": "run the same command again; `lab status` shows the lab's state",
    "rotate": "a rotation that was requested completes anyway: discovery does it",
    "cache": "run the same command again: it continues where this one stopped",
    "e2e": "run the same command again: it begins with the first step",
    "docs": "run the same command again: it begins with the first step",
    "kube-inject": "nothing was written",
    "explain": "nothing was changed",
}
"""Command → the hint that is printed when the user interrupted the command."""


def main(raised: BaseException | None = None) -> None:
    """Run the command line and exit with its code; never ends in a traceback.

    `raised`: the exception of a command that lab.start ran without click. It is reported like an
    exception of any other command, and no command line is run.
    """
    try:
        code = _run(raised)
        # Flush here, where a failure can be reported: at exit Python would print a traceback.
        streams.finish()
    except SidecarLabError as error:
        code = report_error(error)
    except ModuleNotFoundError as missing:
        code = report_error(missing_package(missing))
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as misuse:
        misuse.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        print_error("interrupted", INTERRUPTED.get(_command(), ""))
        code = 130
    except BrokenPipeError:
        # The reader of some other pipe went away. lab/streams.py handles our own output.
        code = 141
    except Exception as fault:  # noqa: BLE001 - every other exception ends here
        code = report_error(_internal_error(fault))
    sys.exit(code)


def _run(raised: BaseException | None) -> int:
    if raised:
        raise raised
    try:
        # Without standalone mode, click returns the exit code of a command that sets one.
        return int(lab.main(standalone_mode=False) or 0)
    except SystemExit as done:
        if isinstance(done.code, str):
            click.echo(done.code, err=True)
        return done.code if isinstance(done.code, int) else int(done.code is not None)


def _command() -> str:
    return next((word for word in sys.argv[1:] if word in COMMANDS), "")


def report_error(error: SidecarLabError) -> int:
    """Print the error on stderr if it has a message; return its exit code."""
    if error.message:
        print_error(error.message, error.hint)
    return error.exit_code


def _internal_error(fault: Exception) -> SidecarLabError:
    """Writes the exception's traceback to a log file; returns an error that names this file.

    If the log file cannot be written, the message of the returned error contains the traceback.
    """
    import traceback

    trace = "".join(traceback.format_exception(fault))
    message = f"internal error of the lab: {type(fault).__name__}: {fault}".splitlines()[0][:300]
    if isinstance(fault, OSError) and fault.filename:
        message = f"{fault.filename}: {fault.strerror}"
    try:
        from lab.long_command import build_log

        file = build_log(_command() or "lab")
        file.write_text(trace, encoding="utf-8")
    except (OSError, ImportError):
        return SidecarLabError(f"{message}\n{trace}")
    return SidecarLabError(message, hint=f"the complete traceback is in {file}")


def missing_package(missing: ModuleNotFoundError) -> SidecarLabError:
    """Returns an error that names the package to install.

    If a module of the lab itself is missing, returns the result of `_internal_error`.
    """
    # If one of our own modules is missing, that is our error, not an incomplete installation.
    if (missing.name or "").split(".")[0] in {"lab", "scenarios"}:
        return _internal_error(missing)
    return SidecarLabError(
        f"this command needs the Python package {missing.name!r}",
        hint="pip install 'sidecar-lab[lab]' (in a checkout: pip install '.[lab]')",
    )


def print_error(message: str, hint: str) -> None:
    """Print `error:` and `hint:` on stderr, coloured only on a terminal."""
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    if hint:
        click.echo(click.style("hint: ", fg="cyan") + hint, err=True)
