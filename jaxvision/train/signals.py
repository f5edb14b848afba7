"""SIGTERM and Ctrl-C: the first asks the loop to finish its step, save and leave; the second leaves at once."""

import os
import signal
import threading

EXIT_CODE = 75  # EX_TEMPFAIL: "try again later"; the same command resumes


class Interrupted(SystemExit):
    """Training stopped on request, after saving; the process exits with code 75, and the same command resumes."""

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Interruption:
    """A context in which ``requested`` turns to the signal's name once SIGTERM or SIGINT arrives. Only the main thread can listen."""

    def __init__(self):
        self.requested: str | None = None
        self._before: dict = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = signal.Signals(number).name
        os.write(2, f"\n{self.requested}: finishing this step, then saving; once more to leave at once\n".encode())
