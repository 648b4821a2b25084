"""Many recordings in one go: files and folders in, an outcome for each out; one that fails does not stop the rest.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), Targets(Path("faces/")), "She is furious."):
...     print(outcome.path, outcome.error or outcome.values["video"])
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avi_lib.errors import AviError, InputError
from avi_lib.face.video import CONTAINERS, container_of
from avi_lib.files import check_writable, keep_inputs, make_folder
from avi_lib.instruction.instruction import Instruction, as_json, load_timeline
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
_TALK = re.compile(r"\.talk(\.\d+)?\.mp4$")


class Targets(NamedTuple):
    """Where results go: files for one recording, folders for several; None for what is not asked for."""

    output: Path | None = None
    motion: Path | None = None
    sheet: Path | None = None
    video: bool = True


class Job(NamedTuple):
    """One sample of one recording and the files of its results."""

    recording: Path
    sample: int
    files: dict[str, Path | None]
    """By kind: video, motion and sheet."""

    @property
    def targets(self) -> list[Path]:
        """Every file that is to be written."""
        return [path for path in self.files.values() if path]


class Outcome(NamedTuple):
    """What became of one recording, or of one sample of it: `values` for JSON and `lines` for a person, or an `error`.

    `alone` when it was the only recording asked for.
    """

    path: Path
    alone: bool
    values: dict[str, Any]
    lines: Sequence[str] = ()
    error: AviError | None = None


def find_recordings(sources: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files to work on, each once, and whether it is a single file named on its own.

    Of a folder hidden files and the videos that `avi talk` leaves there are passed over; InputError where none is left.
    """
    recordings: dict[str, Path] = {}
    for source in sources:
        found = [source]
        if os.path.isdir(source):  # noqa: PTH112 (a name may be too long)
            files = sorted(path for path in source.iterdir() if path.suffix.lower() in RECORDING_SUFFIXES)
            found = [path for path in files if path.is_file() and path.name[0] != "." and not _TALK.search(path.name)]
            if not found:
                raise InputError("a folder with recordings", f"none in {source}", "name the files or another folder")
        for recording in found:
            recordings.setdefault(os.path.realpath(recording), recording)
    return list(recordings.values()), len(sources) == 1 and not os.path.isdir(sources[0])  # noqa: PTH112


