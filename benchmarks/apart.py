"""Run a measurement in a process of its own, so that none inherits another's memory or threads."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class MeasurementError(RuntimeError):
    """A measurement did not come to its end."""


def apart(function: Callable, *arguments: Any, patience: float = 300) -> Any:
    """Return what `function` returns in a new process, given at most `patience` seconds."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(patience):
            raise MeasurementError(f"was given up after {patience:.0f} s")
        succeeded, answer = receiver.recv()
    except EOFError:
        process.join()
        raise MeasurementError(f"died with exit code {process.exitcode}") from None
    finally:
        receiver.close()
        process.kill()
        process.join()
    if not succeeded:
        raise MeasurementError(answer)
    return answer


def _answer(sender: Connection, function: Callable, arguments: tuple[Any, ...]) -> None:
    try:
        answer = True, function(*arguments)
    except BaseException as error:  # what Rust panics with is no Exception
        answer = False, f"{type(error).__name__}: {error}"
    sender.send(answer)
    sender.close()
    os._exit(0)  # releasing a million entries would take a second
