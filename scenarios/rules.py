"""Helpers of chapter 3: the expected rules, functions that read commands' output, and breaks.

A break is a deliberate fault: its function makes the fault, yields, and undoes the fault.
"""

import re
from collections.abc import Iterator, Mapping

from lab.errors import ObservationError
from lab.mesh.contract import (
    CHAIN_IN_REDIRECT,
    CHAIN_INBOUND,
    CHAIN_OUTPUT,
    CHAIN_REDIRECT,
    INIT_CONTAINER,
)
from lab.observe.parsers import parse_iptables_list, parse_iptables_save
from lab.observe.pod import Pod
from lab.observe.readings import Table
from lab.scenario import Output, World, expect
from scenarios import application

RULES = """\
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 \
-m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 \
-m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
"""
"""The rules that Istio's own istio-iptables makes with the arguments of istio-init, as
`iptables-save -t nat` prints them."""
REFERENCES = {CHAIN_REDIRECT: 1, CHAIN_IN_REDIRECT: 3, CHAIN_INBOUND: 1, CHAIN_OUTPUT: 1}
"""Maps each chain to the number of RULES that jump to it."""
FOREIGN = "FOREIGN"
"""Name of a chain that does not belong to the mesh."""
TO_ENVOY = {CHAIN_REDIRECT: "15001", CHAIN_IN_REDIRECT: "15006"}
LIST = "docker exec --privileged {node} nsenter -t {pid} -n iptables -nvL"
STATS = "kubectl exec -n {ns} {pod} -c istio-proxy -- curl -s 'http://127.0.0.1:15000/stats?filter="
"""The beginning of a command line that prints counters of Envoy. A chapter adds a pattern for the
names of the counters, and the closing quote."""
LOG = "kubectl logs -n {ns} {pod} -c istio-proxy --tail=3"
LOGGED = """
    ......
    <any>/?{made} HTTP/1.1" 200 <any>
    ......
"""
PLANNED = "are the 18 that Istio's own program makes, in the same order"


def planned() -> Table:
    """Return RULES as a nat table."""
    return parse_iptables_save(f"*nat\n{RULES}COMMIT\n")["nat"]


def texts(table: Table) -> list[str]:
    """Return each rule of a table as iptables-save would print it."""
    return [str(rule) for rule in table.rules]


def iptables(pod: Pod, *words: str) -> None:
    """Run iptables with the arguments `words` on the pod's nat table.

    Raises ObservationError if iptables fails.
    """
    # The observer's iptables is used, because no container of the pod may change the rules.
    ran = pod.run(["iptables", "-w", "-t", "nat", *words])
    if ran.returncode:
        raise ObservationError(f"{' '.join(ran.argv)}: {ran.stderr.strip()}")


def flushed(world: World, chain: str) -> Iterator[None]:
    """Remove the only rule of `chain`, which redirects to Envoy; then add this rule again."""
    pod = world.pod(application.APP)
    iptables(pod, "-F", chain)
    yield
    iptables(pod, "-A", chain, "-p", "tcp", "-j", "REDIRECT", "--to-ports", TO_ENVOY[chain])


def nft_rules(text: str) -> Mapping[str, int]:
    """Map each chain in the output of nft to the number of its rules.

    Chains without rules are left out, because iptables sometimes creates empty built-in chains even
    when it only reads.
    """
    counts: dict[str, int] = {}
    chain = ""
    for line in map(str.strip, text.splitlines()):
        if chain_start := re.fullmatch(r"chain (\S+) \{", line):
            chain = chain_start[1]
        elif chain and line and line != "}" and not line.startswith("type "):
            counts[chain] = counts.get(chain, 0) + 1
    return counts


def expect_counted(before: Output, after: Output, chain: str) -> None:
    """Expect the rules of `chain` to have counted more packets in `after` than in `before`.

    `before` and `after` are outputs of iptables.
    """
    first, then = (parse_iptables_list(output.stdout).chain(chain) for output in (before, after))
    expect(then.hits, f"the number of packets that {chain} counted").more_than(first.hits)


def expect_grown(before: Output, after: Output, counter: str) -> None:
    """Expect the sum of Envoy's counters in the output `after` to be larger than in `before`."""
    expect(_sum(after), f"Envoy's counter of {counter}").more_than(_sum(before))


def _sum(output: Output) -> int:
    return sum(int(value) for value in re.findall(r"(?m)^\S+: (\d+)$", output.stdout))


def field(output: Output, request: str, name: str) -> str:
    """Return the field `name`, for instance "cluster", of a request in Envoy's access log.

    The line of the request is the first one whose URL has `/?` followed by `request`. Returns "" if
    there is no such line or field.
    """
    line = next((row for row in output.lines if f"/?{request} " in row), "")
    match = re.search(rf'{name}="?([^"\s]+)', line)
    return match[1] if match else ""


def header(output: Output, name: str) -> str:
    """Return the header `name` of the HTTP answer that `curl -i` printed; "" if there is none."""
    match = re.search(rf"(?im)^{name}:[ \t]*(.*?)\r?$", output.stdout)
    return match[1] if match else ""


