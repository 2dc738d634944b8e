"""istio-init runs for a moment and is gone; what it leaves behind are rules in the kernel. The
kernel's netfilter is the server here, iptables only a client that hands rules in and reads them
back. Whoever asks, with whatever tool, is shown the same rules.

The rules send the pod's TCP traffic through Envoy: what the application sends goes to port 15001,
what arrives for it goes to port 15006. This chapter reads the rules in istio-init's log and in the
live table, and then follows one request out of the pod and one into it: the rules count them, and
Envoy logs and answers them.
"""

from lab.mesh.contract import (
    CHAIN_IN_REDIRECT,
    CHAIN_REDIRECT,
    CHAINS,
    INIT_CONTAINER,
)
from lab.observe.parsers import parse_init_log, parse_iptables_list, parse_iptables_save
from lab.scenario import Chapter, Seen, World, expect
from scenarios import application, rules
from scenarios.rules import LIST, LOG, LOGGED, PLANNED, STATS

chapter = Chapter(3, "iptables", namespace="jiuxi-iptables", prose=__doc__)

TAKEN = "listener.0.0.0.0_15001.downstream_cx_total'"
ANSWERS = "web.*local.?.upstream_rq_200$'"


@chapter.given
def an_injected_nginx_and_a_neighbour(world: World) -> None:
    """Apply an injected nginx, and the neighbour: a plain nginx behind a Service."""
    application.web(world)
    application.injected(world)
    world.memory["requests"] = 0
    world.names["web_pid"] = lambda: str(world.pod("app=web").pid("nginx"))
    world.names["request"] = lambda: _next_request(world)
    world.names["made"] = lambda: f"request-{world.memory['requests']}"


def _next_request(world: World) -> str:
    # Each request is new, so its line in the access log cannot be that of an older request.
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
    expect(log.chains, "the four chains that are made").equal(world.mesh.chain_order)
    expect(rules.texts(log.nat), "the rules in the log").equal(
        rules.texts(rules.planned()), PLANNED
    )


the_log_holds_the_rules.breaks("istio-init makes other rules, and its chains in another order")(
    rules.another_log
)


the_log_holds_the_rules.breaks("the pod asks that port 443 is left alone")(rules.an_excluded_port)


