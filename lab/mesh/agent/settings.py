"""Combines flags, environment and files into one plan of what the agent runs.

Each of these overrides those before it: flags, --proxyConfig FILE, PROXY_CONFIG, the pod's
annotation proxy.istio.io/config. Flags are the weakest because they come from the injection
template, which serves all pods. `read` reads the files; `decide` does no I/O.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.agent import bootstrap, proxy_config
from lab.mesh.agent.envoy_settings import EnvoySettings, PodIdentity
from lab.mesh.errors import BootstrapError
from lab.mesh.grammar.probe_settings import Probe, probes

CONFIG_ANNOTATION: Final = "proxy.istio.io/config"
META_PREFIX: Final = "ISTIO_META_"
OVERRIDE: Final = "ISTIO_BOOTSTRAP_OVERRIDE"
MAX_OVERRIDE: Final = 128 * 1024
"""Most bytes of the bootstrap override. Envoy gets it as one argument; Linux limits its length."""
_NO_POD = (
    "in a pod the injector sets it; elsewhere set it yourself, for instance "
    "POD_NAME=demo POD_NAMESPACE=default INSTANCE_IP=127.0.0.1 python3 -m lab.mesh.agent proxy "
    "sidecar --configPath /tmp/demo --binaryPath envoy"
)


@dataclass(frozen=True)
class Flags:
    """The flags of `proxy sidecar`; each field has the name of its flag, in snake case."""

    domain: str = ""
    config_path: str = contract.CONFIG_DIR
    binary_path: str = contract.ENVOY_PATH
    discovery_address: str = contract.DISCOVERY_ADDRESS
    service_cluster: str = ""
    proxy_log_level: str = "warning"
    proxy_component_log_level: str = "misc:error"
    concurrency: int = 2
    drain_duration: str = "45s"
    termination_drain_duration: str = "1s"
    pod_info_dir: str = contract.POD_INFO_DIR
    root_cert: str = contract.ROOT_CERT_FILE
    proxy_config: str = ""
    xds_socket: str = ""
    agent_port: int = contract.AGENT_PORT
    admin_port: int = contract.ENVOY_ADMIN_PORT
    stats_port: int = contract.ENVOY_STATS_PORT
    ready_hold: str = "800ms"


@dataclass(frozen=True)
class Inputs:
    """The flags, the environment and the text of the files; "" stands for a file that is absent."""

    flags: Flags
    env: Mapping[str, str]
    labels: str = ""
    annotations: str = ""
    proxy_config: str = ""
    bootstrap_override: str = ""


@dataclass(frozen=True)
class Upstream:
    """The address of discovery and its CA.

    `host` is also the TLS server name; `root_cert` is the path of the CA's PEM file.
    """

    host: str
    port: int
    root_cert: str


@dataclass(frozen=True)
class AgentPlan:
    """What the agent runs.

    `bootstrap`: text of Envoy's bootstrap file; `lasting`: the same text without the pod's labels.
    `envoy`: the settings from which Envoy's arguments are made. `termination_drain`: how long Envoy
    drains at most when the agent ends, in seconds. `probes`: the application's probes and hooks, by
    the path at which kubelet requests them.
    """

    bootstrap: str
    lasting: str
    envoy: EnvoySettings
    upstream: Upstream
    termination_drain: float
    pod_ip: str = "127.0.0.1"
    probes: Mapping[str, Probe] = field(default_factory=dict)
    passed_over: str = field(default="", compare=False)
    """Why the annotation was ignored and PROXY_CONFIG used instead; "" if it was not ignored."""

    @property
    def of_envoy(self) -> tuple[str, EnvoySettings]:
        """The part of the plan whose change restarts Envoy.

        The pod's labels are not part of it: a restart breaks Envoy's open connections, which a
        changed label does not justify.
        """
        return self.lasting, self.envoy

    def arguments(self, binary: str, config: Path) -> list[str]:
        """Return the command line that starts `binary`, Envoy, with the file `config`."""
        return bootstrap.envoy_arguments(binary, str(config), self.envoy)


def watched(flags: Flags) -> tuple[Path, ...]:
    """Return the files to watch for changes.

    They are the pod's labels and annotations, the CA of discovery, and the file of --proxyConfig if
    that flag is given.
    """
    info = Path(flags.pod_info_dir)
    files = [info / "labels", info / "annotations", Path(flags.root_cert)]
    return (*files, Path(flags.proxy_config)) if flags.proxy_config else tuple(files)


def read(flags: Flags, env: Mapping[str, str] | None = None) -> Inputs:
    """Read the files that `flags` names. Raises BootstrapError when one cannot be read.

    It is no error if the downward API's files are absent, as they are outside a pod. The file that
    --proxyConfig names and the bootstrap override must exist.
    """
    info = Path(flags.pod_info_dir)
    named = _text(Path(flags.proxy_config), "--proxyConfig") if flags.proxy_config else ""
    if flags.proxy_config and named is None:
        raise BootstrapError(f"--proxyConfig: there is no file {flags.proxy_config}")
    return Inputs(
        flags,
        dict(os.environ if env is None else env),
        labels=_text(info / "labels", "--podInfoDir") or "",
        annotations=_text(info / "annotations", "--podInfoDir") or "",
        proxy_config=named or "",
        bootstrap_override=_override((os.environ if env is None else env).get(OVERRIDE, "")),
    )


def _override(file: str) -> str:
    """Return the bootstrap override, a file of the user's ConfigMap; "" if the pod names none.

    Raises BootstrapError when the file is missing, unreadable or too long.
    """
    text = _text(Path(file), OVERRIDE) if file else ""
    if text is None:
        raise BootstrapError(
            f"{OVERRIDE}: there is no file {file}",
            hint="the ConfigMap of sidecar.istio.io/bootstrapOverride needs the key "
            "custom_bootstrap.json",
        )
    if len(text.encode()) >= MAX_OVERRIDE:
        raise BootstrapError(f"{OVERRIDE}: {file} has more than {MAX_OVERRIDE} bytes")
    return text


def decide(inputs: Inputs, *, starting: bool = False) -> AgentPlan:
    """Return the plan. Raises BootstrapError naming the variable, flag or field that is wrong.

    Does no I/O. If `starting` and PROXY_CONFIG is set, an annotation that cannot be parsed here is
    ignored: the injector, which parses all of YAML, has put its values into PROXY_CONFIG.
    """
    flags, env = inputs.flags, inputs.env
    annotations = proxy_config.downward_pairs(inputs.annotations, "annotations file")
    config: dict[str, Any] = {}
    injected_config = env.get("PROXY_CONFIG", "")
    for text, source in (
        (inputs.proxy_config, f"--proxyConfig {flags.proxy_config}"),
        (injected_config, "PROXY_CONFIG"),
    ):
        _merge(config, proxy_config.parse(text, source))
    passed_over = ""
    try:
        annotation = annotations.get(CONFIG_ANNOTATION, "")
        _merge(config, proxy_config.parse(annotation, f"annotation {CONFIG_ANNOTATION}"))
    except BootstrapError as bad:
        if not (starting and injected_config):
            raise
        passed_over = bad.message
    pod = identity(inputs, config.get("proxyMetadata", {}))
    drain = proxy_config.seconds(config.get("drainDuration", flags.drain_duration), "drainDuration")
    envoy = EnvoySettings(
        domain=flags.domain,
        service_cluster=config.get("serviceCluster", flags.service_cluster),
        concurrency=config.get("concurrency", flags.concurrency),
        drain_seconds=math.ceil(drain),
        log_level=flags.proxy_log_level,
        component_log_level=flags.proxy_component_log_level,
        xds_socket=flags.xds_socket or str(Path(flags.config_path).absolute() / "XDS"),
        admin_port=flags.admin_port,
        stats_port=flags.stats_port,
        runtime=config.get("runtimeValues", {}),
        override=inputs.bootstrap_override,
    )
    host, port = proxy_config.host_port(
        config.get("discoveryAddress", flags.discovery_address), "discoveryAddress"
    )
    termination = config.get("terminationDrainDuration", flags.termination_drain_duration)
    return AgentPlan(
        bootstrap.render(bootstrap.bootstrap(pod, envoy)),
        bootstrap.render(bootstrap.bootstrap(replace(pod, labels={}), envoy)),
        envoy,
        Upstream(host, port, flags.root_cert),
        proxy_config.seconds(termination, "terminationDrainDuration"),
        pod.ips[0],
        probes(env.get(contract.PROBES_VARIABLE, "")),
        passed_over,
    )


def identity(inputs: Inputs, proxy_metadata: Mapping[str, object]) -> PodIdentity:
    """Return the pod's identity, from environment and downward API. Raises BootstrapError."""
    env = {**inputs.env, **{k: _plain(v) for k, v in proxy_metadata.items()}}
    for name in ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP"):
        if not inputs.env.get(name):
            raise BootstrapError(f"{name}: not set, but Envoy's node id needs it", hint=_NO_POD)
    meta = {
        key.removeprefix(META_PREFIX): value
        for key, value in env.items()
        if key.startswith(META_PREFIX) and key != META_PREFIX
    }
    first = inputs.env["INSTANCE_IP"].split(",")
    others = inputs.env.get("INSTANCE_IPS", "").split(",")
    return PodIdentity(
        name=inputs.env["POD_NAME"],
        namespace=inputs.env["POD_NAMESPACE"],
        ips=tuple(dict.fromkeys(ip.strip() for ip in first + others if ip.strip())),
        service_account=inputs.env.get("SERVICE_ACCOUNT") or "default",
        labels=proxy_config.downward_pairs(inputs.labels, "labels file"),
        app_containers=meta.get("APP_CONTAINERS", ""),
        workload=meta.get("WORKLOAD_NAME", ""),
        metadata=meta,
    )


def _merge(config: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        known = config.get(key)
        config[key] = {**known, **value} if isinstance(known, dict) else value


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(path: Path, flag: str) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as bad:
        raise BootstrapError(f"{flag}: cannot read {path}: {bad}") from bad
