"""`lab explain` on set-ups broken on purpose: the cause, the deciding line, a change that mends.

Each is made on the running lab, explained by the command itself, mended by the commands that it
prints, and then has a sidecar. SIDECAR_LAB_NAME names another lab than the default one.
"""

import base64
import datetime
import json
from collections.abc import Iterator

import pytest

from lab.mesh import contract
from lab.mesh.trust import x509
from lab.scenario.lab_access import LabAccess
from tests.live.explained import (
    CONFIGURATION,
    Space,
    deployment,
    injector,
    mesh_of,
    opened,
    own_configuration,
    pod_spec,
    space_of,
    stopped_webhook,
)

pytestmark = pytest.mark.live
INJECT = contract.INJECT_POD_LABEL
ON = f"{contract.INJECTION_LABEL}=enabled"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabAccess]:
    yield from opened()


@pytest.fixture
def space(lab: LabAccess) -> Iterator[Space]:
    yield from space_of(lab)


def mended(space: Space, cause: str, line: str, *, refused: bool = False) -> None:
    """The template's explanation names cause and line; its commands mend it."""
    told = space.template()
    assert (told.cause, told.deciding, told.code) == (cause, (line, "no"), 1)
    assert told.verdict == ("cannot be created" if refused else "would not be injected")
    space.mend(told)
    space.wait_injected()
    assert {one.code for one in space.explain("deploy/web")} == {0}


def test_a_namespace_without_the_label(space: Space) -> None:
    space.apply(deployment())
    (pod,) = space.wait_plain()
    (told,) = space.explain(f"{space.name}/{pod['metadata']['name']}")
    assert (told.cause, told.deciding) == ("namespace-unlabelled", ("namespaces", "no"))
    mended(space, "namespace-unlabelled", "namespaces")


@pytest.mark.parametrize(
    ("label", "cause"),
    [
        ("istio-injection=true", "namespace-label-value"),
        ("istio-injection=disabled", "namespace-declines"),
        ("istio-inject=enabled", "namespace-label-typo"),
        ("istio.io/rev=nowhere", "revision-unknown"),
    ],
)
def test_a_namespace_with_another_label(space: Space, label: str, cause: str) -> None:
    space.label(label)
    space.apply(deployment())
    space.wait_plain()
    mended(space, cause, "namespaces")


def test_both_kinds_of_label_on_the_namespace(space: Space) -> None:
    space.label("istio-injection=disabled", "istio.io/rev=default")
    space.apply(deployment())
    space.wait_plain()
    mended(space, "both-labels", "namespaces")


def test_a_pod_template_that_declines(space: Space) -> None:
    space.label(ON)
    space.apply(deployment({INJECT: "false"}))
    space.wait_plain()
    mended(space, "pod-declines", "objects")


@pytest.mark.parametrize("kind", ["labels", "annotations"])
def test_the_wish_on_the_deployment_instead_of_the_template(space: Space, kind: str) -> None:
    space.apply(deployment(own={kind: {INJECT: "true"}}))
    space.wait_plain()
    mended(space, "label-on-workload", "objects")


def test_the_wish_as_an_annotation_which_no_selector_sees(space: Space) -> None:
    space.apply(deployment(annotations={INJECT: "true"}))
    space.wait_plain()
    mended(space, "annotation-instead-of-label", "objects")


def test_a_pod_on_the_hosts_network(space: Space) -> None:
    space.label(ON)
    # Another command: port 80 of the node may be taken.
    container = {"name": "web", "image": contract.NGINX_IMAGE, "command": ["sleep", "3600"]}
    space.apply(deployment(spec={"hostNetwork": True, "containers": [container]}))
    space.wait_plain()
    mended(space, "host-network", "host-network")


def test_two_causes_at_once_give_two_changes(space: Space) -> None:
    space.apply(deployment({INJECT: "false"}))
    space.label("istio-injection=disabled")
    space.wait_plain()
    told = space.template()
    assert [one["cause"] for one in told.told["also"]] != []
    space.mend(told)
    space.wait_injected()


