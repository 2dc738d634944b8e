"""Configuration that Envoy refused and still lacks. Pure."""

import re
from typing import Final

from lab.explain.changes.pod import Advice
from lab.explain.findings import proxy_log
from lab.explain.findings.causes import Cause, Finding
from lab.explain.findings.proxy_log import Rejection
from lab.explain.situation import Situation
from lab.explain.symptoms import Symptoms, clean
from lab.mesh import contract

LINE: Final = "works"
_HOST: Final = re.compile(r"outbound(?:_\.|\|)\d+(?:_\._|\|)[^|]*?(?:_\._|\|)(?P<host>[\w.-]+)")
_SHOWN: Final = 3


def configuration(situation: Situation) -> Finding | None:
    """The last refusal that no later success has mended."""
    seen = situation.symptoms
    if seen is None:
        return None
    found = proxy_log.rejections(seen.said(contract.PROXY_CONTAINER))
    if not found and not seen.ready:
        # Envoy's log may be off; what it refused it has told discovery.
        found = proxy_log.told_discovery(seen.said("discovery"), situation.subject.name)
    lacking = [(one, names) for one in found if (names := _lacking(one, seen)) is not None]
    if not lacking:
        return None
    one, names = lacking[-1]
    say = f"Envoy refused {_resource(one, names)}: {one.why}{_whose(one, seen)}"
    say += "; it goes on with what it had before" if seen.ready else "; it is not ready without"
    if len(lacking) > 1:
        others = ", ".join(_resource(each, every) for each, every in lacking[:-1])
        say += f" (and {clean(others, 200)})"
    advice = Advice("mend what that is made from: the Service, its endpoints or its configuration")
    return Finding(Cause.CONFIGURATION_REFUSED, LINE, say, advice)


def _lacking(one: Rejection, seen: Symptoms) -> tuple[str, ...] | None:
    """Names of what Envoy still lacks (() where they are not known); None where it has it now."""
    told = [each for each in seen.updates or () if each.kind == one.kind]
    if not told or one.time is None:
        return ()
    late = [each for each in told if each.time < one.time]
    if one.kind in ("listener", "cluster"):
        return () if late else None
    refused = tuple(each.name for each in late if each.rejected)
    return refused or None


def _resource(one: Rejection, names: tuple[str, ...]) -> str:
    if one.name:
        host = _HOST.match(one.name)
        about = f" (of {host['host']})" if host else ""
        return f"{one.kind} {one.name}{about}"
    plural = {"endpoints": "the endpoints", "secret": "a secret"}.get(one.kind, f"a {one.kind}")
    if not names:
        return plural
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{plural} of {shown}{more}"


def _whose(one: Rejection, seen: Symptoms) -> str:
    for text, holder in seen.holders.items():
        if text in one.why:
            return f" ({text} stands in {holder})"
    return ""


_SUSPECT: Final = re.compile(r"malformed IP address: (?P<address>[^\s]+?)\.?(?:\s|$)")


def suspects(log: str) -> tuple[str, ...]:
    """Addresses that Envoy complains of, to be looked for in the cluster; few."""
    found = [match["address"] for one in proxy_log.rejections(log)
             if (match := _SUSPECT.search(one.why))]  # fmt: skip
    return tuple(dict.fromkeys(found))[:_SHOWN]
