"""The callback of a write, once it is on disk: cheaper than a future, and one turn of the loop earlier."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everstep.store.protocol import Change, Store


class WriteCallback:
    """Stands where a future would: a store that knows it calls back directly, others answer a future of their own.

    Args:
        call: Called once, with `what` and the error, or None.
        what: What was written.

    Attributes:
        told: A future for others who wait for the same write, done just before the call.
    """

    __slots__ = ("_call", "_change", "_done", "future")

    def __init__(self, call: Callable[[Any, BaseException | None], None], what: Any) -> None:
        self._call = call
        self._change = what
        self._done = False
        self.future: Future[Any] | None = None

    def done(self) -> bool:
        """Whether it was called, or cancelled."""
        return self._done

    def cancel(self) -> bool:
        """Call nobody."""
        self._done = True
        return True

    def resolve(self, outcome: Any) -> None:
        """Call with the error that a store answers, or with None for anything else; nobody, if that was done before."""
        if self._done:
            return
        self._done = True
        error = outcome if isinstance(outcome, BaseException) else None
        if self.future is not None and not self.future.done():
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)
                self.future.exception()  # whoever does not wait for it is told by the call
        call = self._call  # a name: what is called as an attribute is looked up as a method first
        call(self._change, error)

    def write(self, store: Store, change: Change) -> Future[None]:
        """Have a change written and answered here; return what stands for that, a future or this."""
        written = store.write(change, awaited=True, answer=self)
        if written is not self:  # type: ignore[comparison-overlap]  # a store that does not know answers
            written.add_done_callback(self.follow)
        return self.future or written

    def follow(self, written: Future[Any]) -> None:
        """Take over the outcome of a future."""
        if written.cancelled():
            self.cancel()
        elif (error := written.exception()) is not None:
            self.resolve(error)
        else:
            self.resolve(None)
