"""Whether somebody sits before the notebook.

>>> front_end()
(False, 'static: this is no notebook')
"""

from __future__ import annotations

from IPython.core.getipython import get_ipython

from avi_lib.errors import InputError

PAGES = ("auto", "live", "static")


def front_end(page: str = "auto") -> tuple[bool, str]:
    """Whether a browser or an editor shows this notebook's controls, and how that is known.

    A front end offers to answer questions (`input`) with every cell it sends; what executes notebooks headless, such as
    papermill, does not. `page` may say it instead: live, or static. Raises InputError where it says anything else.
    """
    if page not in PAGES:
        raise InputError(f"PAGE among {', '.join(PAGES)}", repr(page), "choose one of them")
    if page != "auto":
        return page == "live", f"{page}: asked for by PAGE"
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False, "static: this is no notebook"
    request = kernel.get_parent("shell") or {}
    if request.get("content", {}).get("allow_stdin"):
        return True, "live: a front end runs the cells"
    return False, "static: the cells are run headless"