def expect_answered(output: Output) -> None:
    """Expect the output of `curl -i` to have the status 200 and nginx's page."""
    expect((output.lines or [""])[0].strip(), "the status line").equal("HTTP/1.1 200 OK")
    expect(output.stdout, "the page").contains("nginx answers")


# --- breaks --------------------------------------------------------------------------


def another_log(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose istio-init logs chains in reverse order and only one rule."""
    chains = "\n".join(f"-N {chain}" for chain in reversed(world.mesh.chain_order))
    log = f"* nat\n{chains}\n-A PREROUTING -p tcp -j ISTIO_INBOUND\nCOMMIT\n"
    init = application.container(INIT_CONTAINER, f"printf '{log}'")
    yield from application.stand_in(world, init=init)


def an_excluded_port(world: World) -> Iterator[None]:
    """Exclude port 443 with an annotation, which adds a rule to the log; then restore the pod."""
    original = world.read(application.MANIFEST)
    annotation = "annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: '443'}"
    template = "  template:\n    metadata:\n"
    if template not in original:
        raise ObservationError(
            f"{application.MANIFEST} has no `template:` followed by `metadata:`, "
            "so the annotation cannot be added"
        )
    world.write(application.MANIFEST, original.replace(template, f"{template}      {annotation}\n"))
    application.inject_again(world)
    yield
    world.write(application.MANIFEST, original)
    application.inject_again(world)


def one_rule_too_many(world: World) -> Iterator[None]:
    """Append to ISTIO_OUTPUT a rule with the target RETURN for port 9; then delete the rule."""
    rule = (CHAIN_OUTPUT, "-p", "tcp", "--dport", "9", "-j", "RETURN")
    pod = world.pod(application.APP)
    iptables(pod, "-A", *rule)
    yield
    iptables(pod, "-D", *rule)


def chains_too_many(world: World) -> Iterator[None]:
    """Add to the pod a chain FOREIGN that jumps to ISTIO_REDIRECT; then delete this chain.

    In the same way add an empty chain ISTIO_REDIRECT to the neighbour, and delete it.
    """
    pod, neighbour = world.pod(application.APP), world.pod("app=web")
    iptables(pod, "-N", FOREIGN)
    iptables(pod, "-A", FOREIGN, "-j", CHAIN_REDIRECT)
    iptables(neighbour, "-N", CHAIN_REDIRECT)
    yield
    iptables(neighbour, "-X", CHAIN_REDIRECT)
    iptables(pod, "-F", FOREIGN)
    iptables(pod, "-X", FOREIGN)


def an_endless_init(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose istio-init sleeps while the other containers run."""
    yield from application.stand_in(world, init=application.endless_init())


def no_outbound_rule(world: World) -> Iterator[None]:
    """Remove the rule of ISTIO_REDIRECT; then add it again."""
    yield from flushed(world, CHAIN_REDIRECT)


def one_rule_too_few(world: World) -> Iterator[None]:
    """Delete the rule for Envoy's port 15090; then insert it at the same place again."""
    rule = ("-p", "tcp", "--dport", "15090", "-j", "RETURN")
    pod = world.pod(application.APP)
    iptables(pod, "-D", CHAIN_INBOUND, *rule)
    yield
    iptables(pod, "-I", CHAIN_INBOUND, "2", *rule)


def no_rule(world: World) -> Iterator[None]:
    """Remove the rule of ISTIO_REDIRECT, which redirects to port 15001; then add it again."""
    yield from flushed(world, CHAIN_REDIRECT)


def the_neighbour_answers_itself(world: World) -> Iterator[None]:
    """Remove the rule of ISTIO_REDIRECT, so that the request goes directly to the neighbour's
    nginx; then add the rule again.
    """
    yield from flushed(world, CHAIN_REDIRECT)


def a_neighbour_without_a_page(world: World) -> Iterator[None]:
    """Move the neighbour's page away, so that its nginx answers 403, also through Envoy; then move
    the page back.
    """
    yield from _without_a_page(world, world.names.resolve("web"))


def nginx_takes_it_itself(world: World) -> Iterator[None]:
    """Remove the rule of ISTIO_IN_REDIRECT, so that the connection reaches nginx without Envoy;
    then add the rule again.
    """
    yield from flushed(world, CHAIN_IN_REDIRECT)


def an_nginx_without_a_page(world: World) -> Iterator[None]:
    """Move the page of the injected nginx away, so that it answers 403, also through Envoy; then
    move the page back.
    """
    yield from _without_a_page(world, world.names.resolve("pod"))


def _without_a_page(world: World, pod: str) -> Iterator[None]:
    page = "/usr/share/nginx/html/index.html"
    inside = ("exec", pod, "-c", "nginx", "--")
    world.kubectl(*inside, "mv", page, f"{page}.kept")
    yield
    world.kubectl(*inside, "mv", f"{page}.kept", page)
