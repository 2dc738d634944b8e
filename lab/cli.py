"""The `lab` command, and the only place that turns exceptions into `error:`, `hint:`, exit code.

Subcommands live beside what they drive and are imported when called, so that
`lab kube-inject` never pays for cluster libraries.
"""

import importlib
import sys

import click

from lab import __version__, streams
from lab.mesh.errors import SidecarLabError

COMMANDS = {
    "kube-inject": ("lab.kube_inject.cli", "kube_inject", "Inject the sidecar into manifests."),
    "explain": ("lab.explain.cli", "explain", "Say why a pod was, was not, or would be injected."),
    "up": ("lab.cluster.cli", "up", "Bring the lab up; on a lab that is up, check it."),
    "down": ("lab.cluster.cli", "down", "Remove the lab and count what is left."),
    "pause": ("lab.cluster.cli", "pause", "Freeze the lab; `lab up` thaws it."),
    "rotate": ("lab.cluster.cli", "rotate", "Give the webhook a new certificate and authority."),
    "status": ("lab.cluster.cli", "status", "Say what is running and from what it was built."),
    "doctor": ("lab.cluster.cli", "doctor", "Look at this machine and say what is missing."),
    "cache": ("lab.cluster.cli", "cache", "List and prune what was built."),
    "e2e": ("lab.scenario.cli", "e2e", "Run the walkthrough as assertions on the lab."),
    "walk": ("lab.scenario.cli", "walk", "Follow the workshop, paced."),
    "docs": ("lab.scenario.cli", "docs", "Write docs/walkthrough.md from recorded output."),
    "report": ("lab.scenario.cli", "report", "Make JUnit and HTML from the last records."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a reader needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without importing them."""
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
    "up": "run the same command again: it goes on from where this one was",
    "down": "run the same command again: it removes what is left",
    "pause": "run the same command again; `lab status` says what the lab is now",
    "rotate": "a rotation that was asked for is carried out all the same; `lab status` shows it",
    "cache": "run the same command again: it goes on from where this one was",
    "e2e": "run the same command again: it begins with the first step",
    "docs": "run the same command again: it begins with the first step",
    "kube-inject": "nothing was written",
    "explain": "nothing was changed",
}
"""What is true of a command that was interrupted."""


def main(raised: BaseException | None = None) -> None:
    """Run the command line; never ends in a traceback.

    `raised`: what ended a command that ran without click; it is told as any other.
    """
    try:
        code = _run(raised)
        # Here, where it can be told: at the interpreter's own end it would be a traceback.
        streams.finish()
    except SidecarLabError as error:
        code = say(error)
    except ModuleNotFoundError as missing:
        code = say(_lacking(missing))
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as misuse:
        misuse.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        say_error("interrupted", INTERRUPTED.get(_command(), ""))
        code = 130
    except BrokenPipeError:
        # Some other pipe's reader went away; what befalls our own output is lab/streams.py's.
        code = 141
    except Exception as fault:  # noqa: BLE001 - this is where every other fault ends
        code = say(_fault(fault))
    sys.exit(code)


def _run(raised: BaseException | None) -> int:
    if raised:
        raise raised
    try:
        # Without standalone mode click returns the exit code of a command that names one.
        return int(lab.main(standalone_mode=False) or 0)
    except SystemExit as done:
        if isinstance(done.code, str):
            click.echo(done.code, err=True)
        return done.code if isinstance(done.code, int) else int(done.code is not None)


def _command() -> str:
    return next((word for word in sys.argv[1:] if word in COMMANDS), "")


def say(error: SidecarLabError) -> int:
    """Tell an error on stderr, if there is anything to tell; its exit code."""
    if error.message:
        say_error(error.message, error.hint)
    return error.exit_code


def _fault(fault: Exception) -> SidecarLabError:
    """A fault that nobody foresaw, as one line; its trace goes to a file."""
    import traceback

    trace = "".join(traceback.format_exception(fault))
    said = f"a fault of the lab's own: {type(fault).__name__}: {fault}".splitlines()[0][:300]
    if isinstance(fault, OSError) and fault.filename:
        said = f"{fault.filename}: {fault.strerror}"
    try:
        from lab.long_command import build_log

        file = build_log(_command() or "lab")
        file.write_text(trace, encoding="utf-8")
    except (OSError, ImportError):
        return SidecarLabError(f"{said}\n{trace}")
    return SidecarLabError(said, hint=f"the whole trace is in {file}")


def _lacking(missing: ModuleNotFoundError) -> SidecarLabError:
    # A module of our own that is missing is a fault of ours, not of the installation.
    if (missing.name or "").split(".")[0] in {"lab", "scenarios"}:
        return _fault(missing)
    return SidecarLabError(
        f"this command needs the Python package {missing.name!r}",
        hint="pip install 'sidecar-lab[lab]' (in a checkout: pip install '.[lab]')",
    )


def say_error(message: str, hint: str) -> None:
    """Print `error:` and `hint:` on stderr, coloured only on a terminal."""
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    if hint:
        click.echo(click.style("hint: ", fg="cyan") + hint, err=True)
