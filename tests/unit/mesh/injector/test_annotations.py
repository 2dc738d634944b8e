"""What a pod's annotations may hold, and what is refused by name."""

import pytest

from lab.mesh.errors import AnnotationError
from lab.mesh.injector.settings import annotations
from tests.unit.mesh.injector.pods import annotated, inject


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("INTERCEPTION_MODE", ["REDIRECT", "TPROXY", "NONE"], ["redirect", ""]),
        ("PROXY_CPU", ["1", "100m", "1.5", "2e3", "1Ki"], ["-1", "1 m", "x", "1mm", ""]),
        ("STATUS_PORT", ["0", "15020", " 15030 "],
         ["65536", "-1", "", "٣", "15001", "15090", "015030"]),
        ("PERIOD", ["1"], ["0", "1.5"]),
        ("INCLUDE_OUTBOUND_CIDRS", ["*", "", "10.0.0.0/8,fd00::/8"], ["10.0.0.1", "*,10.0.0.0/8"]),
        ("EXCLUDE_OUTBOUND_CIDRS", ["", "1.2.3.4/32"],
         ["*", "10.0.0.0/33", "10.0.0.0/8, 11.0.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/08",
          "fe80::1%eth0/64"]),
        ("INCLUDE_INBOUND_PORTS", ["*", "", "80, 81"], ["http", "80,*", "70000"]),
        ("EXCLUDE_INBOUND_PORTS", ["80"], ["*", "80,,81"]),
        ("EXCLUDE_OUTBOUND_PORTS", ["80"], ["-1"]),
        ("EXCLUDE_INTERFACES", ["eth0,tap1"], ["a b", "averyveryverylongname"]),
        ("KUBEVIRT_INTERFACES", ["tap0"], ["1tap", "tap0,,tap1"]),
        ("REROUTE_INTERFACES", ["tap0, tap1"], ["a/b"]),
        ("INCLUDE_OUTBOUND_PORTS", ["80,443", "", "80,", "0"], ["http", "*", "0080", "80, "]),
        ("MERGE_METRICS", ["true", "F", "0"], ["perhaps", ""]),
        ("PROXY_IMAGE", ["proxy:9", "r.example:5000/p/q@sha256:" + "0" * 64],
         ["", "two words", "a:b:c", "Up", "p@sha256:0"]),
        ("LOG_LEVEL", ["debug", "off", "warn"], ["loud", "", "DEBUG"]),
        ("COMPONENT_LOG_LEVEL", ["", "http:debug,misc:error"],
         ["http", ":debug", "http:loud", "nosuch:debug", "http:info,"]),
        ("AGENT_LOG_LEVEL", ["debug", "default:info,xds:warn"], ["loud", "default:", ""]),
        ("BOOTSTRAP_OVERRIDE", ["a", "my.map-1"], ["", "No", "-a", "a" * 254]),
        ("TEMPLATES", ["sidecar", "sidecar, sidecar"], ["", "gateway", "sidecar,"]),
        ("USER_VOLUME", ["{}", "[]", "null", '{"v": {"emptyDir": {}}}',
                         '[{"name": "v", "emptyDir": {}}]',
                         '{"V": {"name": "v", "emptyDir": {}}}', '{"v": {}}'],
         ["", "{", "3", '{"v": 1}', '{"V": {}}', '{"v": {"nosuch": {}}}', '[{"name": 1}]',
          '{"v": {"emptyDir": {}, "secret": {"secretName": "s"}}}', '{"v": {"secret": {}}}',
          '{"v": {"hostPath": {"path": "/a/../b"}}}', '[{"name": "v"}, {"name": "v"}]']),
        ("USER_VOLUME_MOUNT", ["{}", "[]", '[{"name": "istio-data", "mountPath": "/d"}]'],
         ["", '{"v": {}}', '{"v": "/v"}', '{"v": {"mountPath": 1}}', "[" * 100_000,
          '{"istio-data": {"mountPath": "/d", "subPath": "../x"}}',
          '{"istio-data": {"mountPath": "/d", "mountPropagation": "Bidirectional"}}']),
        ("OVERRIDES", ["{}", '{"containers": []}'],
         ["", "[]", '{"containers": 1}', '{"containers": [{"image": "x"}]}',
          '{"containers": [{"name": "istio-proxy", "nosuch": 1}]}',
          '{"containers": [{"name": "istio-proxy", "securityContext": {"runAsUser": -1}}]}',
          '{"containers": [{"name": "istio-proxy", "imagePullPolicy": "maybe"}]}',
          '{"containers": [{"name": "istio-proxy", "volumeMounts": [{"name": "data", '
          '"mountPath": "/data"}]}]}',
          '{"initContainers": [{"name": "istio-init", "env": [{"name": "INVALID_DROP", '
          '"value": "x"}]}]}']),
        ("PROXY_CONFIG", ["", "{}", "concurrency: 2", "holdApplicationUntilProxyStarts: true"],
         ["- a", "nonsense: 1", "concurrency: two", "a: [", "concurrency: -1",
          "concurrency: true", "interceptionMode: NONE", "statusPort: 70000", "statusPort: no",
          "drainDuration: long", "proxyMetadata: {'A=B': c}", "proxyMetadata: {A: [b]}",
          "drainDuration: 25h", "statusPort: 15006", "discoveryAddress: nowhere",
          "proxyMetadata: {PROXY_CONFIG: '{}'}", "proxyMetadata: {A: \"\\0\"}",
          "proxyMetadata: {PROXY_GID: nobody}", "proxyMetadata: {REDIRECT_DNS: perhaps}",
          "proxyMetadata: {NETWORK_NAMESPACE: /proc/1/ns/net}"]),
    ],
)  # fmt: skip
def test_annotation_values_are_taken_or_refused_by_name(
    name: str, good: list[str], bad: list[str]
) -> None:
    for value in good:
        inject(annotated(**{name: value}))
    for value in bad:
        with pytest.raises(AnnotationError, match=getattr(annotations, name)):
            inject(annotated(**{name: value}))


def test_a_refusal_holds_annotation_value_and_expectation() -> None:
    with pytest.raises(AnnotationError) as caught:
        inject(annotated(PROXY_CPU="lots"))
    assert caught.value.message == (
        "annotation sidecar.istio.io/proxyCPU: must be a quantity of Kubernetes, "
        "for instance 100m or 128Mi (value 'lots')"
    )


def test_a_pod_that_is_not_injected_may_say_what_it_likes() -> None:
    template = annotated(PROXY_CPU="lots")
    template["spec"]["hostNetwork"] = True
    assert inject(template) is not None
