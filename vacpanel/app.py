"""The app that ``panel serve vacpanel/app.py --args DIR`` runs for every session."""

from __future__ import annotations

import sys

from vacpanel import serving
from vacpanel.page import page

serving.settle()
page(sys.argv[1] if len(sys.argv) > 1 else "demo-warehouse").servable()
