"""Many recordings in one go: files and folders in, an outcome for each out; one that fails does not stop the rest.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), Targets(Path("faces/")), "She is furious."):
...     print(outcome.path, outcome.error or outcome.video)
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avi_lib.errors import AviError, InputError
from avi_lib.face.video import CONTAINERS, container_of
from avi_lib.files import check_writable, keep_inputs, make_folder
from avi_lib.instruction.instruction import Instruction, Timeline, as_json, load_timeline
from avi_lib.motion.clip import FACTORS
from avi_lib.motion.formats import MOTION_SUFFIXES, check_motion, save_motion, written_files
from avi_lib.settings import InstructSettings, TalkSettings
from avi_lib.speech.loading import load_voice
from avi_lib.talker import Talk, Talker

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Written

RECORDING_SUFFIXES = frozenset(
    ".wav .flac .ogg .opus .mp3 .m4a .aac .aif .aiff .mp4 .mov .mkv .webm .mpg .mpeg .avi".split()
)
"""Files taken from a folder; a file named on its own may have any name."""

TALK_SUFFIX, SHEET_SUFFIX = ".talk.mp4", ".png"
MOST_SAMPLES, MOST_BESIDE = 1000, 8
LIKELY = 3
"""Emotions that are named with their probability."""

_TALK = re.compile(r"\.talk(\.\d+)?\.mp4$")


class Targets(NamedTuple):
    """Where results go: files for one recording, folders for several; None for what is not asked for."""

    output: Path | None = None
    motion: Path | None = None
    sheet: Path | None = None
    video: bool = True


class Job(NamedTuple):
    """One sample of one recording and the files its results go to."""

    recording: Path
    video: Path | None
    motion: Path | None
    sheet: Path | None = None
    sample: int = 1

    @property
    def targets(self) -> tuple[Path, ...]:
        """Every file that is to be written."""
        return tuple(path for path in (self.video, self.motion, self.sheet) if path)

    def numbered(self, sample: int) -> Job:
        """The job of another sample: its number before the suffix of each file, face.2.mp4."""
        video, motion, sheet = (
            path and path.with_name(f"{path.stem}.{sample}{path.suffix}" if path.suffix else f"{path.name}_{sample}")
            for path in (self.video, self.motion, self.sheet)
        )
        return Job(self.recording, video, motion, sheet, sample)


@dataclass(frozen=True)
class Outcome:
    """What became of one recording, or of one sample of it; `alone` when it was the only recording asked for.

    `words` are the lines and `values` the JSON of what was made; with an `error` there is neither.
    """

    path: Path
    alone: bool
    sample: int = 0
    talk: Talk | None = None
    error: AviError | None = None
    words: tuple[str, ...] = ()
    values: dict[str, Any] | None = None

    def lines(self) -> tuple[str, ...]:
        """The outcome in words: what was made, and every automatic choice with its reason."""
        return self.words

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object with its `path`."""
        if self.error is not None:
            sample = {"sample": self.sample} if self.sample else {}
            return {"path": str(self.path), **sample, "error": str(self.error)}
        return {"path": str(self.path), **(self.values or {})}


