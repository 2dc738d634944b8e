"""istio-init runs for a moment and is gone; what it leaves behind are rules in the kernel. The
kernel's netfilter is the server here, iptables only a client that hands rules in and reads them
back. Whoever asks, with whatever tool, is shown the same rules.

The rules send the pod's TCP traffic through Envoy: what the application sends goes to port 15001,
what arrives for it goes to port 15006. This chapter reads the rules in istio-init's log and in the
live table, and then follows one request out of the pod and one into it: the rules count them, and
Envoy logs and answers them.
"""

import re
from collections.abc import Iterator, Mapping

from lab.errors import ObservationError
from lab.mesh.contract import (
    CHAIN_IN_REDIRECT,
    CHAIN_INBOUND,
    CHAIN_OUTPUT,
    CHAIN_REDIRECT,
    CHAINS,
    INIT_CONTAINER,
    PROXY_CONTAINER,
)
from lab.observe.model import Table
from lab.observe.parsers import parse_init_log, parse_iptables_list, parse_iptables_save
from lab.observe.pod import Pod
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(3, "iptables", namespace="jiuxi-iptables", prose=__doc__)

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
NOBODY = ("192.0.2.1", 81)
"""An address of TEST-NET-1 (RFC 5737): no host has it."""
TO_ENVOY = {CHAIN_REDIRECT: "15001", CHAIN_IN_REDIRECT: "15006"}
LIST = "docker exec --privileged {node} nsenter -t {pid} -n iptables -nvL"


def _planned() -> Table:
    return parse_iptables_save(f"*nat\n{RULES}COMMIT\n")["nat"]


def _rules(table: Table) -> list[str]:
    return [str(rule) for rule in table.rules]


def _iptables(pod: Pod, *words: str) -> None:
    # The observer's own iptables: nothing in the pod may change its rules any more.
    ran = pod.run(["iptables", "-w", "-t", "nat", *words])
    if ran.returncode:
        raise ObservationError(f"{' '.join(ran.argv)}: {ran.stderr.strip()}")


def _flushed(world: World, chain: str) -> Iterator[None]:
    pod = world.pod(application.APP)
    _iptables(pod, "-F", chain)
    yield
    _iptables(pod, "-A", chain, "-p", "tcp", "-j", "REDIRECT", "--to-ports", TO_ENVOY[chain])


@chapter.given
def an_injected_nginx_and_a_neighbour(world: World) -> None:
    """An injected nginx, and a plain web server behind a Service."""
    application.web(world)
    application.injected(world)
    world.memory["requests"] = 0
    world.names["request"] = lambda: _next_request(world)


def _next_request(world: World) -> str:
    # A request that was never made before: its line in the access log cannot be an older one's.
    world.memory["requests"] += 1
    return f"request-{world.memory['requests']}"


@chapter.step(
    "kubectl logs -n {ns} {pod} -c istio-init",
    shows="""
        ......
        * nat
        -N ISTIO_<word>
        -N ISTIO_<word>
        -N ISTIO_<word>
        -N ISTIO_<word>
        ......
        -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-port<any> 15001
        ......
        COMMIT
        ......
    """,
    proves=6,
)
def the_log_holds_the_rules(world: World, seen: Seen) -> None:
    """istio-init's log shows the text that it gave to iptables-restore: the nat table gets four
    chains. ISTIO_REDIRECT hands any TCP connection, from anywhere to anywhere, to port 15001,
    where Envoy listens. COMMIT applies all of it at once or nothing.
    """
    log = parse_init_log(seen.stdout)
    expect(log.made, "chains in the order in which they are made").equal(world.mesh.chains_as_made)
    expect(_rules(log.nat), "rules in the log").equal(_rules(_planned()))
    expect(log.lines[-1], "the last line of the table").equal("COMMIT")


@the_log_holds_the_rules.breaks("the pod asks that port 443 is left alone")
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


@chapter.step(
    f"{LIST} -t nat",
    shows="""
        ......
        Chain ISTIO_INBOUND (1 references)
        ......
        Chain ISTIO_IN_REDIRECT (3 references)
        ......
        Chain ISTIO_OUTPUT (1 references)
        ......
        Chain ISTIO_REDIRECT (1 references)
        pkts bytes target prot opt in out source destination
        <any> REDIRECT <any> 0.0.0.0/0 0.0.0.0/0 <any>redir ports 15001
        ......
    """,
    proves=6,
    hint="the pod's own containers may not read the table: ask from the node, as root",
)
def the_live_table_holds_exactly_those(world: World, seen: Seen) -> None:
    """Neither nginx nor istio-proxy may look at the rules. On the node, a privileged process can:
    it enters the pod's network namespace and lists the nat table. It holds exactly the rules of
    the log, and four chains more than an ordinary pod's.
    """
    pod = world.pod(application.APP)
    listed = parse_iptables_list(seen.stdout)
    expect(sorted(listed.user_chains), "chains that somebody made").equal(sorted(CHAINS))
    expect(_rules(listed), "rules in the live table").equal(_rules(_planned()))
    expect(
        {name: listed.chain(name).references for name in CHAINS}, "references to each chain"
    ).equal(REFERENCES)
    expect(_rules(pod.nat()), "the same, read by the observer").equal(_rules(listed))
    neighbour = world.pod("app=web").nat()
    expect(neighbour.user_chains, "chains in the plain neighbour").lacks(*CHAINS)
    world.attach("nat rules: plain, injected", before=_rules(neighbour), after=_rules(listed))


