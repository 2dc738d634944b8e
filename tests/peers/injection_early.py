"""Where probes and hooks rightly go elsewhere than with Istio: so that the pod works as it does
without a sidecar (`lab/mesh/injector/early_checks.py` says when)."""

from typing import Any, Final

from tests.peers.injection_rows import Row, both, kind, only_ours, pair
from tests.peers.meaning import ABSENT, Difference

WAIT: Final = {"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}}


def _checks(difference: Difference, group: str) -> list[dict[str, Any]]:
    """Probes and hooks of the pod's containers as they were given."""
    return [
        check
        for one in difference.given["spec"].get(group) or ()
        for holder, keys in (
            (one, ("startupProbe", "livenessProbe")),
            (one.get("lifecycle") or {}, ("postStart", "preStop")),
        )
        for key in keys
        if (check := holder.get(key))
    ]


def _asks_early(difference: Difference) -> bool:
    """A container has what ends it by failing, over the network."""
    return any("exec" not in check for check in _checks(difference, "containers"))


def _holds(difference: Difference) -> bool:
    """A container has a hook after its start that is asked over HTTP."""
    containers = difference.given["spec"]["containers"]
    return any("httpGet" in (one.get("lifecycle") or {}).get("postStart", {}) for one in containers)


def _first(difference: Difference) -> bool:
    """The same containers, of which ours has the proxy first."""
    ours, theirs = difference.ours, difference.theirs
    return bool(ours == ["istio-proxy", *(one for one in theirs if one != "istio-proxy")])


def _of_tcp_hooks(difference: Difference) -> bool:
    """Ours has left a TCP hook as it was; Istio's asks its agent."""
    hooks = _checks(difference, "containers")
    return bool(hooks) and all("tcpSocket" in hook for hook in hooks)


def _of_a_sidecar(difference: Difference) -> bool:
    """The one check of an init container that stays."""
    checks = _checks(difference, "initContainers")
    return bool(checks) and difference.ours in (ABSENT, checks[0].get("tcpSocket"))


ROWS: Final = (
    Row(
        "the proxy first, where kubelet asks early",
        r"pod\.spec\.order of containers",
        "kubelet starts containers one after another; a probe that ends its container, or a hook "
        "that is waited for, would be asked of an agent that is yet to start",
        both(kind("Pod"), _first, _asks_early),
    ),
    Row(
        "the proxy is waited for, where a container has a hook after its start",
        r"PROXY\.lifecycle",
        "kubelet runs the hook at once, and ends the container when nobody answers",
        both(only_ours(WAIT), kind("Pod"), _holds),
    ),
    Row(
        "TCP hooks",
        r"pod\.spec\.containers\.app\.lifecycle\.\w+\.(httpGet|tcpSocket)"
        r"|PROXY\.env\.ISTIO_KUBE_APP_PROBERS",
        "kubelet knows no TCP hook and fails it; Istio's agent would make it succeed",
        both(kind("Pod"), _of_tcp_hooks),
    ),
    Row(
        "checks of a native sidecar beside a classic proxy",
        r"pod\.spec\.initContainers\.log\.startupProbe\.(httpGet|tcpSocket)"
        r"|PROXY\.env\.ISTIO_KUBE_APP_PROBERS",
        "it has to start before the agent exists: with Istio the pod never does",
        both(kind("Pod"), _of_a_sidecar),
    ),
    Row(
        "the port of a native sidecar's checks",
        r"INIT\.iptables\.-d",
        "kubelet asks there while the rules are made and no proxy runs",
        pair(["15020", "15021", "15090", "8080"], ["15020", "15021", "15090"]),
    ),
)