def find_recordings(sources: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files to work on, each once, and whether it is a single file named on its own.

    Of a folder hidden files and the videos that `avi talk` leaves there are passed over; InputError where none is left.
    """
    recordings: dict[str, Path] = {}
    for source in sources:
        found = [source]
        if os.path.isdir(source):  # noqa: PTH112 (a name may be too long)
            found = sorted(
                path
                for path in source.iterdir()
                if path.suffix.lower() in RECORDING_SUFFIXES
                and path.is_file()
                and not path.name.startswith(".")
                and not _TALK.search(path.name)
            )
            if not found:
                raise InputError("a folder with recordings", f"none in {source}", "name the files or another folder")
        for recording in found:
            recordings.setdefault(os.path.realpath(recording), recording)
    return list(recordings.values()), len(sources) == 1 and not os.path.isdir(sources[0])  # noqa: PTH112


def plan_jobs(recordings: Sequence[Path], alone: bool, targets: Targets, samples: int = 1) -> list[Job]:
    """Where everything goes; InputError for names that fall together or have the wrong ending."""
    if alone:
        video = targets.output or Path(f"{recordings[0].stem}{TALK_SUFFIX}")
        if targets.video:
            container_of(video)
        if targets.motion:
            check_motion(targets.motion)
        if targets.sheet and targets.sheet.suffix.lower() != SHEET_SUFFIX:
            raise InputError(f"a contact sheet ending in {SHEET_SUFFIX}", str(targets.sheet), "change the suffix")
        jobs = [Job(recordings[0], video if targets.video else None, targets.motion, targets.sheet)]
    else:
        for folder in (targets.output, targets.motion, targets.sheet):
            if folder and folder.suffix.lower() in (*CONTAINERS, *MOTION_SUFFIXES, SHEET_SUFFIX):
                raise InputError("a folder for several results", f"{folder}, named like a file", "name a folder")
        stems = Counter(recording.stem for recording in recordings)
        jobs = []
        for recording in recordings:
            name = recording.stem if stems[recording.stem] == 1 else recording.name
            video = targets.output / f"{name}.mp4" if targets.output else Path(f"{name}{TALK_SUFFIX}")
            motion = targets.motion and targets.motion / f"{name}.npz"
            sheet = targets.sheet and targets.sheet / f"{name}{SHEET_SUFFIX}"
            jobs.append(Job(recording, video if targets.video else None, motion, sheet))
        if len({job.targets[0] for job in jobs}) < len(jobs):
            raise InputError("recordings of different names", "two of the same name", "work on their folders in turn")
    return jobs if samples == 1 else [job.numbered(sample) for job in jobs for sample in range(1, samples + 1)]


def talk_all(
    sources: Sequence[Path],
    settings: TalkSettings,
    targets: Targets,
    instruction: str | None = None,
    text: str | None = None,
    timeline: Path | None = None,
    samples: int = 1,
    beside: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Make a talking face of every recording among `sources` (files, or folders of them).

    With one file `targets` names files; with several or with a folder it names folders, which are made. Without
    `output` videos go into the working folder as `<recording>.talk.mp4`. With several samples each has the seed after
    the last one's, and its number before the suffix of its files. Without instruction and timeline the instruction is
    written from the speech. With sentences `beside` it, the video shows the same recording under each of them too, side
    by side from the same noise. Raises InputError, before any work and with nothing written, for arguments that suit
    no recording.
    """
    recordings, alone = find_recordings(sources)
    if instruction is not None and timeline is not None:
        raise InputError("an instruction or a timeline", "both", "write the instruction into the timeline")
    asked = load_timeline(timeline) if timeline else None if instruction is None else Instruction.parse(instruction)
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"1 to {MOST_SAMPLES} samples", f"{samples}", "ask for fewer, with another --seed for more")
    if text is not None and not alone:
        raise InputError("a transcript for one recording named on its own", "several or a folder", "leave out --text")
    if not targets.video and targets.motion is None and targets.sheet is None:
        raise InputError("something to write", "neither video nor motion", "name a motion file or leave out --no-video")
    if settings.seed + samples > 2**63:
        raise InputError("seeds below 2^63", f"{samples} samples from {settings.seed}", "begin with a smaller --seed")
    if beside and not (targets.video and len(beside) <= MOST_BESIDE):
        got = f"{len(beside)}" if targets.video else "no video"
        raise InputError(f"a video for up to {MOST_BESIDE} sentences beside it", got, "leave out some --beside")
    jobs = plan_jobs(recordings, alone, targets, samples)
    read = [settings.head, settings.generator, settings.prior, settings.instructor]
    read += [getattr(settings.factors, factor).source for factor in FACTORS]
    written = [each for job in jobs for target in job.targets for each in written_files(target)]
    named = [Path(name) for name in read if os.path.exists(name)]  # noqa: PTH110 (a name may be too long)
    keep_inputs([*recordings, *named, *([timeline] if timeline else [])], written)
    if len({target.resolve() for target in written}) < len(written):
        twice = next(target for target in written if written.count(target) > 1)
        raise InputError("a name for each result", f"{twice} twice", "choose another name")
    others = [Instruction.parse(sentence) for sentence in beside]
    with Talker(settings) as talker:
        talker.prepare(targets.video or targets.sheet is not None, writes=asked is None)
        for job in jobs:
            if job.video:
                talker.renderer.check_video(job.video, abreast=len(others) + 1)
            if job.motion:
                check_motion(job.motion, talker.head)
        for folder in (targets.output if targets.video else None, targets.motion, targets.sheet):
            if folder and not alone:
                make_folder(folder)
        for target in (target for job in jobs for target in job.targets):
            check_writable(target)
        first: Talk | None = None
        for job in jobs:
            if job.sample == 1:
                first = None
            elif first is None:
                continue  # the recording failed, and said so with its first sample
            outcome = _talk(talker, job, asked, text, others, first)
            first = first or outcome.talk
            yield replace(outcome, alone=alone)


