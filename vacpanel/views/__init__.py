"""The views: each one a `panel.viewable.Viewer` that stands alone in a notebook and links through the state.

Views come through the entry-point group ``vacpanel.views``; a view of your own is one class and one line there.
"""

from __future__ import annotations
