"""One case: made from seed and index, judged within its limits, made smaller when it fails."""

import json
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final, Literal

from lab.kube.errors import ApiError
from lab.mesh.errors import AdmissionError
from lab.mesh.webhook import review
from tests.fuzz import apiserver, files, odd, reviews, seeds, texts
from tests.fuzz.apiserver import Judge
from tests.fuzz.reviews import Verdict

Kind = Literal["review", "document"]
CPU_SECONDS: Final = 5.0
"""Processor time for one case; an honest one takes 2 ms, the largest 0.5 s."""
MEMORY: Final = 3 * 2**30
"""Bytes of address space for a worker."""
OVER_HTTPS: Final = 50
"""One review in so many also goes to the running webhook."""
DOCUMENTS_ASKED: Final = 10
"""One document in so many is given to the API server."""
TRIALS: Final = 150
"""Attempts to make a failing case smaller."""
SMALLER_SECONDS: Final = 30.0
"""Making one case smaller ends then; a case that takes long is not tried 150 times."""


class LateError(BaseException):
    """A case used up its processor time; nothing that it runs may catch this."""


@dataclass
class Cases:
    """What makes and judges cases of one kind. `kubeconfig` None: without the API server.

    `below`: where its files go, None for the usual place; who gives one removes what is left.
    """

    kind: Kind
    seed: str
    kubeconfig: Path | None
    below: Path | None = None

    def __post_init__(self) -> None:
        self.judge = Judge(self.kubeconfig) if self.kubeconfig else None
        self.pods = seeds.pods() if self.kind == "review" else []
        self.texts = seeds.texts()
        self.folder = Path(tempfile.mkdtemp(prefix="sidecar-lab-fuzz-", dir=self.below))
        self.over_https = 0
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGPROF, _late)

    def make(self, index: int) -> bytes:
        """The case of this index: the same for the same seed."""
        rng = Random(f"{self.seed}/{self.kind}/{index}")
        try:
            if self.kind == "review":
                return reviews.make(rng, self.pods)
            return texts.make(rng, self.texts)
        except (RecursionError, UnicodeError):
            # A mutator wrote what Python itself cannot write: bytes of a seed are damaged instead.
            return reviews.damaged(rng, self.texts[index % len(self.texts)][1])

    def look(self, data: bytes, *, sampled: bool) -> Verdict:
        """Judge one case; a crash, a hang and too much memory are findings, too.

        `sampled`: also ask what only a part of the cases is asked.
        """
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            if self.kind == "document":
                return files.judge(data, self.folder, self.judge if sampled else None)
            found = reviews.judge(data, self.judge.dry_run if self.judge else None)
            if sampled and self.judge and not found.problem and len(data) < apiserver.LARGEST:
                return self._over_https(data, found, self.judge)
            return found
        except LateError:
            return Verdict("late", f"took more than {CPU_SECONDS:.0f} s of processor time")
        except ApiError as gone:
            # An ApiError does not travel between processes.
            raise OSError(gone.message) from None
        except Exception as crash:  # noqa: BLE001 - crashes are what is looked for
            frames = traceback.extract_tb(crash.__traceback__)
            at = next((f for f in reversed(frames) if "/lab/" in f.filename), frames[-1])
            where = f"{Path(at.filename).name}:{at.lineno} {at.name}"
            return Verdict("crash", f"{type(crash).__name__} in {where}: {str(crash)[:200]}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def close(self) -> None:
        """Remove the files that were worked on."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_sampled(self, index: int) -> bool:
        """Whether this index is asked more than the others."""
        return index % (OVER_HTTPS if self.kind == "review" else DOCUMENTS_ASKED) == 0

    def _over_https(self, body: bytes, found: Verdict, judge: Judge) -> Verdict:
        status, answered = judge.webhook(body)
        self.over_https += 1
        try:
            review.check_request("application/json", len(body))
            expected = json.loads(json.dumps(review.answer(body, reviews.SETTINGS).review))
        except AdmissionError as error:
            same = status == error.status
        else:
            same = status == 200 and answered == expected
        return found if same else Verdict(found.outcome, f"the running webhook differs: {status}")

    def smaller(self, data: bytes, problem: str) -> bytes:
        """The case without what its problem does not need, as far as a few trials bring."""
        wanted, until = signature(problem), time.monotonic() + SMALLER_SECONDS

        def still(candidate: bytes) -> bool:
            if time.monotonic() > until:
                return False
            return signature(self.look(candidate, sampled=True).problem) == wanted

        if not still(data):
            return data
        return _smaller_json(data, still) if self.kind == "review" else _smaller_text(data, still)


def signature(problem: str) -> str:
    """What findings of one cause have in common."""
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"|\[[^\]]*\]", "#", problem)[:110]


def _late(_: int, __: FrameType | None) -> None:
    raise LateError


def _smaller_json(data: bytes, still: Callable[[bytes], bool]) -> bytes:
    try:
        tree: Any = json.loads(data)
    except ValueError:
        return _smaller_text(data, still)
    trials, at = TRIALS, 0
    while trials and at < len(known := odd.slots(tree)):
        holder, key = known[at]
        before = json.dumps(tree)
        del holder[key]
        trials -= 1
        if not still(json.dumps(tree).encode()):
            tree = json.loads(before)
            at += 1
    return json.dumps(tree).encode()


def _smaller_text(data: bytes, still: Callable[[bytes], bool]) -> bytes:
    size, trials = max(len(data) // 2, 1), TRIALS
    while trials:
        for at in range(0, len(data), size):
            candidate = data[:at] + data[at + size :]
            trials -= 1
            if still(candidate):
                data = candidate
                break
            if not trials:
                return data
        else:
            if size == 1:
                return data
            size //= 2
    return data
