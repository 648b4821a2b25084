"""Any head, by name or by path.

>>> head = load_any_head("open", {"old": 0.6})
"""

from __future__ import annotations

from collections.abc import Mapping

from avi_lib.errors import InputError
from avi_lib.face.driven import DrivenHead
from avi_lib.face.head import Head, load_head


def load_any_head(name_or_path: str, identity: Mapping[str, float]) -> DrivenHead:
    """The head of a name or a path, with its identity sliders set; InputError where it has no such sliders."""
    head: DrivenHead = load_head(name_or_path)
    if not identity:
        return head
    if not isinstance(head, Head) or not head.identity_names:
        raise InputError("a head with identity sliders, such as open", name_or_path, "leave the sliders out")
    return head.with_identity(identity)
