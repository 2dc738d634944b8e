"""Runs istio-iptables: sets a pod's redirection rules, reads them back and verifies them.

This is the program of the init container. Its log is part of the walkthrough: the settings, the
text given to iptables-restore, and the rules read back, each with its purpose. If it applies rules,
its exit code is 0 only when the rules in the kernel are the planned ones. `--help` lists all codes.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from lab.mesh.errors import SettingError, SidecarLabError, ValidationError
from lab.mesh.redirection import addresses, netfilter, options, reconciliation
from lab.mesh.redirection.options import RedirectionOptions
from lab.mesh.redirection.plan import plan
from lab.mesh.redirection.reconciliation import say
from lab.mesh.redirection.rules import Family, differences, ours, render
from lab.mesh.redirection.settings import Settings


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    try:
        chosen = options.parse(sys.argv[1:] if argv is None else argv, os.environ)
        run(chosen)
    except SidecarLabError as error:
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        sys.exit(error.exit_code)


def run(chosen: RedirectionOptions) -> None:
    """Do what the options ask for. On failure, raises a RulesError; it holds the exit code."""
    if chosen.network_namespace:
        netfilter.enter(chosen.network_namespace)
    settings = complete(chosen)
    say_settings(settings, os.environ)
    for family in _BOTH if chosen.cleanup_only else _families(settings):
        wanted = plan(settings, family)
        if chosen.cleanup_only:
            reconciliation.clean(wanted, settings, dry_run=chosen.dry_run)
        elif chosen.dry_run:
            say(f"Dry run: this would be given to iptables-restore ({family}); nothing is applied.")
            say(render(wanted.state, comments=chosen.comments))
        elif not chosen.skip_rule_apply:
            had_rules = reconciliation.apply(wanted, settings, chosen)
            if had_rules and not settings.ipv6:
                # That earlier run may have been one with IPv6.
                reconciliation.withdraw(plan(settings, "ipv6"), settings, chosen)
    if chosen.run_validation and not chosen.dry_run:
        validate(settings, chosen)


def complete(chosen: RedirectionOptions) -> Settings:
    """Return the settings, with `ipv6` and `dns_servers` set from this namespace and its files.

    Raises SettingError when DNS capture needs /etc/resolv.conf and it cannot be read.
    """
    settings = chosen.settings
    servers: tuple[str, ...] = ()
    if settings.redirect_dns and not settings.capture_all_dns:
        try:
            servers = addresses.name_servers()
        except OSError as unreadable:
            raise SettingError(
                f"--redirect-dns: cannot read /etc/resolv.conf: {unreadable.strerror}",
                hint="with --capture-all-dns the file is not needed",
            ) from unreadable
        if not servers:
            say("warning: DNS capture is off: /etc/resolv.conf names no server.")
    ipv6 = addresses.wants_ipv6(dual_stack=chosen.dual_stack)
    return settings._replace(ipv6=ipv6, dns_servers=servers)


def validate(settings: Settings, chosen: RedirectionOptions) -> None:
    """Verify the rules if this process may read them, then dial connections through them.

    Raises ValidationError, UnusableError.
    """
    from lab.mesh.redirection import validation  # not part of every pod's start

    todo = []
    for family in _families(settings):
        if netfilter.may_administer():
            wanted = plan(settings, family)
            holder = netfilter.candidates(family)[0]
            wrong = differences(ours(holder.state, wanted.state, settings.marks), wanted.state)
            if wrong:
                raise ValidationError("the rules are not the planned ones: " + "; ".join(wrong))
            say(f"Validation: the rules that {holder.variant.name} holds are the planned ones.")
        else:
            say("Validation: the rules cannot be read here (no NET_ADMIN); they are dialled only.")
        if addresses.ipv4() if family == "ipv4" else addresses.ipv6():
            who = (os.geteuid(), os.getegid())
            todo += validation.probes(settings, chosen.probe_port, *who, family)
    validation.run(todo, chosen.probe_timeout, lambda text: say(f"Validation: {text}"))


def say_settings(settings: Settings, env: Mapping[str, str]) -> None:
    """Print the environment variables that may be meant for this program, then every setting."""
    names = sorted(name for name in env if name.startswith(_OUR_ENVIRONMENT))
    say("Environment:")
    for name in names:
        say(f"  {name}={env[name]}")
    say("Settings:")
    for name, value in settings._asdict().items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        say(f"  {name.upper()}={shown}")


_OUR_ENVIRONMENT = (
    "EXCLUDE_INTERFACES",
    "INBOUND_",
    "INVALID_DROP",
    "ISTIO_",
    "KUBE_VIRT_",
    "PROXY_UID",
    "PROXY_GID",
)


_BOTH: Final[tuple[Family, ...]] = ("ipv4", "ipv6")


def _families(settings: Settings) -> tuple[Family, ...]:
    return _BOTH if settings.ipv6 else ("ipv4",)
