"""The redirection rules as chapter 3 expects them, and how its looks at them are read."""

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
"""What `iptables-save -t nat` printed after Istio's own program ran with these arguments."""
REFERENCES = {CHAIN_REDIRECT: 1, CHAIN_IN_REDIRECT: 3, CHAIN_INBOUND: 1, CHAIN_OUTPUT: 1}
"""How many of these rules jump to each chain."""
FOREIGN = "FOREIGN"
"""A chain that nobody knows."""
TO_ENVOY = {CHAIN_REDIRECT: "15001", CHAIN_IN_REDIRECT: "15006"}
LIST = "docker exec --privileged {node} nsenter -t {pid} -n iptables -nvL"
STATS = "kubectl exec -n {ns} {pod} -c istio-proxy -- curl -s 'http://127.0.0.1:15000/stats?filter="
"""Envoy's counters of a name; a pattern and a closing quote follow."""
LOG = "kubectl logs -n {ns} {pod} -c istio-proxy --tail=3"
LOGGED = """
    ......
    <any>/?{made} HTTP/1.1" 200 <any>
    ......
"""
PLANNED = "are the 18 that Istio's own program makes, in the same order"


def planned() -> Table:
    """The rules above."""
    return parse_iptables_save(f"*nat\n{RULES}COMMIT\n")["nat"]


def texts(table: Table) -> list[str]:
    """Each rule of a table as iptables-save would print it."""
    return [str(rule) for rule in table.rules]


def iptables(pod: Pod, *words: str) -> None:
    """Change the pod's nat table. Raises ObservationError when iptables refuses."""
    # The observer's own iptables: nothing in the pod may change its rules any more.
    ran = pod.run(["iptables", "-w", "-t", "nat", *words])
    if ran.returncode:
        raise ObservationError(f"{' '.join(ran.argv)}: {ran.stderr.strip()}")


def flushed(world: World, chain: str) -> Iterator[None]:
    """Empty a chain of one rule; then put that back."""
    pod = world.pod(application.APP)
    iptables(pod, "-F", chain)
    yield
    iptables(pod, "-A", chain, "-p", "tcp", "-j", "REDIRECT", "--to-ports", TO_ENVOY[chain])


def nft_rules(text: str) -> Mapping[str, int]:
    """How many rules each chain has in what nft prints.

    Chains without rules are left out: a client that looks may make the built-in ones.
    """
    counts: dict[str, int] = {}
    chain = ""
    for line in map(str.strip, text.splitlines()):
        if found := re.fullmatch(r"chain (\S+) \{", line):
            chain = found[1]
        elif chain and line and line != "}" and not line.startswith("type "):
            counts[chain] = counts.get(chain, 0) + 1
    return counts


def expect_counted(before: Output, after: Output, chain: str) -> None:
    """Between two listings of a chain its rules have matched."""
    first, then = (parse_iptables_list(one.stdout).chain(chain) for one in (before, after))
    expect(then.hits, f"the number of packets that {chain} counted").more_than(first.hits)


def expect_grown(before: Output, after: Output, counter: str) -> None:
    """Between two looks at Envoy's counters their sum has grown."""
    expect(_sum(after), f"Envoy's counter of {counter}").more_than(_sum(before))


def _sum(output: Output) -> int:
    return sum(int(value) for value in re.findall(r"(?m)^\S+: (\d+)$", output.stdout))


def field(output: Output, request: str, name: str) -> str:
    """A field of the request's line in Envoy's access log ("cluster"); "" where none is."""
    line = next((row for row in output.lines if f"/?{request} " in row), "")
    found = re.search(rf'{name}="?([^"\s]+)', line)
    return found[1] if found else ""


def header(output: Output, name: str) -> str:
    """A header of an HTTP answer as `curl -i` prints it; "" where none is."""
    found = re.search(rf"(?im)^{name}:[ \t]*(.*?)\r?$", output.stdout)
    return found[1] if found else ""


def expect_answered(output: Output) -> None:
    """An HTTP answer as `curl -i` prints it is 200, and the page is nginx's."""
    expect((output.lines or [""])[0].strip(), "the status line").equal("HTTP/1.1 200 OK")
    expect(output.stdout, "the page").contains("nginx answers")


