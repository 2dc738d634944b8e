"""Values of annotations for the corpus."""

from typing import Final

from lab.mesh import contract
from lab.mesh.injector.settings import annotations as names

VALUES: Final[dict[str, tuple[str, ...]]] = {
    names.INTERCEPTION_MODE: ("REDIRECT", "TPROXY", "NONE", "redirect", ""),
    names.PROXY_CPU: ("100m", "2", "1.5", "lots", "-1", ""),
    names.PROXY_MEMORY: ("64Mi", "1e9", "64 Mi"),
    names.PROXY_CPU_LIMIT: ("500m", "1 CPU"),
    names.PROXY_MEMORY_LIMIT: ("1Gi", "1GiB"),
    names.STATUS_PORT: ("15030", "0", "65536", "http", "", "15001"),
    names.INITIAL_DELAY: ("5", "-1"),
    names.PERIOD: ("7", "0", "soon"),
    names.FAILURE_THRESHOLD: ("9", "1.5"),
    names.INCLUDE_OUTBOUND_CIDRS: (
        "*", "", "10.0.0.0/8,fd00::/8", "10.0.0.1", "*,10.0.0.0/8",
        " *", "::ffff:1.2.3.4/96", "10.0.0.0/08", "010.0.0.0/8", "1:2:3:4:5:6:7::/64",
        "fe80::1%eth0/64", "10.0.0.0/+8",
        "10.0.0.0/8,", " ",
    ),
    names.EXCLUDE_OUTBOUND_CIDRS: (
        "1.2.3.4/32", "", "*", "10.0.0.0/8, 11.0.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/33",
    ),
    names.INCLUDE_INBOUND_PORTS: ("*", "", "80,8080", "80,*", "http", "0", "0,80", ",", "80:90"),
    names.EXCLUDE_INBOUND_PORTS: ("9090, 9091", "15020,22", "", "80,,81", "70000", " 80\t", "80,"),
    names.EXCLUDE_OUTBOUND_PORTS: ("3306,5432", "", "-1", "0", "8_0", "0x50"),
    names.INCLUDE_OUTBOUND_PORTS: ("80,443", "", "http", "*", "80,", "0", "0443"),
    names.EXCLUDE_INTERFACES: (
        "eth1,net0", "", "eth 1", "averyveryverylongname", "eth0, eth1", "eth+", " ", "eth0,",
        "veth@if3", "_a",
    ),
    names.KUBEVIRT_INTERFACES: ("tap0", "tap0,,tap1"),
    names.REROUTE_INTERFACES: ("tap1", "1tap"),
    names.PROXY_CONFIG: (
        "", "holdApplicationUntilProxyStarts: true", '{"concurrency": 3}',
        "proxyMetadata: {OUTPUT_CERTS: /tmp/certs, ISTIO_OUTBOUND_OWNER_GROUPS: '100'}",
        "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}",
        "interceptionMode: TPROXY", "drainDuration: 9s\nterminationDrainDuration: 3s",
        "statusPort: 15030", "discoveryAddress: other.istio-system.svc:15012",
        "- a list", "noSuchField: 1", "concurrency: many", "holdApplicationUntilProxyStarts: [",
        "interceptionMode: SOMETIMES", "drainDuration: long",
    ),
    names.TEMPLATES: ("sidecar", "gateway", "nothing", ""),
    names.PROXY_IMAGE: ("example.com/proxy:9", "proxy:9"),
    names.LOG_LEVEL: ("debug", "loud"),
    names.COMPONENT_LOG_LEVEL: ("http:debug,misc:error", "http"),
    names.AGENT_LOG_LEVEL: ("default:debug", "default:info,xds:warn", "default:loud"),
    names.NATIVE_SIDECAR: ("true", "false", "maybe", ""),
    names.REWRITE_PROBES: ("true", "false", "F", "no"),
    names.BOOTSTRAP_OVERRIDE: ("my-bootstrap", "No Name"),
    names.USER_VOLUME: (
        '{"mine": {"emptyDir": {}}}',
        '{"a": {"secret": {"secretName": "s"}}, "b": {"emptyDir": {}}}',
        "[]", "{", "null", "3", '[{"name": "mine", "emptyDir": {}}]', '{"a": {"name": "b"}}',
        '{"a": {"secret": {}}}',
    ),
    names.USER_VOLUME_MOUNT: (
        '[{"name": "mine", "mountPath": "/mine"}, {"name": "mine", "mountPath": "/too"}]',
        '{"mine": {"mountPath": "/mine", "readOnly": true}}', '{"mine": "/mine"}', "{",
    ),
    names.MERGE_METRICS: ("false", "perhaps"),
    names.OVERRIDES: (
        '{"containers": [{"name": "istio-proxy", "image": "auto", "tty": true}]}',
        '{"initContainers": [{"name": "istio-init", "env": [{"name": "A", "value": "b"}]}]}',
        "{", "[]", "null", '{"containers": [{"name": "other", "image": "nginx"}]}',
        '{"containers": [{"name": "istio-proxy", "image": ""}]}',
        '{"containers": [{"name": "istio-proxy", "imagePullPolicy": "perhaps"}]}',
    ),
    "prometheus.io/port": ("9102", "15020"),
    "prometheus.io/scrape": ("false",),
    "kubectl.kubernetes.io/default-container": ("other",),
    contract.STATUS_ANNOTATION: ("{}", "no JSON", "[1]"),
}  # fmt: skip
"""Every annotation of the facts: values that are taken, and values that are not."""
