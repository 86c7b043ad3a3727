"""The errors a user can meet: one clear sentence each, never a traceback for a mistake of theirs."""

from __future__ import annotations


class VacpanelError(Exception):
    """Base class of every error raised on purpose by this project."""


class UserError(VacpanelError):
    """The user's input is to blame; the message is the one sentence that they are shown."""


class WarehouseError(UserError):
    """A folder is not a usable warehouse, or a file in it is damaged or missing."""
