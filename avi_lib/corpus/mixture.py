"""Several prepared corpora as one: which clips a network is trained on, and how often each.

>>> mixture = Mixture.of([Corpus(folder) for folder in folders], split="train", frames=80)
>>> len(mixture.items), mixture.items[0].clip.clip
(1940, 'af_bella_angry_2_0003')
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.entries import ClipEntry
from avi_lib.errors import InputError
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import MotionSpace


@dataclass(frozen=True, eq=False)
class Item:
    """A clip and the corpus that holds it."""

    corpus: Corpus
    clip: ClipEntry

    @property
    def real(self) -> bool:
        """Whether its motion was recorded or tracked, not performed."""
        return self.clip.motion != "performed"


@dataclass(frozen=True, eq=False)
class Mixture:
    """Training items of several corpora.

    `items` are clips with sound, each as often as it holds `frames` frames, so that all parts of long ones are seen;
    `real` are clips of real motion, with sound or without; `without` are names of recordings that are left out.
    """

    corpora: tuple[Corpus, ...]
    items: tuple[Item, ...]
    real: tuple[Item, ...]
    without: frozenset[str]

    @classmethod
    def of(
        cls, corpora: Sequence[Corpus], split: str, frames: int, without: Iterable[str] = (), shortest: int = 12
    ) -> Mixture:
        """The clips of a split.

        Args:
            corpora: prepared ones of the same motion space and speech encoder.
            split: train, validation or test.
            frames: see the class.
            without: names of recordings that are left out: they are no items, show no styles.
            shortest: clips of fewer frames are left out.

        Raises:
            InputError: no corpus, corpora that do not go together, no clip with sound left, or a recording to leave out
                that no corpus has.
        """
        if not corpora:
            raise InputError("at least one prepared corpus", "none", "make one with `avi prepare`")
        for corpus in corpora[1:]:
            _must_match(corpora[0], corpus)
        left_out = frozenset(without)
        if unknown := left_out - {clip.recording for corpus in corpora for clip in corpus.clips}:
            raise InputError("recordings of these corpora to leave out", ", ".join(sorted(unknown)), "check the names")
        found = [
            Item(corpus, clip)
            for corpus in corpora
            for clip in corpus.select(split=split)
            if clip.recording not in left_out and clip.frames >= shortest
        ]
        items = tuple(item for item in found if item.clip.features for _ in range(max(1, item.clip.frames // frames)))
        if not items:
            names = ", ".join(str(corpus.folder) for corpus in corpora)
            raise InputError(f"clips with sound in the split {split}", f"none in {names}", "prepare more recordings")
        return cls(tuple(corpora), items, tuple(item for item in found if item.real), left_out)

    def partners(self, item: Item) -> list[ClipEntry]:
        """Clips that perform the same scripts, without those of recordings that are left out; none for real motion."""
        partners = [] if item.real else item.corpus.partners(item.clip)
        return [partner for partner in partners if partner.recording not in self.without]

    @cached_property
    def performed(self) -> tuple[Item, ...]:
        """The items whose motion is performed: any of them can perform any script."""
        return tuple(item for item in self.items if not item.real)

    @property
    def space(self) -> MotionSpace:
        """The motion space of all clips."""
        return self.corpora[0].space

    @property
    def features(self) -> int:
        """Dimensions of the speech features."""
        return int(self.corpora[0].description["features"]["dim"])


@lru_cache(maxsize=4096)
def performer_of(item: Item) -> Performer:
    """The clip's performer; the last ones asked for are kept, some 20 KB each."""
    return item.corpus.performer(item.clip)


def held_out(corpora: Sequence[Corpus], known_words: bool = False) -> list[Item]:
    """Performed clips with sound and partners, of speakers that are not trained on, test before validation.

    Clips whose text somebody says in training are left out, so that neither voice nor words were heard, unless
    `known_words` keeps them.

    Raises InputError when there is none, as then there is nothing to compare a model with.
    """
    heard = {clip.text for corpus in corpora for clip in corpus.select(split="train")} - {None}
    trained_on = set() if known_words else heard
    found = [
        Item(corpus, clip)
        for split in ("test", "validation")
        for corpus in corpora
        for clip in corpus.select(split=split, motion="performed")
        if clip.features and corpus.partners(clip) and clip.text not in trained_on
    ]
    if not found:
        names = ", ".join(str(corpus.folder) for corpus in corpora) or "no corpus"
        do = "add a corpus of three speakers or more that is performed, such as the samples"
        raise InputError("performed clips whose speaker and words are held out", f"none in {names}", do)
    return found


def shared_voices(corpora: Sequence[Corpus]) -> frozenset[str]:
    """Recordings in training of voices that another corpus holds out: every corpus splits its speakers on its own."""
    clips = [clip for corpus in corpora for clip in corpus.clips]
    voices = {(clip.language, clip.speaker) for clip in clips if clip.split != "train"}
    return frozenset(c.recording for c in clips if c.split == "train" and (c.language, c.speaker) in voices)


def _must_match(first: Corpus, other: Corpus) -> None:
    remedy = "prepare both with the same settings"
    if other.space is not first.space:
        raise InputError(f"motion in the space {first.space.name}", f"{other.space.name} in {other.folder}", remedy)
    for name in ("features", "fps"):
        expected, got = first.description[name], other.description[name]
        if expected != got:
            raise InputError(f"corpora with {name} {expected}", f"{got} in {other.folder}", remedy)