@the_live_table_holds_exactly_those.breaks("somebody appends a rule")
def one_rule_too_many(world: World) -> Iterator[None]:
    """A rule that leaves port 9 alone, at the end of ISTIO_OUTPUT."""
    rule = (CHAIN_OUTPUT, "-p", "tcp", "--dport", "9", "-j", "RETURN")
    pod = world.pod(application.APP)
    _iptables(pod, "-A", *rule)
    yield
    _iptables(pod, "-D", *rule)


@chapter.step(
    "kubectl get po -n {ns} {pod} -o "
    "'custom-columns=INIT:.spec.initContainers[*].name,"
    "ENDED:.status.initContainerStatuses[*].state.terminated.reason,"
    "EXIT:.status.initContainerStatuses[*].state.terminated.exitCode'",
    f"{LIST} ISTIO_REDIRECT -t nat",
    shows=(
        """
        INIT ENDED EXIT
        istio-init Completed 0
        """,
        "",
    ),
    proves=7,
)
def netfilter_is_the_server(world: World, seen: Seen) -> None:
    """istio-init has ended: no process of it is left. Its rules act all the same, because the
    kernel keeps them. The application connects to an address that no host has, and the connection
    is accepted at once: it was counted by ISTIO_REDIRECT, and Envoy took it on port 15001.
    """
    pod = world.pod(application.APP)
    expect(pod.init(INIT_CONTAINER), "istio-init").satisfies("has ended well", lambda one: one.done)
    expect(_process_of(pod, INIT_CONTAINER), "processes of istio-init").equal("none")
    before = pod.nat().chain(CHAIN_REDIRECT).hits
    expect(pod.connect(*NOBODY, timeout=1.5).outcome, "a connection to nobody").equal("open")
    expect(pod.nat().chain(CHAIN_REDIRECT).hits, "packets that ISTIO_REDIRECT counted").more_than(
        before
    )
    _more(world, pod, re.escape("listener.0.0.0.0_15001.downstream_cx_total"))


def _process_of(pod: Pod, container: str) -> str:
    try:
        return f"process {pod.pid(container)}"
    except ObservationError:
        return "none"


@netfilter_is_the_server.breaks("ISTIO_REDIRECT is emptied")
def no_outbound_rule(world: World) -> Iterator[None]:
    """Flush the chain; then its one rule is put back."""
    yield from _flushed(world, CHAIN_REDIRECT)


@chapter.step(
    "docker exec --privileged {node} nsenter -t {pid} -n iptables-save -t nat",
    "docker exec --privileged {node} nsenter -t {pid} -n nft list table ip nat",
    shows=(
        """
        ......
        *nat
        ......
        -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
        ......
        COMMIT
        ......
        """,
        "",
    ),
    proves=7,
)
def every_client_reads_the_same(world: World, seen: Seen) -> None:
    """iptables is one client of netfilter among others. iptables-save and nft on the node read
    what istio-init, in an image of its own, handed in; so does the iptables of a third container,
    the observer's. Each has a notation of its own; the rules are the same.
    """
    saved = parse_iptables_save(seen[0].stdout)["nat"]
    expect(_rules(saved), "rules that iptables-save reads").equal(_rules(_planned()))
    expect(_rules(world.pod(application.APP).nat()), "rules that the observer's reads").equal(
        _rules(saved)
    )
    expect(_nft_rules(seen[1].stdout), "rules in each chain, as nft counts them").equal(
        {chain.name: len(chain.rules) for chain in _planned().chains}
    )
    expect(seen[1].stdout, "what nft prints").contains("redirect to :15001")


def _nft_rules(text: str) -> Mapping[str, int]:
    # Chains without rules are left out: a client that looks may make the built-in ones.
    counts: dict[str, int] = {}
    chain = ""
    for line in map(str.strip, text.splitlines()):
        if found := re.fullmatch(r"chain (\S+) \{", line):
            chain = found[1]
        elif chain and line and line != "}" and not line.startswith("type "):
            counts[chain] = counts.get(chain, 0) + 1
    return counts