def _talk(
    talker: Talker,
    job: Job,
    asked: Instruction | Timeline | None,
    text: str | None,
    others: Sequence[Instruction],
    first: Talk | None,
) -> Outcome:
    """Carry out a job; a recording whose `first` sample was made is not loaded again."""
    begun = time.perf_counter()
    try:
        first = first or talker.listen(job.recording, asked, text)
        seed = talker.settings.seed + job.sample - 1
        talk = first if first.seed == seed else talker.direct(first, first.timeline, seed)
        beside = [talker.direct(talk, other) for other in others]
        if job.motion:
            save_motion(talk.motion, job.motion, talker.head)
        if job.sheet:
            talker.renderer.write_sheet(talk, job.sheet)
        if job.video and beside:
            talker.renderer.write_comparison([talk, *beside], job.video)
        elif job.video:
            talker.renderer.write_video(talk, job.video)
    except (AviError, OSError, MemoryError) as problem:
        error = problem if isinstance(problem, AviError) else None
        got = str(problem) or type(problem).__name__
        error = error or AviError(
            f"{job.recording} to be worked through", got, "free memory or disk, or check the file"
        )
        return Outcome(job.recording, False, job.sample, error=error)
    seconds = time.perf_counter() - begun
    generator, sampler = talker.generator, talker.prior_sampler
    prior = sampler.reason if sampler else "styles of the performer's own performances" if generator else None
    made_by = generator.reason if generator else "performer: asked for"
    warnings = [model.warning for model in (generator, sampler) if model and model.warning]
    phones, report = talk.phones, talk.speech.report
    files = {"video": job.video, "motion": job.motion, "sheet": job.sheet}
    words = [*report.lines(), f"phones: {phones.method} ({phones.reason})"]
    for entry in talk.timeline.entries:
        words += _instruction_lines(entry.instruction, entry.at_s)
    if talk.written:
        words += [*_written_lines(talk.written), f"instructor: {talker.instructor.reason}"]
    words += [f"warning: {phones.warning}"] if phones.warning else []
    words += [f"generator: {made_by}", *([f"prior: {prior}"] if prior else []), *talk.factors]
    words += [f"warning: {warning}" for warning in warnings]
    words += [f"beside it: {other.instruction.text}" for other in beside]
    words += [f"head: {note}" for note in talker.head.notes]
    words += [f"seed: {talk.seed}", *(f"{kind}: {path}" for kind, path in files.items() if path)]
    words += [f"took {seconds:.1f} s for {talk.speech.duration_s:.1f} s of speech"]
    values = {
        **{kind: str(path) if path else None for kind, path in files.items()},
        "sample": job.sample,
        "seed": talk.seed,
        "instruction": instruction_json(talk.instruction),
        "written": talk.written and written_json(talk.written),
        "timeline": as_json(talk.timeline) if len(talk.timeline.entries) > 1 else None,
        "phones": {"method": phones.method, "reason": phones.reason, "warning": phones.warning},
        "generator": {"reason": made_by, "prior": prior, "warnings": warnings},
        "factors": list(talk.factors),
        "beside": [instruction_json(other.instruction) for other in beside],
        "head": list(talker.head.notes),
        "speech": report.model_dump(mode="json"),
        "frames": len(talk.motion),
        "fps": talk.motion.fps,
        "seconds": round(seconds, 3),
    }
    return Outcome(job.recording, False, job.sample, talk, words=tuple(words), values=values)


