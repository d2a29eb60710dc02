"""The tests in `guest` run in the machine, not here."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("WHERRY_VM_GUEST") else ["guest"]
