"""Why a webhook that ought to be called does not answer, or says no. Pure.

The Service and its endpoints are judged before the API server's words: what it meets when
nothing stands behind a Service differs with the network around the cluster.
"""

import re
from collections.abc import Sequence
from typing import Final

from lab.explain.changes import webhook as changes
from lab.explain.changes.pod import Advice, Change, LabelNamespace, kubectl
from lab.explain.findings import limits
from lab.explain.findings.causes import Cause, Finding
from lab.explain.findings.pod import refused, refused_annotation
from lab.explain.situation import Entry, Service, Situation, Trial
from lab.mesh import contract
from lab.mesh.injector.settings import annotations

_PEM: Final = "-----BEGIN CERTIFICATE-----"
_NOT_FOUND: Final = re.compile(r"could not find the requested resource|404")
_EXPIRED: Final = re.compile(r"has expired or is not yet valid")
_WRONG_NAME: Final = re.compile(r"certificate is valid for|not valid for any names|Common Name")
_UNTRUSTED: Final = re.compile(r"x509|unable to load root|certificate signed by|PEM block|tls:")
_SERVER: Final = re.compile(r"Internal Server Error|an error on the server|EOF|invalid character")
_SECURITY: Final = re.compile(r"violates PodSecurity")
_OPAQUE: Final = "the call failed and was passed over"


def called(situation: Situation) -> Finding | None:
    """What goes wrong once an entry matches; None when nothing is known to."""
    entries, trial = situation.matching, situation.trial
    if not entries or (trial is not None and trial.outcome == "injected"):
        return None
    if trial is not None and trial.outcome == "refused":
        return _refused(situation, trial)
    bad = refused(situation)
    if bad is not None and (trial is None or trial.outcome != "plain"):
        return bad
    if trial is None or trial.outcome in ("failed", "plain", "untried"):
        return _by_facts(situation, trial) or _by_words(situation, trial)
    return _rejected(situation, trial)


def _by_facts(situation: Situation, trial: Trial | None) -> Finding | None:
    """What the webhook's Service, its endpoints and the configuration show by themselves."""
    for entry in _concerned(situation, trial):
        service = situation.services.get(entry.service) if entry.service else None
        refused = not entry.ignores_failure
        same = tuple(
            candidate for candidate in situation.entries or () if candidate.service == entry.service
        )
        if service is None:
            continue
        where = f"Service {service.namespace}/{service.name}"
        if not service.exists:
            say = f"the webhook cannot be called: there is no {where}"
            change = changes.reinstall(situation)
            return _unreachable(Cause.WEBHOOK_UNREACHABLE, say, entry, change, refused)
        if entry.port not in service.ready:
            has = ", ".join(str(port.number) for port in service.ports)
            say = f"the webhook is called on port {entry.port}; {where} has {has}"
            change = changes.call_port(situation, _on_port(same, entry), service)
            return _unreachable(Cause.WEBHOOK_PORT, say, entry, change, refused)
        if not service.ready[entry.port]:
            say = f"the webhook cannot be called: no ready pod stands behind {where}"
            change = changes.start_pods(situation, service)
            return _unreachable(Cause.WEBHOOK_UNREACHABLE, say, entry, change, refused)
        if wrong := changes.target_port(situation, service, entry.port):
            say = f"{where} leads to a port that the webhook's container does not listen on"
            return _unreachable(Cause.WEBHOOK_PORT, say, entry, wrong, refused)
        if _PEM not in entry.authority and (trial is None or trial.outcome != "untried"):
            say = f"the caBundle of {entry.name} holds no certificate"
            change = changes.trust(situation, same, service)
            return _unreachable(Cause.CA_BUNDLE, say, entry, change, refused, "trust")
    return None


def _on_port(entries: Sequence[Entry], like: Entry) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.port == like.port)


def _concerned(situation: Situation, trial: Trial | None) -> tuple[Entry, ...]:
    named = tuple(entry for entry in situation.matching if trial and entry.name == trial.webhook)
    return named or situation.matching


def _unreachable(
    cause: Cause, say: str, entry: Entry, change: Change, refused: bool, line: str = "reachable"
) -> Finding:
    return Finding(cause, line, f"{say}; {policy(entry)}", change, refused)


def policy(entry: Entry) -> str:
    """What the entry's failure policy makes of a call that fails."""
    if entry.ignores_failure:
        return "failurePolicy Ignore: the pod starts without a sidecar"
    return "failurePolicy Fail: no pod can be created"


def _by_words(situation: Situation, trial: Trial | None) -> Finding | None:
    """What the API server says; where it only counted a failure, what else tells it."""
    if trial is None or trial.outcome == "untried":
        return _by_events(situation)
    if trial.outcome == "plain":
        return _plain(situation, trial)
    if trial.webhook not in {entry.name for entry in situation.entries or ()}:
        say = f"another webhook, {trial.webhook}, cannot be called: {trial.message}"
        return Finding(Cause.REFUSED_ELSEWHERE, "created", say, _other(), refused=True)
    return worded(situation, trial)


