"""Finds why a webhook that matches a pod does not answer, or refuses the pod. Pure.

The Service and its endpoints are checked before the API server's message is read, because the
message about a Service without endpoints differs from one cluster's network to another.
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
_OPAQUE: Final = "the call of the webhook failed, and the API server ignored the failure"


def called(situation: Situation) -> Finding | None:
    """Returns what goes wrong when a matching webhook is called, None if nothing is known."""
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
    """Returns the finding about the webhook's Service, endpoints or configuration, else None."""
    for entry in _concerned(situation, trial):
        service = situation.services.get(entry.service) if entry.service else None
        blocks_creation = not entry.ignores_failure
        same = tuple(
            candidate for candidate in situation.entries or () if candidate.service == entry.service
        )
        if service is None:
            continue
        where = f"Service {service.namespace}/{service.name}"
        if not service.exists:
            sentence = f"the webhook cannot be called: there is no {where}"
            change = changes.reinstall(situation)
            return _unreachable(Cause.WEBHOOK_UNREACHABLE, sentence, entry, change, blocks_creation)
        if entry.port not in service.ready:
            has = ", ".join(str(port.number) for port in service.ports)
            sentence = f"the webhook is called on port {entry.port}; {where} has the ports {has}"
            change = changes.call_port(situation, _on_port(same, entry), service)
            return _unreachable(Cause.WEBHOOK_PORT, sentence, entry, change, blocks_creation)
        if not service.ready[entry.port]:
            sentence = f"the webhook cannot be called: {where} has no ready pod"
            change = changes.start_pods(situation, service)
            return _unreachable(Cause.WEBHOOK_UNREACHABLE, sentence, entry, change, blocks_creation)
        if wrong := changes.target_port(situation, service, entry.port):
            sentence = f"{where} points to a port on which the webhook's container does not listen"
            return _unreachable(Cause.WEBHOOK_PORT, sentence, entry, wrong, blocks_creation)
        if _PEM not in entry.authority and (trial is None or trial.outcome != "untried"):
            sentence = f"the caBundle of {entry.name} holds no certificate"
            change = changes.trust(situation, same, service)
            return _unreachable(Cause.CA_BUNDLE, sentence, entry, change, blocks_creation, "trust")
    return None


def _on_port(entries: Sequence[Entry], like: Entry) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.port == like.port)


def _concerned(situation: Situation, trial: Trial | None) -> tuple[Entry, ...]:
    named = tuple(entry for entry in situation.matching if trial and entry.name == trial.webhook)
    return named or situation.matching


def _unreachable(
    cause: Cause,
    sentence: str,
    entry: Entry,
    change: Change,
    blocks_creation: bool,
    line: str = "reachable",
) -> Finding:
    return Finding(cause, line, f"{sentence}; {policy(entry)}", change, blocks_creation)


def policy(entry: Entry) -> str:
    """Returns the entry's failurePolicy, and what it means for a pod if the call fails."""
    if entry.ignores_failure:
        return "failurePolicy Ignore: the pod starts without a sidecar"
    return "failurePolicy Fail: no pod can be created"


def _by_words(situation: Situation, trial: Trial | None) -> Finding | None:
    """Returns the finding that the API server's answer to the dry run shows.

    Without a dry run, the workload's events are read. Returns None if they show no known cause.
    """
    if trial is None or trial.outcome == "untried":
        return _by_events(situation)
    if trial.outcome == "plain":
        return _plain(situation, trial)
    if trial.webhook not in {entry.name for entry in situation.entries or ()}:
        sentence = f"another webhook, {trial.webhook}, cannot be called: {trial.message}"
        return Finding(Cause.REFUSED_ELSEWHERE, "created", sentence, _other(), refused=True)
    return worded(situation, trial)


def worded(situation: Situation, trial: Trial) -> Finding:
    """Returns the finding that the API server's message about a failed webhook call shows."""
    entry = next(
        candidate for candidate in situation.entries or () if candidate.name == trial.webhook
    )
    service = situation.services.get(entry.service) if entry.service else None
    same = tuple(
        candidate for candidate in situation.entries or () if candidate.service == entry.service
    )
    words = trial.message
    blocks_creation = not entry.ignores_failure
    line = "trust"
    change: Change
    if _EXPIRED.search(words):
        cause, change = Cause.CERTIFICATE_EXPIRED, changes.renew_certificate(situation, service)
        sentence = f"the webhook's certificate has expired ({_tail(words)})"
    elif _WRONG_NAME.search(words):
        cause, change = Cause.CERTIFICATE_NAME, changes.renew_certificate(situation, service)
        sentence = f"the webhook serves a certificate for other names ({_tail(words)})"
    elif _UNTRUSTED.search(words):
        cause, change = Cause.CA_BUNDLE, changes.trust(situation, same, service)
        sentence = f"the caBundle of {entry.name} does not verify the webhook ({_tail(words)})"
    elif _NOT_FOUND.search(words):
        cause, line = Cause.WEBHOOK_PATH, "reachable"
        change = changes.call_path(situation, same, contract.WEBHOOK_PATH)
        sentence = f"the webhook does not serve the path {entry.path or '/'}"
    elif _SERVER.search(words):
        cause, line, change = Cause.WEBHOOK_ERROR, "reachable", _logs(situation, service)
        sentence = f"the webhook was reached and failed ({_tail(words)})"
    else:
        cause, line = Cause.WEBHOOK_UNREACHABLE, "reachable"
        change = _reach(situation, service)
        sentence = f"the webhook cannot be called ({_tail(words)})"
    return _unreachable(cause, sentence, entry, change, blocks_creation, line)


