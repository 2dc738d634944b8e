"""Lists the fields of a ProxyConfig, so that the injector need not load the agent's parser."""

from typing import Final

KNOWN: Final[dict[str, type | tuple[type, ...]]] = {
    "concurrency": int,
    "discoveryAddress": str,
    "drainDuration": str,
    "proxyMetadata": dict,
    "runtimeValues": dict,
    "serviceCluster": str,
    "terminationDrainDuration": str,
}
"""Fields that the agent acts on, with the type of each."""
ELSEWHERE: Final = frozenset(
    {
        "availabilityZone",
        "binaryPath",
        "caCertificatesPem",
        "configPath",
        "controlPlaneAuthPolicy",
        "customConfigFile",
        "envoyAccessLogService",
        "envoyMetricsService",
        "extraStatTags",
        "fileFlushInterval",
        "fileFlushMinSizeKb",
        "gatewayTopology",
        "holdApplicationUntilProxyStarts",
        "image",
        "interceptionMode",
        "meshId",
        "parentShutdownDuration",
        "privateKeyProvider",
        "proxyAdminPort",
        "proxyBootstrapTemplatePath",
        "proxyHeaders",
        "proxyStatsMatcher",
        "readinessProbe",
        "statNameLength",
        "statsCompression",
        "statsdUdpAddress",
        "statusPort",
        "tracing",
        "tracingServiceName",
        "zipkinAddress",
    }
)
"""Istio's other ProxyConfig fields: the injector acts on some, the others do nothing here."""