def worded(situation: Situation, trial: Trial) -> Finding:
    """The cause behind the API server's words about a call that failed."""
    entry = next(
        candidate for candidate in situation.entries or () if candidate.name == trial.webhook
    )
    service = situation.services.get(entry.service) if entry.service else None
    same = tuple(
        candidate for candidate in situation.entries or () if candidate.service == entry.service
    )
    words = trial.message
    refused = not entry.ignores_failure
    line = "trust"
    change: Change
    if _EXPIRED.search(words):
        cause, change = Cause.CERTIFICATE_EXPIRED, changes.renew_certificate(situation, service)
        say = f"the webhook's certificate has expired ({_tail(words)})"
    elif _WRONG_NAME.search(words):
        cause, change = Cause.CERTIFICATE_NAME, changes.renew_certificate(situation, service)
        say = f"the webhook serves a certificate for other names ({_tail(words)})"
    elif _UNTRUSTED.search(words):
        cause, change = Cause.CA_BUNDLE, changes.trust(situation, same, service)
        say = f"the caBundle of {entry.name} does not vouch for the webhook ({_tail(words)})"
    elif _NOT_FOUND.search(words):
        cause, line = Cause.WEBHOOK_PATH, "reachable"
        change = changes.call_path(situation, same, contract.WEBHOOK_PATH)
        say = f"the webhook does not serve the path {entry.path or '/'}"
    elif _SERVER.search(words):
        cause, line, change = Cause.WEBHOOK_ERROR, "reachable", _logs(situation, service)
        say = f"the webhook was reached and failed ({_tail(words)})"
    else:
        cause, line = Cause.WEBHOOK_UNREACHABLE, "reachable"
        change = _reach(situation, service)
        say = f"the webhook cannot be called ({_tail(words)})"
    return _unreachable(cause, say, entry, change, refused, line)


def _tail(words: str) -> str:
    """The message without the URL that it begins with."""
    return re.sub(r'^(?:Post|Get) "[^"]*": ', "", words)[:300]


def _reach(situation: Situation, service: Service | None) -> Change:
    return changes.start_pods(situation, service) if service else _logs(situation, service)


def _logs(situation: Situation, service: Service | None) -> Change:
    workload = service.workload if service else None
    if service is None or workload is None:
        return Advice("look at the webhook where it runs: its log says why")
    line = kubectl(
        situation, "-n", service.namespace, "logs", f"deployment/{workload.name}", "--tail=20"
    )
    return Advice("its log says why", lines=(line,))


def _plain(situation: Situation, trial: Trial) -> Finding:
    """An entry matches, the injector would say yes, and yet no sidecar came."""
    for entry in situation.matching:
        service = situation.services.get(entry.service) if entry.service else None
        if not entry.ignores_failure:
            continue
        same = tuple(
            candidate for candidate in situation.entries or () if candidate.service == entry.service
        )
        if service and service.root and not _shares(entry.authority, service.root):
            say = f"the caBundle of {entry.name} is not the root that the mesh publishes"
            change = changes.trust(situation, same, service)
            return _unreachable(Cause.CA_BUNDLE, say, entry, change, False, "trust")
        say = _OPAQUE if trial.passed_over else "the webhook was passed over or answered nothing"
        change = _logs(situation, service)
        return _unreachable(Cause.WEBHOOK_MISSED, say, entry, change, False)
    entry = situation.matching[0]
    service = situation.services.get(entry.service) if entry.service else None
    say = f"{entry.name} was called and answered without a sidecar"
    return Finding(Cause.UNEXPLAINED, "created", say, _logs(situation, service))


def _shares(bundle: str, root: str) -> bool:
    """Whether two PEM texts have a certificate in common."""
    return bool(_blocks(bundle) & _blocks(root))


def _blocks(pem: str) -> set[str]:
    return {"".join(part.split("-----")[0].split()) for part in pem.split(_PEM)[1:]}


def _by_events(situation: Situation) -> Finding | None:
    """What the workload's FailedCreate events say, where no dry run could be made."""
    from lab.explain import dry_run as answers

    for message in reversed(situation.refusals):
        past = answers.read(500, {"message": message})
        if past.outcome == "refused":
            return _refused(situation, past)
        if past.outcome == "rejected" and (finding := limits.broken(situation, past)):
            return finding
        if past.outcome == "failed" and past.webhook in {
            entry.name for entry in situation.matching
        }:
            return worded(situation, past)
    return None


def _refused(situation: Situation, trial: Trial) -> Finding:
    subject = situation.subject
    if trial.webhook not in {entry.name for entry in situation.entries or ()}:
        say = f"another webhook, {trial.webhook}, refuses the pod: {trial.message}"
        return Finding(Cause.REFUSED_ELSEWHERE, "created", say, _other(), refused=True)
    named = [name for name in (*annotations.RULES, *subject.annotations) if name in trial.message]
    mine = [name for name in named if name in subject.annotations]
    if mine:
        # The longest: one annotation's name may begin another's.
        return refused_annotation(subject, max(mine, key=len), trial.message)
    say = f"the injector refuses the pod: {trial.message}"
    change = Advice("change the pod as the injector's message says")
    return Finding(Cause.INJECTOR_REFUSES, "annotations", say, change, refused=True)


def _other() -> Change:
    return Advice("this is no matter of sidecar injection: mend or ask the owner of that webhook")


def _rejected(situation: Situation, trial: Trial) -> Finding:
    if (finding := limits.broken(situation, trial)) is not None:
        return finding
    if _SECURITY.search(trial.message):
        say = f"Pod Security refuses the pod with its sidecar: {trial.message}"
        key = "pod-security.kubernetes.io/enforce"
        change: Change = LabelNamespace({key: "privileged"})
        return Finding(Cause.POD_SECURITY, "created", say, change, refused=True)
    say = f"the API server refuses the pod: {trial.message}"
    change = Advice("change the pod as the API server's message says")
    return Finding(Cause.REFUSED_ELSEWHERE, "created", say, change, refused=True)