def instruct_all(sources: Sequence[Path], settings: InstructSettings, timeline: bool = False) -> Iterator[Outcome]:
    """Write an instruction for every recording among `sources` (files, or folders of them), or a timeline each.

    A recording without speech has a neutral instruction with a warning.
    """
    from avi_lib.instruction.instructor import load_instructor

    recordings, alone = find_recordings(sources)
    weights = None if settings.instructor == "learned" else Path(settings.instructor)
    instructor = load_instructor(weights, settings.encoder, settings.language_model)
    for recording in recordings:
        begun = time.perf_counter()
        try:
            speech = load_voice(recording, refuse_silence=False)
        except AviError as error:
            yield Outcome(recording, alone, error=error)
            continue
        values: dict[str, Any]
        if timeline:
            entries, written = instructor.timeline(speech)
            rows = as_json(entries)
            values = {"timeline": [{**row, "written": written_json(w)} for row, w in zip(rows, written, strict=True)]}
            words = [f"{entry.at_s:g} s: {entry.instruction.text}" for entry in entries.entries]
        else:
            one = instructor.instruct(speech, temperature=settings.temperature, seed=settings.seed, free=settings.free)
            values, words = written_json(one), [one.instruction.text, *_written_lines(one)]
        words = [*words, f"instructor: {instructor.reason}"]
        if timeline and alone:  # a file for `avi talk --timeline`
            words = [json.dumps(rows, ensure_ascii=False, indent=1)]
        values |= {"instructor": instructor.reason, "seconds": round(time.perf_counter() - begun, 3)}
        values["speech"] = speech.report.model_dump(mode="json")
        yield Outcome(recording, alone, words=tuple(words), values=values)


def _instruction_lines(asked: Instruction, at_s: float) -> list[str]:
    units = ", ".join(f"{name} {strength:.2f}" for name, strength in asked.action_units.items())
    emotion = f"{asked.emotion or 'no emotion'}{f' at level {asked.level}' if asked.level else ''}"
    lines = [f"instruction{f' from {at_s:g} s' if at_s else ''}: {asked.text}"]
    lines.append(f"understood: {emotion}{f'; {units}' if units else ''}")
    return lines + ([f"not understood: {', '.join(asked.unknown)}"] if asked.unknown else [])


def _written_lines(written: Written) -> list[str]:
    """How sure the instructor is of what it wrote."""
    likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:LIKELY]
    emotions = ", ".join(f"{emotion} {share:.2f}" for emotion, share in likely)
    return [f"heard: {emotions}", *(f"warning: {warning}" for warning in written.warnings)]


def written_json(written: Written) -> dict[str, Any]:
    """What the instructor wrote, with the probability of every emotion."""
    return {
        **instruction_json(written.instruction),
        "emotion_probabilities": {name: round(share, 4) for name, share in written.probabilities.items()},
        "heard": {"emotion": written.heard.emotion, "level": written.heard.level},
        "speech_probability": round(written.speech, 4),
        "warnings": list(written.warnings),
    }


def instruction_json(asked: Instruction) -> dict[str, Any]:
    """An instruction and what is understood of it."""
    return {
        "text": asked.text,
        "emotion": asked.emotion,
        "level": asked.level,
        "action_units": dict(asked.action_units),
        "unknown": list(asked.unknown),
    }