@chapter.step(
    f"{LIST} -t nat",
    "docker exec --privileged {node} nsenter -t {web_pid} -n iptables -nvL -t nat",
    shows=(
        """
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
        "",
    ),
    proves=6,
    hint="the pod's own containers may not read the table: ask from the node, as root",
)
def the_live_table_holds_exactly_those(world: World, seen: Seen) -> None:
    """Neither nginx nor istio-proxy may look at the rules. On the node, a privileged process can:
    it enters the pod's network namespace and lists the nat table. It holds exactly the rules of
    the log, and four chains more than an ordinary pod's.
    """
    pod = world.pod(application.APP)
    listed = parse_iptables_list(seen[0].stdout)
    wanted = rules.texts(rules.planned())
    expect(listed.user_chains, "the chains that somebody made").equal(frozenset(CHAINS))
    expect(rules.texts(listed), "the rules in the live table").equal(wanted, PLANNED)
    references = {name: listed.chain(name).references for name in CHAINS}
    expect(references, "the references").equal(rules.REFERENCES)
    expect(rules.texts(pod.nat()), "the rules that the observer reads").equal(wanted, PLANNED)
    neighbour = parse_iptables_list(seen[1].stdout)
    expect(neighbour.user_chains, "the chains in the plain neighbour").lacks(*CHAINS)
    before, after = rules.texts(neighbour), rules.texts(listed)
    world.attach("nat rules: plain, injected", before=before, after=after)


the_live_table_holds_exactly_those.breaks("somebody appends a rule")(rules.one_rule_too_many)


the_live_table_holds_exactly_those.breaks("somebody makes chains, here and in the neighbour")(
    rules.chains_too_many
)


@chapter.step(
    "kubectl get po -n {ns} {pod} -o "
    "'custom-columns=INIT:.spec.initContainers[*].name,"
    "ENDED:.status.initContainerStatuses[*].state.terminated.reason,"
    "EXIT:.status.initContainerStatuses[*].state.terminated.exitCode'",
    f"{LIST} ISTIO_REDIRECT -t nat",
    STATS + TAKEN,
    "kubectl exec -n {ns} {pod} -c nginx -- curl -sv -m 1 http://192.0.2.1:81/",
    f"{LIST} ISTIO_REDIRECT -t nat",
    STATS + TAKEN,
    shows=(
        """
        INIT ENDED EXIT
        istio-init Completed 0
        """,
        *("" for _ in range(5)),
    ),
    allow_exit=[1, 7, 28, 52, 56],
    proves=7,
)
def netfilter_is_the_server(world: World, seen: Seen) -> None:
    """istio-init has ended: no process of it is left. Its rules act all the same, because the
    kernel keeps them. The application connects to an address that no host has (192.0.2.1, of RFC
    5737's TEST-NET-1), and the connection is accepted at once: ISTIO_REDIRECT has counted it, and
    Envoy took it on port 15001. Then Envoy finds nobody either.
    """
    pod = application.spoken_of(world)
    expect(pod.init(INIT_CONTAINER).state, "the state of istio-init").equal("terminated")
    left = [process.command for process in pod.processes(INIT_CONTAINER)]
    expect(left, "the processes of istio-init").equal([])
    expect(seen[3].text, "what curl says of the connection").contains("Connected to 192.0.2.1 ")
    rules.expect_counted(seen[1], seen[4], CHAIN_REDIRECT)
    rules.expect_grown(seen[2], seen[5], "connections taken on port 15001")


netfilter_is_the_server.breaks("istio-init goes on, and makes no rules")(rules.an_endless_init)


netfilter_is_the_server.breaks("ISTIO_REDIRECT is emptied")(rules.no_outbound_rule)


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
    plan = rules.planned()
    expect(rules.texts(saved), "the rules that iptables-save reads").equal(
        rules.texts(plan), PLANNED
    )
    observed = rules.texts(world.pod(application.APP).nat())
    expect(observed, "the rules that the observer's iptables reads").equal(
        rules.texts(plan), PLANNED
    )
    expect(rules.nft_rules(seen[1].stdout), "the numbers of rules that nft lists").equal(
        {chain.name: len(chain.rules) for chain in plan.chains}
    )
    expect(seen[1].stdout, "what nft prints").contains("redirect to :15001")


every_client_reads_the_same.breaks("somebody deletes a rule")(rules.one_rule_too_few)


every_client_reads_the_same.breaks("ISTIO_REDIRECT is emptied")(rules.no_rule)


@chapter.step(
    f"{LIST} ISTIO_REDIRECT -t nat",
    STATS + ANSWERS,
    "kubectl exec -n {ns} {pod} -c nginx -- curl -si 'http://web.{ns}/?{request}'",
    f"{LIST} ISTIO_REDIRECT -t nat",
    LOG,
    STATS + ANSWERS,
    shows=("", "", "", "", LOGGED, ""),
    waits={4: 5},
    proves=8,
    hint="`kubectl logs -c istio-proxy` shows what Envoy did with the request",
)
def a_request_out_of_the_pod(world: World, seen: Seen) -> None:
    """nginx's container asks its neighbour for a page. Nothing in the command speaks of a proxy,
    yet ISTIO_REDIRECT counts the connection, Envoy's access log has the request, its statistics
    count an answer 200 from the neighbour's Service, and the answer says `server: envoy`.
    """
    rules.expect_answered(seen[2])
    expect(rules.header(seen[2], "server"), "the header `server`").equal("envoy")
    rules.expect_counted(seen[0], seen[3], CHAIN_REDIRECT)
    cluster = rules.field(seen[4], world.names.resolve("made"), "cluster")
    expect(cluster, "the cluster in the request's line of Envoy's log").equal(
        f"outbound|80||web.{world.ns}.svc.cluster.local"
    )
    rules.expect_grown(seen[1], seen[5], "answers 200 from the neighbour's Service")


a_request_out_of_the_pod.breaks("ISTIO_REDIRECT is emptied")(rules.the_neighbour_answers_itself)


a_request_out_of_the_pod.breaks("the neighbour has lost its page")(rules.a_neighbour_without_a_page)


@chapter.step(
    f"{LIST} ISTIO_IN_REDIRECT -t nat",
    STATS + "{inbound_answers}'",
    "kubectl exec -n {ns} {web} -- curl -si 'http://{ip}/?{request}'",
    f"{LIST} ISTIO_IN_REDIRECT -t nat",
    LOG,
    STATS + "{inbound_answers}'",
    shows=("", "", "", "", LOGGED, ""),
    waits={4: 5},
    proves=8,
    hint="`kubectl logs -c istio-proxy` shows what Envoy did with the request",
)
def a_request_into_the_pod(world: World, seen: Seen) -> None:
    """The neighbour asks the injected pod, at its address and port 80. ISTIO_IN_REDIRECT counts
    the connection: Envoy takes it on port 15006, passes it to nginx over loopback and logs it.
    """
    rules.expect_answered(seen[2])
    rules.expect_counted(seen[0], seen[3], CHAIN_IN_REDIRECT)
    request = world.names.resolve("made")
    destination = rules.field(seen[4], request, "destination")
    expect(destination, "the destination in the request's line of Envoy's log").equal(
        f"{world.names.resolve('ip')}:80"
    )
    expect(rules.field(seen[4], request, "cluster"), "the cluster in that line").matches(
        r"(?i)^inbound", "is one for what comes in"
    )
    rules.expect_grown(seen[1], seen[5], "answers from the pod's own nginx")


a_request_into_the_pod.breaks("ISTIO_IN_REDIRECT is emptied")(rules.nginx_takes_it_itself)


a_request_into_the_pod.breaks("nginx has lost its page")(rules.an_nginx_without_a_page)