def test_a_namespace_that_is_never_injected(space: Space) -> None:
    name = space.name
    made = deployment()
    made["metadata"]["name"] = name
    made["spec"]["selector"] = {"matchLabels": {"app": name}}
    made["spec"]["template"]["metadata"]["labels"] = {"app": name}
    space.kubectl("-n", "kube-system", "apply", "-f", "-", stdin=made)
    try:
        (pod,) = space.wait_plain(f"app={name}", "kube-system")
        for what in (f"kube-system/{pod['metadata']['name']}", f"kube-system/deploy/{name}"):
            told = Space(space.lab, "kube-system").explain(what)[0]
            assert (told.cause, told.deciding) == ("ignored-namespace", ("ignored-namespace", "no"))
        space.mend(told)
        space.wait_injected(f"app={name}", "meshed-apps")
    finally:
        space.kubectl("-n", "kube-system", "delete", "deployment", name, "--wait=false")
        space.kubectl("delete", "namespace", "meshed-apps", "--ignore-not-found", "--wait=false")


def test_a_webhook_without_pods_and_failure_policy_fail(space: Space) -> None:
    space.label(ON)
    with stopped_webhook(space):
        space.apply(deployment())
        space.wait_refused()
        mended(space, "webhook-unreachable", "reachable", refused=True)


def test_a_webhook_without_pods_and_failure_policy_ignore(space: Space) -> None:
    space.label(f"istio-injection={space.name}")
    with own_configuration(space, {}, "Ignore"), stopped_webhook(space):
        space.apply(deployment())
        (pod,) = space.wait_plain()
        (told,) = space.explain(f"{space.name}/{pod['metadata']['name']}")
        assert (told.cause, told.deciding) == ("webhook-unreachable", ("reachable", "no"))
        assert "failurePolicy Ignore" in told.told["sentence"]
        told = space.template()
        assert told.cause == "webhook-unreachable"
        start = [one for one in told.commands if " scale " in one]
        assert len(start) == 1
        # The pods are made anew only when the webhook serves again: Ignore does not wait for it.
        space.mend(told)
        mesh = mesh_of(space)
        where = ("-n", mesh.control_namespace, f"deployment/{mesh.injector_deployment}")
        space.kubectl("rollout", "status", *where, "--timeout=60s")
        later = space.explain("deploy/web")[1]
        if later.code:
            space.mend(later)
        space.wait_injected()


def test_a_webhook_called_on_a_wrong_port(space: Space) -> None:
    space.label(f"istio-injection={space.name}")
    with own_configuration(space, {"service": {"port": 444}}, "Fail"):
        space.apply(deployment())
        space.wait_refused()
        mended(space, "webhook-port", "reachable", refused=True)


def test_a_webhook_called_by_a_wrong_path(space: Space) -> None:
    space.label(f"istio-injection={space.name}")
    with own_configuration(space, {"service": {"path": "/nowhere"}}, "Fail"):
        space.apply(deployment())
        space.wait_refused()
        told = space.template()
        assert told.cause == "webhook-path"
        space.mend(told)
        space.wait_injected()


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
def test_a_ca_bundle_of_another_authority(space: Space, policy: str) -> None:
    space.label(f"istio-injection={space.name}")
    with own_configuration(space, {"caBundle": stranger()}, policy):
        space.apply(deployment())
        if policy == "Fail":
            space.wait_refused()
            mended(space, "ca-bundle", "trust", refused=True)
            return
        space.wait_plain()
        told = space.template()
        assert (told.cause, told.deciding) == ("ca-bundle", ("trust", "no"))
        space.mend(told)
        space.wait_injected()


def test_a_pod_older_than_the_label(space: Space) -> None:
    space.apply(deployment())
    (pod,) = space.wait_plain()
    space.label(ON)
    template, old = space.explain("deploy/web")
    assert (template.verdict, old.verdict) == ("would be injected", "not injected")
    assert (old.cause, old.deciding) == ("pod-older", ("age", "no"))
    assert old.told["name"] == pod["metadata"]["name"]
    space.mend(old)
    space.wait_injected()
    assert {one.code for one in space.explain("deploy/web")} == {0}