@every_client_reads_the_same.breaks("somebody deletes a rule")
def one_rule_too_few(world: World) -> Iterator[None]:
    """The exception for Envoy's statistics; the undo puts it back at its place."""
    rule = ("-p", "tcp", "--dport", "15090", "-j", "RETURN")
    pod = world.pod(application.APP)
    _iptables(pod, "-D", CHAIN_INBOUND, *rule)
    yield
    _iptables(pod, "-I", CHAIN_INBOUND, "2", *rule)


@chapter.step(
    f"{LIST} ISTIO_REDIRECT -t nat",
    "kubectl exec -n {ns} {pod} -c nginx -- curl -si 'http://web.{ns}/?{request}'",
    f"{LIST} ISTIO_REDIRECT -t nat",
    proves=8,
    hint="`kubectl logs -c istio-proxy` shows what Envoy did with the request",
)
def a_request_out_of_the_pod(world: World, seen: Seen) -> None:
    """nginx's container asks its neighbour for a page. Nothing in the command speaks of a proxy,
    yet ISTIO_REDIRECT counts the connection, Envoy's access log has the request, its statistics
    count an answer 200 from the neighbour's Service, and the answer says `server: envoy`.
    """
    pod = world.pod(application.APP)
    _answered(seen[1].stdout)
    expect(_header(seen[1].stdout, "server"), "header `server`").equal("envoy")
    _counted(seen[0].stdout, seen[2].stdout, CHAIN_REDIRECT)
    service = f"outbound|80||web.{world.ns}.svc.cluster.local"
    _logged(world, pod, f'cluster="{service}"')
    _more(world, pod, world.mesh.outbound_answers.replace("NAME", re.escape(service)))


@a_request_out_of_the_pod.breaks("ISTIO_REDIRECT is emptied")
def the_neighbour_answers_itself(world: World) -> Iterator[None]:
    """Then the request goes straight to the neighbour's nginx."""
    yield from _flushed(world, CHAIN_REDIRECT)


@chapter.step(
    f"{LIST} ISTIO_IN_REDIRECT -t nat",
    "kubectl exec -n {ns} {web} -- curl -si 'http://{ip}/?{request}'",
    f"{LIST} ISTIO_IN_REDIRECT -t nat",
    proves=8,
    hint="`kubectl logs -c istio-proxy` shows what Envoy did with the request",
)
def a_request_into_the_pod(world: World, seen: Seen) -> None:
    """The neighbour asks the injected pod, at its address and port 80. ISTIO_IN_REDIRECT counts
    the connection: Envoy takes it on port 15006, passes it to nginx over loopback and logs it.
    """
    pod = world.pod(application.APP)
    _answered(seen[1].stdout)
    _counted(seen[0].stdout, seen[2].stdout, CHAIN_IN_REDIRECT)
    line = _logged(world, pod, f"destination={world.names.resolve('ip')}:80")
    cluster = re.search(r'cluster="([^"]+)"', line)
    expect(cluster[1] if cluster else "", "the cluster that Envoy names").matches(
        r"(?i)^inbound", "is one for what comes in"
    )
    name = re.escape(cluster[1] if cluster else "")
    _more(world, pod, world.mesh.inbound_answers.replace("NAME", name))


@a_request_into_the_pod.breaks("ISTIO_IN_REDIRECT is emptied")
def nginx_takes_it_itself(world: World) -> Iterator[None]:
    """Then the connection reaches nginx and Envoy never sees it."""
    yield from _flushed(world, CHAIN_IN_REDIRECT)


def _answered(output: str) -> None:
    expect((output.splitlines() or [""])[0], "the status line").matches(
        r"^HTTP/1\.1 200\b", "says 200"
    )
    expect(output, "the page").contains("nginx answers")


def _header(output: str, name: str) -> str:
    found = re.search(rf"(?im)^{name}:[ \t]*(.*?)\r?$", output)
    return found[1] if found else ""


def _counted(before: str, after: str, chain: str) -> None:
    first, then = (parse_iptables_list(text).chain(chain) for text in (before, after))
    expect(then.hits, f"packets that {chain} counted").more_than(first.hits)


def _logged(world: World, pod: Pod, also: str) -> str:
    """Wait for the line of the last request in Envoy's access log; Envoy writes once a second."""
    request = f"request-{world.memory['requests']} "

    def line() -> str:
        rows = pod.logs(PROXY_CONTAINER, tail=50).splitlines()
        return next((row for row in rows if f"/?{request}" in row and also in row), "")

    found = eventually(line, f"the request is in Envoy's access log with {also}", within=5)
    expect(found, "its line in the access log").matches(r'" 200 ', "says 200")
    return found


def _more(world: World, pod: Pod, counter: str) -> None:
    """The counter of that pattern has grown since the last time it was looked at."""
    before = world.memory.get(counter, 0)

    def now() -> int:
        return sum(pod.envoy().stats(f"^{counter}$").values())

    world.memory[counter] = eventually(
        lambda: expect(now(), f"Envoy's counter {counter}").more_than(before), within=5
    ).value
