'''Chapters and steps: how a scenario is written. A step is one thing, used four ways.

"""The chapter's prose: the module's docstring. Paragraphs are separated by blank lines."""

from lab.scenario import Chapter, Seen, World, expect, eventually

chapter = Chapter(1, "Plain nginx", namespace="jiuxi-ns", prose=__doc__)

@chapter.given
def the_manifest(world: World) -> None:
    """What the chapter needs to run alone; timed, recorded, named if it fails."""
    world.write("jiuxi.yaml", world.manifest("jiuxi-deployment.yaml"))

@chapter.step(
    "kubectl apply -n {ns} -f jiuxi.yaml",
    "kubectl get pods -n {ns}",
    shows=("deployment.apps/jiuxi <any>",
           "NAME <any>\\njiuxi-<hash>-<hash> 1/1 Running 0 <age>"),
    proves=1, within=20,
    hint="`kubectl describe pod -n jiuxi-ns` says why a pod is not Ready",
)
def the_pod_is_ready(world: World, seen: Seen) -> None:
    """One container, one process: READY says 1/1."""          # the paragraph: why
    expect(seen.rows[0]["READY"], "READY").equal("1/1")

@the_pod_is_ready.breaks("the deployment is scaled to nothing", rerun=False)
def no_pod(world: World) -> Iterator[None]:
    world.kubectl("scale", "deployment/jiuxi", "--replicas=0")
    yield                                                        # the check must fail here
    world.kubectl("scale", "deployment/jiuxi", "--replicas=1")
'''

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.errors import ScenarioError
from lab.records.proofs import PROOFS
from lab.scenario import command_line
from lab.scenario.command_line import CommandLine
from lab.scenario.seen import Seen
from lab.scenario.template import Template

if TYPE_CHECKING:
    from lab.scenario.world import World

Check = Callable[["World", Seen], None]
Setup = Callable[["World"], None]
Undo = Callable[[], object]
Breakage = Callable[["World"], Iterator[None] | Undo | None]
"""A change to the world: code before `yield` breaks, after it restores; or it returns the undo."""

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Break:
    """The change that must turn the step's own check red.

    `rerun`: run the step's commands again before the check, but not those that are its `acts`
    (False: only the check, with what the commands printed before).
    """

    what: str
    apply: Breakage
    rerun: bool


@dataclass
class Step:
    """One step. Made by `Chapter.step`; `breaks` adds a change that must fail it.

    Together the breaks turn every expectation of the check red but those in `unbroken`, which
    holds the reason for each.
    """

    chapter: "Chapter"
    number: int
    name: str
    prose: str
    commands: tuple[CommandLine, ...]
    check: Check
    shows: tuple[Template | None, ...]
    proves: tuple[int, ...]
    hint: str
    allow_exit: frozenset[int]
    within: float
    timeout: float
    acts: frozenset[int] = frozenset()
    waits: Mapping[int, float] = field(default_factory=dict)
    broken_by: list[Break] = field(default_factory=list)
    unbroken: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """For instance "1.2"."""
        return f"{self.chapter.number}.{self.number}"

    @property
    def title(self) -> str:
        """The check's name in words."""
        return self.name.replace("_", " ")

    def breaks(self, what: str, *, rerun: bool = True) -> Callable[[Breakage], Breakage]:
        """Declare what turns this check red; `what` completes "it fails when …"."""

        def declare(apply: Breakage) -> Breakage:
            self.broken_by.append(Break(what, apply, rerun))
            return apply

        return declare

    def cannot_break(self, what: str, *, because: str) -> None:
        """List an expectation about `what` as one that nothing can be seen to turn red.

        A break run fails when it is seen red all the same, or when there is no such one.
        """
        self.unbroken[what] = because


