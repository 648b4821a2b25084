"""What weights were trained on and how, for the header of their file.

>>> save_prior(model, path, about_training(corpora, settings, {"emodb": "CC0-1.0"}, bank.digest))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avi_lib.corpus.corpus import Corpus
from avi_lib.settings import Settings


def about_training(
    corpora: Sequence[Corpus], settings: Settings, licences: Mapping[str, str], digest: str
) -> dict[str, object]:
    """Corpora with their licences, settings, and the content of the bank that was trained on.

    licences: by the name of the corpus; digest: of the bank.
    """
    named = {corpus.folder.name: licences.get(corpus.folder.name, "unknown") for corpus in corpora}
    return {"corpora": named, "settings": settings.model_dump(), "bank": digest}
