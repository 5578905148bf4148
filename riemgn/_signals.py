"""Signals: an interrupt is heard once, by the process that can say what is kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from typing import Any


@contextmanager
def heeded_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C that cannot be lost: yields a function that raises `KeyboardInterrupt` where one came since, or a signal that is to mean the same.

    Python raises it wherever the main thread is; within a call made by compiled code it is dropped there, or comes back as an ordinary error.
    """
    came: list[int] = []

    def noted(heard: Callable[..., Any]) -> Callable[..., Any]:
        def note(number, frame):
            came.append(number)
            heard(number, frame)

        return note

    def heed():
        if came:
            raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            heard = signal.getsignal(number)
            if callable(heard):
                stack.enter_context(handled(number, noted(heard)))
        yield heed


@contextmanager
def handled(number: int, handler: Callable[..., Any]) -> Iterator[None]:
    """The signal is given to `handler` inside; unchanged in a thread that is not the main one, where Python takes no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def leave_interrupts_to_the_first() -> None:
    """In a process that works for another: Ctrl-C reaches all of a terminal's, and the first ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
