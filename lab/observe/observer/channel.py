"""Asks the program that runs in the observer. One run of the program answers many questions.

Each question and each answer is one line of JSON.
"""

import contextlib
import itertools
import json
import queue
import subprocess
import threading
from collections.abc import Sequence
from importlib import resources
from typing import Any

from lab.errors import ObservationError

_LOADER = """\
import json, sys, types
for name, source in json.loads(sys.stdin.buffer.readline()).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), vars(module))
module.main()
"""
"""Python source that loads the program from the first line of standard input and runs it.

The program then reads questions from the following lines.
"""

_PROGRAM = ("procfs", "program")
"""Modules of the program. A module can import only earlier modules; the last has `main`."""

SLACK = 3.0
"""Seconds that are added to the time limit of each question, because the machine can be busy."""


class ChannelClosedError(ObservationError):
    """The program in the observer ended, because the observer or its node stopped."""


class NoAnswerError(ObservationError):
    """The program in the observer sent no answer within the time limit."""


class Channel:
    """Starts the observer's program, and asks it questions. Several threads may ask at once."""

    def __init__(self, argv: Sequence[str], *, python: str = "python3") -> None:
        """Start `python` with a short loader, and send the program to the loader.

        `argv`: the words before `python`, such as `docker exec -i CONTAINER`.

        Raises ObservationError when the command cannot be started.
        """
        here = resources.files(__package__)
        program = {
            f"{__package__}.{module}": (here / f"{module}.py").read_text("utf-8")
            for module in _PROGRAM
        }
        try:
            # Not lab.command: that runs a command to its end, this one stays.
            self._process = subprocess.Popen(
                [*argv, python, "-u", "-c", _LOADER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise ObservationError(f"cannot start {(*argv, python)[0]}: {error}") from error
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._complaints: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(ChannelClosedError):  # the first question reports the reason
            self._send(json.dumps(program).encode() + b"\n")

    def ask(self, question: str, *, wait: float, **details: Any) -> Any:
        """Send a question with its `details` and return the JSON value of the answer.

        The call waits at most `wait` + SLACK seconds, and raises NoAnswerError when this time is
        over. Raises ChannelClosedError when the program has ended, and ObservationError when the
        program answers with an error.
        """
        number = next(self._numbers)
        slot: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            if self._closed:
                raise self._gone()
            self._waiting[number] = slot
        try:
            self._send(json.dumps({"id": number, "ask": question, **details}).encode() + b"\n")
            answer = slot.get(timeout=wait + SLACK)
        except queue.Empty as late:
            raise NoAnswerError(
                f"the observer did not answer {question!r} within {wait + SLACK:g} s",
                hint="is the machine overloaded, or is the lab paused (`lab up` resumes it)?",
            ) from late
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if answer is None:
            raise self._gone()
        if "error" in answer:
            raise ObservationError(
                f"the observer cannot answer {question!r}: {answer['error']}",
                hint=answer.get("hint", ""),
            )
        return answer["ok"]

    def close(self) -> None:
        """Close the program's standard input, which ends the program; kill it after one second."""
        with self._lock:
            self._closed = True
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # the process may have ended already
            stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _send(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            with self._lock:
                stdin.write(data)
                stdin.flush()
        except (OSError, ValueError) as gone:
            raise self._gone() from gone

    def _gone(self) -> ChannelClosedError:
        self._readers[1].join(timeout=1)  # the rest of its standard error may still be on the way
        reason = " ".join(self._complaints)[-500:].strip()
        return ChannelClosedError(
            "the program in the observer ended" + (f": {reason}" if reason else ""),
            hint="is the lab's node running? `lab status` shows it, `lab up` repairs it",
        )

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        for line in stdout:
            answer = json.loads(line)
            with self._lock:
                slot = self._waiting.get(answer["id"])
            if slot is not None:
                slot.put(answer)
        with self._lock:
            self._closed = True
            left = list(self._waiting.values())
        for slot in left:
            slot.put(None)

    def _listen(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        for line in stderr:
            self._complaints.append(line.decode(errors="replace").strip())
            del self._complaints[:-20]
