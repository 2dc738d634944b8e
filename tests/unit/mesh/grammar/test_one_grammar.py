"""What the injector takes of a pod's annotations, the programs in its containers take, too."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lab.mesh import contract
from lab.mesh.agent import program
from lab.mesh.agent import settings as agent_settings
from lab.mesh.agent.settings import Flags, Inputs
from lab.mesh.errors import AnnotationError, SettingError
from lab.mesh.grammar import traffic_flags
from lab.mesh.injector.settings import annotations
from lab.mesh.redirection import options
from lab.mesh.redirection.plan import plan
from lab.mesh.redirection.rules import render
from tests.unit.mesh.injector.pods import container, inject, pod

EXAMPLES: Final = 1500
FLAGS: Final = {
    annotations.INCLUDE_OUTBOUND_CIDRS: "-i",
    annotations.EXCLUDE_OUTBOUND_CIDRS: "-x",
    annotations.INCLUDE_INBOUND_PORTS: "-b",
    annotations.EXCLUDE_INBOUND_PORTS: "-d",
    annotations.INCLUDE_OUTBOUND_PORTS: "-q",
    annotations.EXCLUDE_OUTBOUND_PORTS: "-o",
    annotations.EXCLUDE_INTERFACES: "-c",
    annotations.KUBEVIRT_INTERFACES: "-k",
    annotations.REROUTE_INTERFACES: "-k",
}
"""Annotations whose value becomes that of a flag as it is."""


def listed(items: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=most).map(",".join)


def mostly(good: st.SearchStrategy[str], *odd: str) -> st.SearchStrategy[str]:
    """Good values, values that look odd, and good ones with a letter put in or changed."""

    @st.composite
    def slipped(draw: st.DrawFn) -> str:
        text = draw(good)
        at = draw(st.integers(0, len(text)))
        letter = draw(st.sampled_from([*' ,*-+:/._%0\t\n"$ea', "é", "\0", ""]))
        return f"{text[:at]}{letter}{text[at + draw(st.integers(0, 1)) :]}"

    return st.one_of(good, st.sampled_from(odd), slipped())


_port = st.one_of(st.integers(0, 65535), st.sampled_from([80, 443, 15001, 15020])).map(str)
_ports = mostly(listed(_port), "*", "http", "80,,81", ",", "0080", "65536", " 80 , 81 ", "-1", "8x")
_v4 = st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32))
_v6 = st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(0, 128))
_ranges = mostly(
    listed(st.one_of(_v4, _v6)),
    *("*", "10.0.0.1", "10.0.0.0/33", "10.0.0.0/08", "fd00::/129", "fe80::1%eth0/64"),
    *("10.0.0.0/8, 11.0.0.0/8", "10.0.0.0/255.0.0.0", "010.0.0.0/8", "::ffff:1.2.3.4/100"),
)
_interfaces = mostly(
    listed(st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", fullmatch=True)),
    *("eth+", "1eth", "a b", "sixteen-letters-", "eth0,,eth1", "eth0, eth1", "a/b", " "),
)
_duration = mostly(
    st.sampled_from(["5s", "1m30s", "250ms", "0s"]), "5", "-5s", "25h", "9" * 40 + "h"
)
_boolean = mostly(st.sampled_from(["true", "false", "1", "T"]), "yes", "maybe", "")
_owners = mostly(listed(st.integers(0, 2**32).map(str)), "1-5", "5-1", "root", "nobody-here", "*")
_variables: Final[Mapping[str, st.SearchStrategy[str]]] = {
    **dict.fromkeys(("ISTIO_OUTBOUND_PORTS", "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"), _ports),
    **dict.fromkeys(("ISTIO_EXCLUDE_INTERFACES", "KUBE_VIRT_INTERFACES"), _interfaces),
    **dict.fromkeys(("INBOUND_TUNNEL_PORT", "IPTABLES_PROBE_PORT", "ISTIO_INBOUND_PORTS"), _ports),
    **dict.fromkeys(("ISTIO_INBOUND_TPROXY_MARK", "ISTIO_INBOUND_TPROXY_ROUTE_TABLE"), _ports),
    **dict.fromkeys(("PROXY_GID", "PROXY_UID", "ISTIO_OUTBOUND_OWNER_GROUPS"), _owners),
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": _owners,
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": mostly(_v4, "127.0.0.0/8", "127.0.0.1", "::1/128"),
    **dict.fromkeys(("INVALID_DROP", "ISTIO_DUAL_STACK", "CAPTURE_ALL_DNS", "DRY_RUN"), _boolean),
    **dict.fromkeys(("ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS", "RECONCILE"), _boolean),
    "PROBE_TIMEOUT": _duration,
    "NETWORK_NAMESPACE": st.sampled_from(["/proc/1/ns/net", "", "/no/such"]),
    **dict.fromkeys(("INSTANCE_IPS", "PROXY_CONFIG", "ISTIO_KUBE_APP_PROBERS"), st.just("x")),
    "ISTIO_META_OTHER": st.text(max_size=5),
}


@st.composite
def _metadata(draw: st.DrawFn) -> dict[str, str]:
    names = draw(st.lists(st.sampled_from(sorted(_variables)), max_size=2, unique=True))
    return {name: draw(_variables[name]) for name in names}


_config = st.fixed_dictionaries(
    {},
    optional={
        "interceptionMode": st.sampled_from(["REDIRECT", "TPROXY", "NONE", ""]),
        "statusPort": st.sampled_from([0, 15020, 15030, 15001, 65536, "15030"]),
        "concurrency": st.sampled_from([0, 2, 128, 129, "2", True]),
        "discoveryAddress": mostly(st.sampled_from(["a.b:15012", "[::1]:1"]), "a", "", ":1", "a:0"),
        "drainDuration": _duration,
        "terminationDrainDuration": _duration,
        "proxyMetadata": _metadata(),
        "runtimeValues": st.dictionaries(st.sampled_from(["a.b", "c"]), st.booleans(), max_size=1),
        "serviceCluster": st.sampled_from(["", "web.default"]),
        "tracing": st.just({}),
        "unknown": st.just(1),
    },
).map(json.dumps)
_levels = st.sampled_from(["debug", "info", "warning", "warn", "error", "off", "fatal", "none"])
VALUES: Final[Mapping[str, st.SearchStrategy[str]]] = {
    annotations.INTERCEPTION_MODE: mostly(st.sampled_from(annotations.MODES), "redirect", ""),
    **{name: _ranges for name, flag in FLAGS.items() if flag in "-i -x"},
    **{name: _ports for name, flag in FLAGS.items() if flag in "-b -d -q -o"},
    **{name: _interfaces for name, flag in FLAGS.items() if flag in "-c -k"},
    annotations.STATUS_PORT: mostly(_port, "15090", "15006", "65536", ""),
    annotations.PROXY_CONFIG: _config,
    annotations.LOG_LEVEL: _levels,
    annotations.COMPONENT_LOG_LEVEL: mostly(st.builds("http:{}".format, _levels), "x:debug", ""),
    annotations.AGENT_LOG_LEVEL: mostly(st.builds("default:{}".format, _levels), "loud", ""),
}
_pods = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


def made(values: Mapping[str, str]) -> tuple[dict[str, Any] | None, AnnotationError | None]:
    """The injected pod, or the refusal."""
    template = pod()
    template["metadata"]["annotations"] = dict(values)
    try:
        return inject(template), None
    except AnnotationError as error:
        return None, error


def environment(template: Mapping[str, Any]) -> dict[str, str]:
    """As kubelet makes it."""
    known = {"POD_NAME": "web", "POD_NAMESPACE": "default", "INSTANCE_IP": "10.0.0.1"}
    return {e["name"]: known.get(e["name"], e.get("value", "x")) for e in template.get("env", [])}


def run_init(template: dict[str, Any]) -> None:
    """The init program on its own arguments and environment, up to the rules' text."""
    init = container(template, contract.INIT_CONTAINER)
    request = options.parse(init["command"][1:], environment(init))
    for family in ("ipv4", "ipv6"):
        assert render(plan(request.settings._replace(ipv6=True), family).state)


