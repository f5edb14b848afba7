"""SIGTERM and Ctrl-C: the first asks the loop to finish its step, save and exit; the second exits at once."""

import os
import signal
import threading
from types import TracebackType

EXIT_CODE = 75  # EX_TEMPFAIL: "try again later"; the same command resumes


class Interrupted(SystemExit):
    """Raised when training stopped on request, after saving. The process exits with code 75; the same command resumes.

    >>> import jaxvision as jv
    >>> error = jv.train.Interrupted("SIGTERM: saved step 100")
    >>> str(error), error.code
    ('SIGTERM: saved step 100', 75)
    """

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Interruption:
    """A context in which ``requested`` becomes the signal's name once SIGTERM or SIGINT arrives.

    Signal handlers can be set only in the main thread. In another thread the context does nothing.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._handlers_before: dict = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers_before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = signal.Signals(number).name
        os.write(2, f"\n{self.requested}: finishing this step and saving; send it again to exit at once\n".encode())
