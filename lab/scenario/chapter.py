'''Chapters and steps, the parts of a scenario. For instance:

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
"""A change to the world: a generator that breaks it, yields, and restores it; or a function that
breaks it and may return the undo."""

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Break:
    """A change to the world that must turn the step's check red.

    `what` describes it. With `rerun` the step's commands run again before the check, except its
    `acts`; without, only the check runs, with the commands' earlier outputs.
    """

    what: str
    apply: Breakage
    rerun: bool


@dataclass
class Step:
    """One step of a chapter. `Chapter.step` creates it; `breaks` adds a change that must fail it.

    Together the breaks must turn every expectation of the check red, except those in `unbroken`,
    which maps their subjects to reasons.
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
        """Chapter and step number, for instance "1.2"."""
        return f"{self.chapter.number}.{self.number}"

    @property
    def title(self) -> str:
        """The name of the check, with blanks for underscores."""
        return self.name.replace("_", " ")

    def breaks(self, what: str, *, rerun: bool = True) -> Callable[[Breakage], Breakage]:
        """Declare a change that turns this check red; `what` completes "it fails when …"."""

        def declare(apply: Breakage) -> Breakage:
            self.broken_by.append(Break(what, apply, rerun))
            return apply

        return declare

    def cannot_break(self, what: str, *, because: str) -> None:
        """Declare that no break can turn the expectation about `what` red; `because` is the reason.

        A break run fails when a break does turn it red, or when there is no such expectation.
        """
        self.unbroken[what] = because


@dataclass
class Chapter:
    """One chapter. It runs alone, in its own namespace, any number of times.

    `number` orders the chapters and names the steps; `prose` is the module's docstring.
    The runner creates `namespace` and `other_namespaces` from scratch before the chapter and
    deletes them after it; with `makes_namespace=True` a step of the chapter creates `namespace`.
    An invalid declaration raises ScenarioError when the module is imported.
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
            raise ScenarioError(
                f"chapter {self.number}: {self.namespace!r} is not a namespace name"
            )
        self.prose = inspect.cleandoc(self.prose or "")
        if not self.prose:
            raise ScenarioError(f"chapter {self.number} has no prose", hint="pass prose=__doc__")

    def given(self, setup: Setup) -> Setup:
        """Add a set-up function. They run in order, in the fresh namespace, before step 1."""
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
        """Return a decorator that makes a step of a check, whose docstring is the step's text.

        `commands`: command lines as the reader types them: words, quotes, `|`, a final `> FILE`;
        when the step runs, `{name}` is replaced from `world.names` (`{ns}` is always there).
        `shows`: a template (lab.scenario.template) of the last command's output, or a sequence
        with one for each command ("" for any output).
        `proves`: which of PROOFS (lab/records/proofs.py) this step proves.
        `hint`: what a reader should try first when the step fails.
        `allow_exit`: exit codes besides 0 that are not an error.
        `within`: seconds during which commands and check are repeated until they hold (0: once);
        only for commands that may run any number of times.
        `timeout`: seconds for one command.
        `acts`: numbers (from 0) of the commands that change the world. A break does not run them
        again: a break that undoes an act has the same effect as an act that never ran.
        `waits`: for command numbers (from 0), the seconds during which the command is repeated
        until it succeeds and its output fits `shows`; the last output is recorded.
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
                raise ScenarioError(
                    f"{where}: `acts` must be numbers of its commands, "
                    "`waits` numbers of commands with a template"
                )
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
