"""Web sockets whose messages leave at once.

Bokeh writes a message in three parts and more. TCP, unless told otherwise, keeps a small part back until the one before
is acknowledged (Nagle's algorithm, RFC 896), and the receiver may take its time over that: on Linux 40 ms, which one in
ten clicks waited.
"""

from __future__ import annotations

from panel.io import server


class PromptSocket(server.WSHandler):
    """The web socket of a page, which keeps nothing back."""

    def open(self) -> None:
        """Open the connection."""
        self.set_nodelay(True)
        super().open()


def serve_promptly() -> None:
    """Let every server that is started from now on in this process send on its web sockets at once."""
    server.per_app_patterns[:] = [
        (path, PromptSocket if handler is server.WSHandler else handler, *more)
        for path, handler, *more in server.per_app_patterns
    ]