def _tail(words: str) -> str:
    """Returns the API server's message without the method and URL at its beginning."""
    return re.sub(r'^(?:Post|Get) "[^"]*": ', "", words)[:300]


def _reach(situation: Situation, service: Service | None) -> Change:
    return changes.start_pods(situation, service) if service else _logs(situation, service)


def _logs(situation: Situation, service: Service | None) -> Change:
    workload = service.workload if service else None
    if service is None or workload is None:
        return Advice("find where the webhook runs, and read its log: it names the reason")
    line = kubectl(
        situation, "-n", service.namespace, "logs", f"deployment/{workload.name}", "--tail=20"
    )
    return Advice("read the webhook's log: it names the reason", lines=(line,))


def _plain(situation: Situation, trial: Trial) -> Finding:
    """Returns the finding about a pod that came back from the dry run without a sidecar.

    A webhook entry matches this pod.
    """
    for entry in situation.matching:
        service = situation.services.get(entry.service) if entry.service else None
        if not entry.ignores_failure:
            continue
        same = tuple(
            candidate for candidate in situation.entries or () if candidate.service == entry.service
        )
        if service and service.root and not _shares(entry.authority, service.root):
            sentence = f"the caBundle of {entry.name} is not the root that the mesh publishes"
            change = changes.trust(situation, same, service)
            return _unreachable(Cause.CA_BUNDLE, sentence, entry, change, False, "trust")
        sentence = (
            _OPAQUE
            if trial.passed_over
            else "the webhook did not answer, or answered without a change"
        )
        change = _logs(situation, service)
        return _unreachable(Cause.WEBHOOK_MISSED, sentence, entry, change, False)
    entry = situation.matching[0]
    service = situation.services.get(entry.service) if entry.service else None
    sentence = f"{entry.name} was called and answered without a sidecar"
    return Finding(Cause.UNEXPLAINED, "created", sentence, _logs(situation, service))


def _shares(bundle: str, root: str) -> bool:
    """Returns whether two PEM texts have a certificate in common."""
    return bool(_blocks(bundle) & _blocks(root))


def _blocks(pem: str) -> set[str]:
    return {"".join(part.split("-----")[0].split()) for part in pem.split(_PEM)[1:]}


def _by_events(situation: Situation) -> Finding | None:
    """Searches the workload's FailedCreate events for a known cause, the newest event first.

    Returns the first finding, None if no event shows a known cause.
    """
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
        sentence = f"another webhook, {trial.webhook}, refuses the pod: {trial.message}"
        return Finding(Cause.REFUSED_ELSEWHERE, "created", sentence, _other(), refused=True)
    named = [name for name in (*annotations.RULES, *subject.annotations) if name in trial.message]
    mine = [name for name in named if name in subject.annotations]
    if mine:
        # Take the longest name, because one annotation's name may be the beginning of another's.
        return refused_annotation(subject, max(mine, key=len), trial.message)
    sentence = f"the injector refuses the pod: {trial.message}"
    change = Advice("change the pod as the injector's message says")
    return Finding(Cause.INJECTOR_REFUSES, "annotations", sentence, change, refused=True)


def _other() -> Change:
    return Advice("ask the owner of that webhook: the cause is not sidecar injection")


def _rejected(situation: Situation, trial: Trial) -> Finding:
    if (finding := limits.broken(situation, trial)) is not None:
        return finding
    if _SECURITY.search(trial.message):
        sentence = f"Pod Security refuses the pod with its sidecar: {trial.message}"
        key = "pod-security.kubernetes.io/enforce"
        change: Change = LabelNamespace({key: "privileged"})
        return Finding(Cause.POD_SECURITY, "created", sentence, change, refused=True)
    sentence = f"the API server refuses the pod: {trial.message}"
    change = Advice("change the pod as the API server's message says")
    return Finding(Cause.REFUSED_ELSEWHERE, "created", sentence, change, refused=True)
