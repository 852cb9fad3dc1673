"""A primary and the standby without which it commits nothing."""

from __future__ import annotations

import os
import signal

from postgres_server import NoStandbyError, PostgresServer, Standby
from unproven import skip_unproven


class Pair:
    """Both, running; skips the test where the programs for it are missing."""

    def __init__(self) -> None:
        self.primary = PostgresServer()
        self.primary.start()
        try:
            self.standby: Standby = self.primary.standby()
            self.standby.start()
        except NoStandbyError as error:
            self.primary.remove()
            skip_unproven(str(error))
        self.primary.make_synchronous()
        self.promoted = False

    def url(self, primary: int | None = None, standby: int | None = None) -> str:
        """Return the URL that names both, by other ports than their own where proxies stand between."""
        hosts = f"127.0.0.1:{primary or self.primary.port},127.0.0.1:{standby or self.standby.port}"
        return f"postgresql://everstep@{hosts}/postgres?target_session_attrs=read-write"

    def fail_over(self) -> None:
        """Lose the primary without a word, and let the standby take its place."""
        self.primary.kill()
        self.standby.promote()
        self.promoted = True

    def crash_and_recover(self) -> None:
        """Let whichever takes writes crash, and start it again."""
        server = self.standby if self.promoted else self.primary
        server.stop(signal.SIGQUIT)
        server.start()

    def remove(self) -> None:
        """Stop both and delete everything."""
        self.standby.remove()
        self.primary.remove()


def signal_all(server: PostgresServer, which: signal.Signals) -> None:
    """Send a signal to a server and to all its children."""
    for pid in [server.pid, *server.backends()]:
        os.kill(pid, which)
