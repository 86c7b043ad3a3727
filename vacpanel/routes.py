"""What the server has besides the app: ``panel serve ... --plugins vacpanel.routes`` (``vacpanel serve`` adds it)."""

from __future__ import annotations

import asyncio
import logging

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import HTTPError

import vacpanel.page  # noqa: F401
from vacpanel import media, serving, sockets
from warehouse import VacpanelError

# The page is imported above for what that registers: the folders of its components' scripts and styles. Workers
# (--num-procs) fork after this module is loaded, so that each can serve the scripts of a page another one made.

logger = logging.getLogger(__name__)
A_YEAR = 31_536_000


class MediaHandler(AuthRequestHandler):
    """Answers signed media URLs; everything else is 404, so that nothing can be probed.

    Where people have to log in, a link alone is not enough either: it may have been passed on.
    """

    async def get(self, key: str, given: str, resource: str) -> None:
        """Send one picture; it never changes under its address, so browsers keep it."""
        if self.current_user is None:
            raise HTTPError(403)
        owner = serving.media_for(key) if media.signed(key, given, resource) else None
        if owner is None:
            raise HTTPError(404)
        try:
            mime, data = await asyncio.get_running_loop().run_in_executor(None, owner.load, resource)
        except (VacpanelError, OSError) as error:
            logger.warning("No picture at %s: %s", resource, error)
            raise HTTPError(404) from error
        self.set_header("Content-Type", mime)
        self.set_header("Cache-Control", f"private, max-age={A_YEAR}, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(data)


ROUTES = [(rf"/{media.PREFIX}/([0-9a-f]+)/([0-9a-f]+)/([a-z]+/[\w.-]+/[0-9]+)", MediaHandler)]
media.routes_are_served()
sockets.serve_promptly()