def plan_jobs(recordings: Sequence[Path], alone: bool, targets: Targets, samples: int = 1) -> list[Job]:
    """Where everything goes; InputError for names that fall together or have the wrong ending.

    Of several samples each has its number before the suffix of its files: face.2.mp4.
    """
    output, motion, sheet, with_video = targets
    planned: list[tuple[Path, Path, Path | None, Path | None]] = []
    if alone:
        planned = [(recordings[0], output or Path(f"{recordings[0].stem}{TALK_SUFFIX}"), motion, sheet)]
        if with_video:
            container_of(planned[0][1])
        if motion:
            check_motion(motion)
        if sheet and sheet.suffix.lower() != SHEET_SUFFIX:
            raise InputError(f"a contact sheet ending in {SHEET_SUFFIX}", str(sheet), "change the suffix")
    else:
        for folder in (output, motion, sheet):
            if folder and folder.suffix.lower() in (*CONTAINERS, *MOTION_SUFFIXES, SHEET_SUFFIX):
                raise InputError("a folder for several results", f"{folder}, named like a file", "name a folder")
        stems = Counter(recording.stem for recording in recordings)
        for recording in recordings:
            name = recording.stem if stems[recording.stem] == 1 else recording.name
            video = output / f"{name}.mp4" if output else Path(f"{name}{TALK_SUFFIX}")
            planned.append((recording, video, motion and motion / f"{name}.npz", sheet and sheet / f"{name}.png"))
        if len({each[1] for each in planned}) < len(planned):
            raise InputError("recordings of different names", "two of the same name", "work on their folders in turn")

    def numbered(path: Path | None, sample: int) -> Path | None:
        if path is None or samples == 1:
            return path
        return path.with_name(f"{path.stem}.{sample}{path.suffix}" if path.suffix else f"{path.name}_{sample}")

    jobs = []
    for recording, video, *others in planned:
        kinds = dict(zip(("video", "motion", "sheet"), (video if with_video else None, *others), strict=True))
        for sample in range(1, samples + 1):
            jobs.append(Job(recording, sample, {kind: numbered(path, sample) for kind, path in kinds.items()}))
    return jobs


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
            if video := job.files["video"]:
                talker.renderer.check_video(video, abreast=len(others) + 1)
            if motion := job.files["motion"]:
                check_motion(motion, talker.head)
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
                continue  # the recording failed, which was reported with its first sample
            path, begun = job.recording, time.perf_counter()
            try:
                first = first or talker.listen(path, asked, text)
                seed = settings.seed + job.sample - 1
                talk = first if first.seed == seed else talker.direct(first, first.timeline, seed)
                _write(talker, [talk, *(talker.direct(talk, other) for other in others)], job)
            except (AviError, OSError, MemoryError) as problem:
                do, got = "free memory or disk, or check the file", str(problem) or type(problem).__name__
                error = problem if isinstance(problem, AviError) else AviError(f"{path} to be worked through", got, do)
                first = None if job.sample == 1 else first
                yield Outcome(path, alone, {"path": str(path), "sample": job.sample, "error": str(error)}, error=error)
                continue
            values, lines = _report(talker, talk, job, others, time.perf_counter() - begun)
            yield Outcome(path, alone, values, lines)


def _write(talker: Talker, talks: Sequence[Talk], job: Job) -> None:
    """Write the files of a job; the video shows all talks, the first of which is its own."""
    video, motion, sheet = (job.files[kind] for kind in ("video", "motion", "sheet"))
    if motion:
        save_motion(talks[0].motion, motion, talker.head)
    if sheet:
        talker.renderer.write_sheet(talks[0], sheet)
    if video:
        talker.renderer.write_comparison(talks, video)


def _report(
    talker: Talker, talk: Talk, job: Job, others: Sequence[Instruction], seconds: float
) -> tuple[dict[str, Any], list[str]]:
    """What was made, and every automatic choice with its reason: for JSON, and for a person."""
    generator, sampler = talker.generator, talker.prior_sampler
    prior = sampler.reason if sampler else "styles of the performer's own performances" if generator else None
    made_by = generator.reason if generator else "performer: asked for"
    warnings = [model.warning for model in (generator, sampler) if model and model.warning]
    phones, report = talk.phones, talk.speech.report
    files = {kind: str(path) if path else None for kind, path in job.files.items()}
    lines = [*report.lines(), f"phones: {phones.method} ({phones.reason})"]
    for entry in talk.timeline.entries:
        lines += _instruction_lines(entry.instruction, entry.at_s)
    if talk.written:
        lines += [*_written_lines(talk.written), f"instructor: {talker.instructor.reason}"]
    lines += [f"warning: {phones.warning}"] if phones.warning else []
    lines += [f"generator: {made_by}", *([f"prior: {prior}"] if prior else []), *talk.factors]
    lines += [f"warning: {warning}" for warning in warnings]
    lines += [f"beside it: {other.text}" for other in others]
    lines += [f"head: {note}" for note in talker.head.notes]
    lines += [f"seed: {talk.seed}", *(f"{kind}: {path}" for kind, path in files.items() if path)]
    lines += [f"took {seconds:.1f} s for {talk.speech.duration_s:.1f} s of speech"]
    values = {
        "path": str(job.recording),
        **files,
        "sample": job.sample,
        "seed": talk.seed,
        "instruction": instruction_json(talk.instruction),
        "written": talk.written and written_json(talk.written),
        "timeline": as_json(talk.timeline) if len(talk.timeline.entries) > 1 else None,
        "phones": {"method": phones.method, "reason": phones.reason, "warning": phones.warning},
        "generator": {"reason": made_by, "prior": prior, "warnings": warnings},
        "factors": list(talk.factors),
        "beside": [instruction_json(other) for other in others],
        "head": list(talker.head.notes),
        "speech": report.model_dump(mode="json"),
        "frames": len(talk.motion),
        "fps": talk.motion.fps,
        "seconds": round(seconds, 3),
    }
    return values, lines


