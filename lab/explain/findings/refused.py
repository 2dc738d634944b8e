"""Finds configuration that Envoy refused and has not received in a valid form since. Pure."""

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
    """Returns the finding about the last refusal after which no update succeeded, else None."""
    symptoms = situation.symptoms
    if symptoms is None:
        return None
    refusals = proxy_log.rejections(symptoms.log(contract.PROXY_CONTAINER))
    if not refusals and not symptoms.ready:
        # Envoy's log may be off, but Envoy also reports its refusals to discovery.
        refusals = proxy_log.reported_to_discovery(
            symptoms.log("discovery"), situation.subject.name
        )
    lacking = [
        (rejection, names)
        for rejection in refusals
        if (names := _lacking(rejection, symptoms)) is not None
    ]
    if not lacking:
        return None
    rejection, names = lacking[-1]
    sentence = (
        f"Envoy refused {_resource(rejection, names)}: {rejection.why}{_whose(rejection, symptoms)}"
    )
    kept = "Envoy keeps its previous configuration"
    sentence += f"; {kept}" if symptoms.ready else "; without it, the sidecar is not ready"
    if len(lacking) > 1:
        others = ", ".join(
            _resource(earlier, earlier_names) for earlier, earlier_names in lacking[:-1]
        )
        sentence += f" (and {clean(others, 200)})"
    advice = Advice(
        "correct the source of the refused part: a Service, its endpoints or its configuration"
    )
    return Finding(Cause.CONFIGURATION_REFUSED, LINE, sentence, advice)


def _lacking(rejection: Rejection, symptoms: Symptoms) -> tuple[str, ...] | None:
    """Returns the names of the resources that Envoy refused and has not received since.

    Returns () if Envoy lacks resources whose names are not known, and None if Envoy has accepted an
    update since the refusal.
    """
    subscriptions = [update for update in symptoms.updates or () if update.kind == rejection.kind]
    if not subscriptions or rejection.time is None:
        return ()
    late = [update for update in subscriptions if update.time < rejection.time]
    if rejection.kind in ("listener", "cluster"):
        return () if late else None
    refused = tuple(update.name for update in late if update.rejected)
    return refused or None


def _resource(rejection: Rejection, names: tuple[str, ...]) -> str:
    if rejection.name:
        host = _HOST.match(rejection.name)
        about = f" (of {host['host']})" if host else ""
        return f"{rejection.kind} {rejection.name}{about}"
    plural = {"endpoints": "the endpoints", "secret": "a secret"}.get(
        rejection.kind, f"a {rejection.kind}"
    )
    if not names:
        return plural
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{plural} of {shown}{more}"


def _whose(rejection: Rejection, symptoms: Symptoms) -> str:
    for text, holder in symptoms.holders.items():
        if text in rejection.why:
            return f" ({text} is in {holder})"
    return ""


_SUSPECT: Final = re.compile(r"malformed IP address: (?P<address>[^\s]+?)\.?(?:\s|$)")


def suspects(log: str) -> tuple[str, ...]:
    """Returns up to _SHOWN malformed addresses that Envoy refused, to search for their source."""
    addresses = [match["address"] for rejection in proxy_log.rejections(log)
             if (match := _SUSPECT.search(rejection.why))]  # fmt: skip
    return tuple(dict.fromkeys(addresses))[:_SHOWN]