# --- breaks --------------------------------------------------------------------------


def another_log(world: World) -> Iterator[None]:
    """A pod whose istio-init prints half of what the mesh's prints."""
    chains = "\n".join(f"-N {chain}" for chain in reversed(world.mesh.chain_order))
    log = f"* nat\n{chains}\n-A PREROUTING -p tcp -j ISTIO_INBOUND\nCOMMIT\n"
    init = application.container(INIT_CONTAINER, f"printf '{log}'")
    yield from application.stand_in(world, init=init)


def an_excluded_port(world: World) -> Iterator[None]:
    """The annotation adds a rule, so a new pod has another log."""
    original = world.read(application.MANIFEST)
    annotation = "annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: '443'}"
    template = "  template:\n    metadata:\n"
    if template not in original:
        raise ObservationError(f"{application.MANIFEST} has no pod template where it is expected")
    world.write(application.MANIFEST, original.replace(template, f"{template}      {annotation}\n"))
    application.inject_again(world)
    yield
    world.write(application.MANIFEST, original)
    application.inject_again(world)


def one_rule_too_many(world: World) -> Iterator[None]:
    """A rule that leaves port 9 alone, at the end of ISTIO_OUTPUT."""
    rule = (CHAIN_OUTPUT, "-p", "tcp", "--dport", "9", "-j", "RETURN")
    pod = world.pod(application.APP)
    iptables(pod, "-A", *rule)
    yield
    iptables(pod, "-D", *rule)


def chains_too_many(world: World) -> Iterator[None]:
    """A chain of no name that we know jumps to one of the four; the neighbour has one of them."""
    pod, neighbour = world.pod(application.APP), world.pod("app=web")
    iptables(pod, "-N", FOREIGN)
    iptables(pod, "-A", FOREIGN, "-j", CHAIN_REDIRECT)
    iptables(neighbour, "-N", CHAIN_REDIRECT)
    yield
    iptables(neighbour, "-X", CHAIN_REDIRECT)
    iptables(pod, "-F", FOREIGN)
    iptables(pod, "-X", FOREIGN)


def an_endless_init(world: World) -> Iterator[None]:
    """A pod whose istio-init sleeps beside the other containers."""
    yield from application.stand_in(world, init=application.endless_init())


def no_outbound_rule(world: World) -> Iterator[None]:
    """Flush the chain; then its one rule is put back."""
    yield from flushed(world, CHAIN_REDIRECT)


def one_rule_too_few(world: World) -> Iterator[None]:
    """The exception for Envoy's statistics; the undo puts it back at its place."""
    rule = ("-p", "tcp", "--dport", "15090", "-j", "RETURN")
    pod = world.pod(application.APP)
    iptables(pod, "-D", CHAIN_INBOUND, *rule)
    yield
    iptables(pod, "-I", CHAIN_INBOUND, "2", *rule)


def no_rule(world: World) -> Iterator[None]:
    """Then nothing goes to port 15001."""
    yield from flushed(world, CHAIN_REDIRECT)


def the_neighbour_answers_itself(world: World) -> Iterator[None]:
    """Then the request goes straight to the neighbour's nginx."""
    yield from flushed(world, CHAIN_REDIRECT)


def a_neighbour_without_a_page(world: World) -> Iterator[None]:
    """nginx then answers 403, and Envoy passes that on."""
    yield from _without_a_page(world, world.names.resolve("web"))


def nginx_takes_it_itself(world: World) -> Iterator[None]:
    """Then the connection reaches nginx and Envoy never sees it."""
    yield from flushed(world, CHAIN_IN_REDIRECT)


def an_nginx_without_a_page(world: World) -> Iterator[None]:
    """nginx then answers 403, and Envoy passes that on."""
    yield from _without_a_page(world, world.names.resolve("pod"))


def _without_a_page(world: World, pod: str) -> Iterator[None]:
    page = "/usr/share/nginx/html/index.html"
    inside = ("exec", pod, "-c", "nginx", "--")
    world.kubectl(*inside, "mv", page, f"{page}.kept")
    yield
    world.kubectl(*inside, "mv", f"{page}.kept", page)
