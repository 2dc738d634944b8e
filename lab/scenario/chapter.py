'''Chapters and steps, the parts of a scenario. For instance:

"""The chapter's prose: the module's docstring. Paragraphs are separated by blank lines."""

from lab.scenario import Chapter, Seen, World, expect, eventually

chapter = Chapter(1, "Plain nginx", namespace="jiuxi-ns", prose=__doc__)

@chapter.given
def the_manifest(world: World) -> None:
    """Set-up, so that the chapter can run alone. The report names it if it fails."""
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
"""The function of a break. It is either a generator function that changes the world, yields, and
restores the world; or a plain function that changes the world and may return the undo function."""

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Break:
    """A deliberate fault in the cluster or in a file; it must make the step's check fail.

    `what` describes the change. If `rerun` is true, the step's commands, except its `acts`, run
    again before the check. Otherwise only the check runs, with the earlier outputs.
    """

    what: str
    apply: Breakage
    rerun: bool


@dataclass
class Step:
    """One step of a chapter, created by `Chapter.step`.

    `broken_by` are its breaks: deliberate faults that must make its check fail. Together they
    must make every expectation of the check fail, except those in `unbroken`. `unbroken` maps the
    subject of an expectation to the reason why no break can make it fail.
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
        """Return a decorator for a break: a deliberate fault that must make this step's check fail.

        `what` completes the sentence "It fails, as it must, when …" of the walkthrough.
        """

        def declare(apply: Breakage) -> Breakage:
            self.broken_by.append(Break(what, apply, rerun))
            return apply

        return declare

    def cannot_break(self, what: str, *, because: str) -> None:
        """Declare that no break can make the expectation about `what` fail, and the reason.

        A run with breaks fails unless there is exactly one expectation about `what` that no break
        makes fail.
        """
        self.unbroken[what] = because


@dataclass
class Chapter:
    """One chapter. It can run without the others, in its own namespace, any number of times.

    The chapters are sorted by `number`, which is also the first part of their steps' ids. `prose`
    is the docstring of the chapter's module.
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
                f"chapter {self.number}: {self.namespace!r} is not a valid name of a namespace"
            )
        self.prose = inspect.cleandoc(self.prose or "")
        if not self.prose:
            raise ScenarioError(
                f"chapter {self.number} has no prose",
                hint="give the module a docstring and pass prose=__doc__",
            )

    def given(self, setup: Setup) -> Setup:
        """Add a set-up function and return it. The decorator is `@chapter.given`.

        All set-up functions run before step 1, in the order in which they were added.
        """
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
        """Return a decorator that turns a check function into a step of this chapter.

        The docstring of the check function is the text of the step.

        `commands`: command lines as the reader types them: words, quotes, `|`, a final `> FILE`;
        when the step runs, `{name}` is replaced by its value in `world.names`, which always has
        a value for `{ns}`.
        `shows`: a template (lab.scenario.template) of the last command's output, or a sequence
        with one template for each command ("" for any output).
        `proves`: the numbers of the PROOFS (lab/records/proofs.py) that this step proves.
        `hint`: what a reader should try first when the step fails.
        `allow_exit`: exit codes besides 0 that are not an error.
        `within`: time in seconds during which commands and check are repeated until the check
        passes. With 0 they run once. Use it only with commands that can run any number of times.
        `timeout`: time limit in seconds for one command.
        `acts`: numbers (from 0) of the commands that change the world. They do not run again after
        a break, because they would change back what the break has changed.
        `waits`: maps the number (from 0) of a command to a time in seconds. During this time the
        command is repeated until it succeeds and its output fits `shows`; only its last output is
        recorded.
        """

        def declare(check: Check) -> Step:
            where = f"step {self.number}.{len(self.steps) + 1} ({check.__name__})"
            if not commands:
                raise ScenarioError(f"{where} has no command")
            prose = inspect.cleandoc(check.__doc__ or "")
            if not prose:
                raise ScenarioError(f"{where} has no docstring, which would be the step's text")
            if isinstance(shows, str):
                templates = [*("" for _ in commands[1:]), shows]
            else:
                templates = list(shows)
            if len(templates) != len(commands):
                raise ScenarioError(
                    f"{where} has {len(commands)} commands and {len(templates)} templates: "
                    "`shows` needs one template for each command"
                )
            proven = (proves,) if isinstance(proves, int) else tuple(proves)
            if unknown := sorted(set(proven) - PROOFS.keys()):
                raise ScenarioError(
                    f"{where} proves number {unknown[0]}, which is not in lab/records/proofs.py"
                )
            numbers = {*acts, *(waits or {})}
            if not numbers <= set(range(len(commands))) or any(
                not templates[number].strip() for number in waits or {}
            ):
                raise ScenarioError(
                    f"{where}: `acts` must be numbers of its commands (from 0), and `waits` "
                    "must have numbers of commands that have a template in `shows`"
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