def test_a_bare_pod_older_than_the_label_is_made_anew(space: Space) -> None:
    metadata = {"name": "web", "labels": {"app": "web"}}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec()}
    space.apply(made)
    space.wait_plain()
    space.label(ON)
    (told,) = space.explain(f"{space.name}/web")
    assert told.cause == "pod-older"
    space.mend(told)
    space.wait_injected()


def test_a_cluster_without_the_webhooks_configuration(space: Space) -> None:
    space.label(ON)
    kept = injector(space)
    for key in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
        kept["metadata"].pop(key, None)
    space.kubectl("delete", CONFIGURATION, kept["metadata"]["name"])
    try:
        space.apply(deployment())
        space.wait_plain()
        told = space.template()
        assert (told.cause, told.deciding) == ("no-webhook-configuration", ("configuration", "no"))
        assert told.commands[0].startswith("lab up")
        space.mend(told)
        space.wait_injected()
    finally:
        space.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=kept)


def test_a_bad_annotation_refuses_the_pod(space: Space) -> None:
    space.label(ON)
    bad = "traffic.sidecar.istio.io/excludeInboundPorts"
    space.apply(deployment(annotations={bad: "eighty"}))
    space.wait_refused()
    assert bad in space.template().told["sentence"]
    mended(space, "bad-annotation", "annotations", refused=True)


def test_without_a_dry_run_the_refusal_is_found_too(space: Space) -> None:
    space.label(ON)
    space.apply(deployment(annotations={"sidecar.istio.io/proxyCPU": "lots"}))
    space.wait_refused()
    told = space.explain("deploy/web", "--no-trial")[0]
    assert (told.cause, told.deciding) == ("bad-annotation", ("annotations", "no"))


def test_pod_security_refuses_what_the_rules_need(space: Space) -> None:
    space.label(ON, "pod-security.kubernetes.io/enforce=baseline")
    space.apply(deployment())
    space.wait_refused()
    mended(space, "pod-security", "created", refused=True)


def test_a_pod_that_asks_in_an_unlabelled_namespace(space: Space) -> None:
    space.apply(deployment({INJECT: "true"}))
    (pod,) = space.wait_injected()
    (told,) = space.explain(f"{space.name}/{pod['metadata']['name']}")
    assert (told.verdict, told.deciding, told.code) == ("injected", ("own-label", "yes"), 0)


def test_a_pod_injected_by_kube_inject(space: Space) -> None:
    lab = space.lab
    from lab.command import run

    plain = json.dumps(deployment())
    done = run(["lab", "kube-inject", "-f", "-"], stdin=plain, env=lab.variables(), timeout=60)
    space.apply(json.loads(done.stdout))
    (pod,) = space.wait_injected()
    (told,) = space.explain(f"{space.name}/{pod['metadata']['name']}")
    assert (told.verdict, told.code) == ("injected", 0)
    assert "before it reached the API server" in told.told["sentence"]


def test_warnings_of_what_is_injected(space: Space) -> None:
    space.label(ON)
    template = deployment()["spec"]["template"]
    template["spec"] |= {"restartPolicy": "Never", "securityContext": {"runAsUser": 1337}}
    claimed = {contract.STATUS_ANNOTATION: json.dumps({"containers": ["istio-proxy"]})}
    template["metadata"]["annotations"] = claimed
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"template": template},
    }
    told = space.explain("-", stdin=job)[0]
    assert (told.verdict, told.code) == ("would be injected", 0)
    for part in ("runs as 1337", "never completes", "was copied from another pod"):
        assert part in told.notes


def test_what_holds_no_pod(space: Space) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    (told,) = space.explain("-", stdin=config)
    assert (told.cause, told.code) == ("not-a-pod", 1)


def stranger() -> str:
    """A caBundle with an authority that signed nothing here."""
    made = x509.make_authority("a stranger", datetime.datetime.now(datetime.UTC))
    return base64.b64encode(x509.pem(made.certificate).encode()).decode()
