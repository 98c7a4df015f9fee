"""`loop.explain`: describes what a call of fit would do, and why. Trains nothing.

Read in this order: `explain.py`, `plan.py`, `data.py`, `compiled.py`, `watchers.py`, `timeline.py`;
then the first step: `first_step.py`, `observe.py`, `terms.py`, `update.py`, `untouched.py`. How it
becomes text or a page: `document.py`, `text.py`, `page.py`.
"""

from loop.explain.explain import explain
from loop.explain.explanation import Explanation

__all__ = ["Explanation", "explain"]
