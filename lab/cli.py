"""The `lab` command, and the only place that turns exceptions into `error:`, `hint:`, exit code.

Subcommands live beside what they drive and are imported when called, so that
`lab kube-inject` never pays for cluster libraries.
"""

import importlib
import os
import sys

import click

from lab import __version__
from lab.mesh.errors import SidecarLabError

COMMANDS = {
    "kube-inject": ("lab.inject_cli", "kube_inject", "Inject the sidecar into manifests."),
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


def main(raised: BaseException | None = None) -> None:
    """Run the command line; never ends in a traceback for a fault we foresaw.

    `raised`: what ended a command that ran without click; it is told as any other.
    """
    try:
        if raised:
            raise raised
        # Without standalone mode click returns the exit code of a command that names one.
        sys.exit(lab.main(standalone_mode=False))
    except SidecarLabError as error:
        say_error(error.message, error.hint)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as missing:
        lacking = _lacking(missing)
        say_error(lacking.message, lacking.hint)
        sys.exit(lacking.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        say_error("interrupted", "run the same command again: it goes on from where this one was")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not a fault, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _lacking(missing: ModuleNotFoundError) -> SidecarLabError:
    # A module of our own that is missing is a fault of ours, not of the installation.
    if (missing.name or "").split(".")[0] in {"lab", "scenarios"}:
        raise missing
    return SidecarLabError(
        f"this command needs the Python package {missing.name!r}",
        hint="pip install 'sidecar-lab[lab]' (in a checkout: pip install '.[lab]')",
    )


def say_error(message: str, hint: str) -> None:
    """Print `error:` and `hint:` on stderr, coloured only on a terminal."""
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    if hint:
        click.echo(click.style("hint: ", fg="cyan") + hint, err=True)