@dataclass
class Chapter:
    """One chapter: runs alone in a namespace of its own, any number of times.

    `number` orders the chapters and names the steps; `prose` is the module's docstring.
    The runner makes `namespace` and `other_namespaces` new before the chapter and deletes them
    after it; with `makes_namespace=True` a step of the chapter creates `namespace` itself.
    Raises ScenarioError for an unusable declaration, when the module is imported.
    """

    number: int
    title: str
    namespace: str
    prose: str | None = None
    other_namespaces: tuple[str, ...] = ()
    makes_namespace: bool = False
    steps: list[Step] = field(default_factory=list, init=False)
    setups: list[Setup] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ScenarioError(f"chapter {self.number}: {self.namespace!r} is no namespace name")
        self.prose = inspect.cleandoc(self.prose or "")
        if not self.prose:
            raise ScenarioError(f"chapter {self.number} has no prose", hint="pass prose=__doc__")

    def given(self, setup: Setup) -> Setup:
        """Add a set-up function; they run in order, in the fresh namespace, before step 1."""
        self.setups.append(setup)
        return setup

    def step(
        self,
        *commands: str,
        shows: str | Sequence[str] = "",
        proves: int | Sequence[int] = (),
        hint: str = "",
        allow_exit: Sequence[int] = (),
        within: float = 0.0,
        timeout: float = 60.0,
        acts: Sequence[int] = (),
        waits: Mapping[int, float] | None = None,
    ) -> Callable[[Check], Step]:
        """Declare a step on its check; the check's docstring is the step's paragraph.

        `commands`: command lines as the reader types them: words, quotes, `|`, a final `> FILE`;
        `{name}` is filled from `world.names` (`{ns}` is always there) when the step runs.
        `shows`: a template (lab.scenario.template) of what the last command prints, or one for
        each command ("" for any).
        `proves`: which of PROOFS (lab/records/proofs.py) this step proves.
        `hint`: what a reader should try first when it fails.
        `allow_exit`: exit codes besides 0 that are expected of a command.
        `within`: seconds for which commands and check are repeated until they hold (0: once);
        only for commands that may run any number of times.
        `timeout`: seconds for one command.
        `acts`: which commands (from 0) change the world and are not run again by a break; a break
        between two looks is as good as the act's own absence.
        `waits`: seconds for which a command (from 0) is repeated
        until it ends well and prints what `shows` says; its last output is what is recorded.
        """

        def declare(check: Check) -> Step:
            where = f"step {self.number}.{len(self.steps) + 1} ({check.__name__})"
            if not commands:
                raise ScenarioError(f"{where} has no command")
            prose = inspect.cleandoc(check.__doc__ or "")
            if not prose:
                raise ScenarioError(f"{where} has no docstring to say why")
            if isinstance(shows, str):
                templates = [*("" for _ in commands[1:]), shows]
            else:
                templates = list(shows)
            if len(templates) != len(commands):
                raise ScenarioError(
                    f"{where} has {len(commands)} commands and {len(templates)} templates"
                )
            proven = (proves,) if isinstance(proves, int) else tuple(proves)
            if unknown := sorted(set(proven) - PROOFS.keys()):
                raise ScenarioError(
                    f"{where} proves {unknown[0]}, which lab/records/proofs.py lacks"
                )
            numbers = {*acts, *(waits or {})}
            if not numbers <= set(range(len(commands))) or any(
                not templates[number].strip() for number in waits or {}
            ):
                raise ScenarioError(f"{where}: acts are commands, waits commands with a template")
            step = Step(
                chapter=self,
                number=len(self.steps) + 1,
                name=check.__name__,
                prose=prose,
                commands=tuple(command_line.parse(text) for text in commands),
                check=check,
                shows=tuple(Template(text) if text.strip() else None for text in templates),
                proves=proven,
                hint=hint,
                allow_exit=frozenset(allow_exit),
                within=within,
                timeout=timeout,
                acts=frozenset(acts),
                waits=dict(waits or {}),
            )
            self.steps.append(step)
            return step

        return declare