def instruct_all(sources: Sequence[Path], settings: InstructSettings, timeline: bool = False) -> Iterator[Outcome]:
    """Write an instruction for every recording among `sources` (files, or folders of them), or a timeline each.

    A recording without speech has a neutral instruction with a warning.
    """
    from avi_lib.instruction.instructor import load_instructor

    recordings, alone = find_recordings(sources)
    weights = None if settings.instructor == "learned" else Path(settings.instructor)
    instructor = load_instructor(weights, settings.encoder, settings.language_model)
    for path in recordings:
        begun = time.perf_counter()
        try:
            speech = load_voice(path, refuse_silence=False)
        except AviError as error:
            yield Outcome(path, alone, {"path": str(path), "error": str(error)}, error=error)
            continue
        values: dict[str, Any] = {"path": str(path)}
        if timeline:
            entries, written = instructor.timeline(speech)
            rows = as_json(entries)
            values["timeline"] = [{**row, "written": written_json(w)} for row, w in zip(rows, written, strict=True)]
            lines = [f"{entry.at_s:g} s: {entry.instruction.text}" for entry in entries.entries]
        else:
            one = instructor.instruct(speech, temperature=settings.temperature, seed=settings.seed, free=settings.free)
            values, lines = values | written_json(one), [one.instruction.text, *_written_lines(one)]
        lines = [*lines, f"instructor: {instructor.reason}"]
        if timeline and alone:  # a file for `avi talk --timeline`
            lines = [json.dumps(rows, ensure_ascii=False, indent=1)]
        values |= {"instructor": instructor.reason, "seconds": round(time.perf_counter() - begun, 3)}
        yield Outcome(path, alone, values | {"speech": speech.report.model_dump(mode="json")}, lines)


def _instruction_lines(asked: Instruction, at_s: float) -> list[str]:
    units = ", ".join(f"{name} {strength:.2f}" for name, strength in asked.action_units.items())
    emotion = f"{asked.emotion or 'no emotion'}{f' at level {asked.level}' if asked.level else ''}"
    lines = [f"instruction{f' from {at_s:g} s' if at_s else ''}: {asked.text}"]
    lines.append(f"understood: {emotion}{f'; {units}' if units else ''}")
    return lines + ([f"not understood: {', '.join(asked.unknown)}"] if asked.unknown else [])


def _written_lines(written: Written) -> list[str]:
    """The three likeliest emotions of the speech, and warnings."""
    likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:3]
    emotions = ", ".join(f"{emotion} {share:.2f}" for emotion, share in likely)
    return [f"emotion of the speech: {emotions}", *(f"warning: {warning}" for warning in written.warnings)]


def written_json(written: Written) -> dict[str, Any]:
    """What the instructor wrote, with the probability of every emotion."""
    return {
        **instruction_json(written.instruction),
        "emotion_probabilities": {name: round(share, 4) for name, share in written.probabilities.items()},
        "heard": {"emotion": written.predicted.emotion, "level": written.predicted.level},
        "speech_probability": round(written.speech, 4),
        "warnings": list(written.warnings),
    }


def instruction_json(asked: Instruction) -> dict[str, Any]:
    """An instruction and what is understood of it."""
    names = ("text", "emotion", "level")
    return {name: getattr(asked, name) for name in names} | {
        "action_units": dict(asked.action_units),
        "unknown": list(asked.unknown),
    }
