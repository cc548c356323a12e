"""Imported by the process that workers come from, before all else, and by no other: it starts and ends quickly.

At its end it is not taken apart, which takes 20 ms: it holds nothing that needs that.
"""

import atexit
import os

from walpy.collector import look_seldom

look_seldom()
atexit.register(os._exit, 0)
