"""Probes and hooks that kubelet asks while there is no agent, for every kind of container."""

from itertools import product
from typing import Any

import pytest

from lab.mesh import contract
from lab.mesh.injector import early_checks, inject, probes, uninject
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Owner, Settings

ACTIONS: dict[str, dict[str, Any]] = {
    "httpGet": {"httpGet": {"path": "/", "port": 8080}},
    "tcpSocket": {"tcpSocket": {"port": 8080}},
    "grpc": {"grpc": {"port": 8080}},
    "exec": {"exec": {"command": ["true"]}},
}
KINDS = ("app", "sidecar", "init")
MODES = ("classic", "hold", "no hold", "native")


def checked(key: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A container with one check."""
    check = {key: action} if key in probes.PATHS else {"lifecycle": {key: action}}
    return {"name": "one", "image": "x", **check, **more}


def pod(kind: str, one: dict[str, Any], **annotations: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "app", "image": "x"}]}
    if kind == "app":
        spec["containers"] = [one]
    else:
        stays = {"restartPolicy": "Always"} if kind == "sidecar" else {}
        spec["initContainers"] = [{**one, **stays}]
    return {"metadata": {"annotations": annotations}, "spec": spec}


def annotations(mode: str) -> dict[str, str]:
    hold = {names.PROXY_CONFIG: "holdApplicationUntilProxyStarts: %s"}
    return {
        "classic": {},
        "hold": {names.PROXY_CONFIG: hold[names.PROXY_CONFIG] % "true"},
        "no hold": {names.PROXY_CONFIG: hold[names.PROXY_CONFIG] % "false"},
        "native": {names.NATIVE_SIDECAR: "true"},
    }[mode]


def injected(template: dict[str, Any]) -> inject.Injected:
    return inject.inject(template, "d", Owner("w"), Settings())


def containers(made: Any) -> list[dict[str, Any]]:
    """In the order in which kubelet starts them."""
    return [*made["spec"].get("initContainers", []), *made["spec"]["containers"]]


def named(made: Any, name: str) -> dict[str, Any]:
    return next(one for one in containers(made) if one["name"] == name)


def is_spared(made: Any) -> bool:
    command = named(made, contract.INIT_CONTAINER)["command"]
    return "8080" in command[command.index("-d") + 1].split(",")


@pytest.mark.parametrize(
    ("kind", "mode", "key", "action"),
    list(product(KINDS, MODES, (*probes.PATHS, *probes.HOOKS), ACTIONS)),
)
def test_what_kubelet_asks_has_somebody_to_answer(
    kind: str, mode: str, key: str, action: str
) -> None:
    one = checked(key, ACTIONS[action])
    template = pod(kind, one, **annotations(mode))
    made = injected(template)
    found = named(made.template, "one")
    check = found[key] if key in probes.PATHS else found["lifecycle"][key]
    handed = check != ACTIONS[action]
    order = [each["name"] for each in containers(made.template)]
    after_the_proxy = order.index("one") > order.index(contract.PROXY_CONTAINER)

    asks = action != "exec" and kind != "init" and (key in probes.PATHS or action == "httpGet")
    if not asks:
        # kubelet runs it itself, or the API server refuses it in the user's own words.
        assert not handed
        assert not is_spared(made.template)
    elif handed:
        # The agent is there, or the check may wait for it.
        later = key in ("readinessProbe", "preStop")
        patient = kind == "app" and key in early_checks.DEADLY
        assert after_the_proxy or later or patient
    else:
        assert is_spared(made.template)
        assert made.warnings == (
            "port 8080 is not captured: kubelet checks container one on it while no proxy can run",
        )
    assert uninject.strip(made.template)["spec"] == template["spec"]
    assert injected(dict(made.template)).template == made.template


def test_a_hook_before_the_next_container_starts_has_the_proxy_ready_before() -> None:
    made = injected(pod("app", checked("postStart", ACTIONS["httpGet"]))).template
    assert [one["name"] for one in made["spec"]["containers"]] == [contract.PROXY_CONTAINER, "one"]
    hook = named(made, contract.PROXY_CONTAINER)["lifecycle"]["postStart"]
    assert hook["exec"]["command"] == ["pilot-agent", "wait"]


@pytest.mark.parametrize(
    ("more", "others", "first"),
    [
        ({}, 0, False),
        ({}, 1, True),
        ({"failureThreshold": 1}, 0, True),
        ({"periodSeconds": 1}, 0, True),
        ({"periodSeconds": 1, "initialDelaySeconds": 30}, 0, False),
        ({"periodSeconds": None, "failureThreshold": None}, 0, False),
    ],
)
def test_the_proxy_comes_first_where_a_probe_would_lose_its_patience(
    more: dict[str, Any], others: int, first: bool
) -> None:
    probe = {**ACTIONS["httpGet"], **more}
    template = pod("app", checked("startupProbe", probe))
    template["spec"]["containers"] += [{"name": f"more-{n}", "image": "x"} for n in range(others)]
    made = injected(template).template
    names_ = [one["name"] for one in made["spec"]["containers"]]
    assert names_.index(contract.PROXY_CONTAINER) == (0 if first else len(names_) - 1)
    assert "lifecycle" not in named(made, contract.PROXY_CONTAINER)


@pytest.mark.parametrize(
    ("given", "left"), [("*", "*"), ("8080", ""), ("80, 8080,443", "80,443"), ("", "")]
)
def test_a_spared_port_is_not_among_those_that_are_captured(given: str, left: str) -> None:
    asked = {names.INCLUDE_INBOUND_PORTS: given}
    made = injected(pod("sidecar", checked("livenessProbe", ACTIONS["httpGet"]), **asked)).template
    command = named(made, contract.INIT_CONTAINER)["command"]
    assert command[command.index("-b") + 1].replace(" ", "") == left


def test_whoever_does_not_want_probes_rewritten_keeps_order_and_ports() -> None:
    off = {names.REWRITE_PROBES: "false"}
    for kind, key in (("sidecar", "startupProbe"), ("app", "postStart")):
        made = injected(pod(kind, checked(key, ACTIONS["httpGet"]), **off))
        assert made.template["spec"]["containers"][-1]["name"] == contract.PROXY_CONTAINER
        assert not is_spared(made.template)
        assert not made.warnings