def run_agent(template: dict[str, Any]) -> None:
    """The agent on its own arguments and environment, up to Envoy's bootstrap."""
    proxy = container(template, contract.PROXY_CONTAINER)
    arguments = program.parser().parse_args(proxy["args"])
    flags = Flags(**{name: getattr(arguments, name) for name in Flags.__dataclass_fields__})
    decided = agent_settings.decide(Inputs(flags, environment(proxy)), starting=True)
    assert json.loads(decided.bootstrap)


def refused_by_init(error: AnnotationError) -> bool | None:
    """Whether the init program refuses the value, too; None where it does not come to it so."""
    base = ["-i", "*", "-b", "*"]
    env: dict[str, str] = {}
    flag = FLAGS.get(error.annotation, "")
    field = error.message.partition("field proxyMetadata.")[2].partition(":")[0]
    if flag:
        base += [flag, error.value]
    elif field in _variables and "holds a NUL" not in error.message:
        if field == "NETWORK_NAMESPACE":
            return None  # here such a file may be there
        env[field] = json.loads(error.value)["proxyMetadata"][field]
    else:
        return None
    try:
        options.parse(base, env)
    except SettingError:
        return True
    return False


def test_what_the_injector_takes_the_programs_take_and_what_it_refuses_they_refuse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    taken: Counter[str] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    asked = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(_pods)
    def each(values: dict[str, str]) -> None:
        nonlocal asked
        template, refusal = made(values)
        if refusal:
            problem = refusal.message.partition(": ")[2].rpartition(" (value")[0]
            refused[refusal.annotation, problem.partition(", found")[0]] += 1
            also = refused_by_init(refusal)
            asked += also is not None
            assert also is not False, f"only the injector refuses: {refusal.message}"
            return
        assert template
        taken.update(values.keys())
        if not template["spec"].get("initContainers"):
            assert "NONE" in values.get(annotations.INTERCEPTION_MODE, "")
        else:
            run_init(template)
        run_agent(template)

    each()
    examples, refusals = EXAMPLES, sum(refused.values())
    with capsys.disabled():
        print(
            f"\none grammar: {examples} pods, {refusals} refused for {len(refused)} reasons "
            f"({asked} of them asked of istio-iptables, too), 0 disagreements"
        )
    assert 3 * refusals >= examples, refusals
    assert len(refused) >= 20
    assert set(taken) == set(VALUES), "an annotation of which no value is ever taken proves nothing"
    assert {name for name, _ in refused} >= set(FLAGS)


@pytest.mark.parametrize(
    "flag", [*traffic_flags.VALUES, *traffic_flags.SWITCHES], ids=lambda flag: flag.name
)
def test_every_variable_of_the_program_is_among_those_tried(flag: traffic_flags.Flag) -> None:
    given_by_the_injector = {"-p", "-z", "-u", "-m", "-i", "-x", "-b", "-d"}
    switches = {"SKIP_RULE_APPLY", "RUN_VALIDATION", "CLEANUP_ONLY", "FORCE_APPLY", "COMMENTS"}
    assert flag.short in given_by_the_injector or set(flag.variables) & (set(_variables) | switches)
