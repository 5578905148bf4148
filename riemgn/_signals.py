"""Signals: Ctrl-C is handled in the main process, which then lists the saved results."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from typing import Any


@contextmanager
def recorded_interrupts() -> Iterator[Callable[[], None]]:
    """Record interrupts, and yield a function that raises `KeyboardInterrupt` if one came.

    Python raises the exception wherever the main thread is. Compiled code may drop it there or turn
    it into another error, so call the function afterwards. SIGTERM counts if it has a handler.
    """
    received: list[int] = []

    def recording(handler: Callable[..., Any]) -> Callable[..., Any]:
        def record(number, frame):
            received.append(number)
            handler(number, frame)

        return record

    def reraise_interrupt():
        if received:
            raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                stack.enter_context(signal_handler(number, recording(handler)))
        yield reraise_interrupt


@contextmanager
def signal_handler(number: int, handler: Callable[..., Any]) -> Iterator[None]:
    """Install `handler` for a signal inside the context, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals only in the main thread
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker process, because the main process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
