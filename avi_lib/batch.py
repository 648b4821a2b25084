"""Many recordings in one go: files and folders in, an outcome for each out; one that fails does not stop the rest.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), {"video": Path("faces/")}, "She is furious."):
...     print(outcome.path, outcome.error or outcome.values["video"])
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from avi_lib.corpus.layouts import find, printable, stem
from avi_lib.errors import AviError, InputError, expect
from avi_lib.face.video import CONTAINERS, lettering, save_picture
from avi_lib.files import check_writable, keep_inputs, make_folder
from avi_lib.instruction.instruction import Instruction, Timeline, as_json, load_timeline, understand
from avi_lib.motion.clip import FACTORS
from avi_lib.motion.formats import WRITABLE, check_motion, save_motion, written_files
from avi_lib.settings import InstructSettings, TalkSettings
from avi_lib.speech.decode import SOUND_SUFFIXES
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import Voice
from avi_lib.talker import Talk, Talker
from avi_lib.workers import result_of, worker_pool

OWN, RUNNING = Path("own"), Path("running")
"""In place of a neutral recording: all that is heard of a person, or what was heard of them so far."""

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Instructor, Written

TALK_SUFFIX = ".talk.mp4"
KINDS = {"video": ".mp4", "motion": ".npz", "sheet": ".png"}
"""What is made of a recording, and the suffix of each in a folder."""
Places = Mapping[str, Path | None]
"""Kinds of results that are asked for, and where they go; None for names made of those of the recordings."""
MOST_SAMPLES, MOST_BESIDE = 1000, 8
_FAILURES = (AviError, OSError, MemoryError)
_T = TypeVar("_T")
_TALK = re.compile(r"\.talk(\.\d+)?\.mp4$")


class Job(NamedTuple):
    """One sample of one recording, and the files of its results by their kind, of those that are asked for."""

    recording: Path
    sample: int
    files: dict[str, Path]


class Outcome(NamedTuple):
    """What became of one recording, or of one sample of it: `values` for JSON and `lines` for a person, or an `error`.

    `alone` when it was the only recording asked for. The `notes` of the first say what its folders hold beside.
    """

    path: Path
    alone: bool
    values: dict[str, Any]
    lines: Sequence[str] = ()
    error: AviError | None = None
    notes: Sequence[str] = ()


def find_recordings(
    sources: Sequence[Path], results: Iterable[Path | None] = ()
) -> tuple[dict[Path, str], bool, list[str]]:
    """The files to work on, each once, with their names below the folder that was given.

    And whether it is a single file named on its own, and notes on what was passed over. Folders are searched with all
    below them but what is hidden. The videos that `avi talk` leaves there are passed over, and folders of `results`
    within. InputError where none is left.
    """
    recordings: dict[str, tuple[Path, str]] = {}
    notes = []
    made = {os.path.realpath(place) for place in results if place}
    for source in sources:
        found = {source.name: source}
        if os.path.isdir(source):  # noqa: PTH112 (a name may be too long)
            within = made - {os.path.realpath(source)}
            files, refused = find(source, None)
            found = {
                name: path
                for name, path in sorted(files.items())
                if path.suffix.lower() in SOUND_SUFFIXES
                and not _TALK.search(name)
                and within.isdisjoint(map(str, Path(os.path.realpath(path)).parents))
            }
            others = [f"{each.name} ({each.reason})" for each in refused] + sorted(files.keys() - found.keys())
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            over = f"{', '.join(map(printable, others[:5]))}{more}"
            got = f"none in {source}" + (f", which holds {over}" if others else "")
            expect(found, "a folder with recordings", got, "name the files or another folder")
            notes += [f"{source}: passed over {over}"] if others else []
        for name, recording in found.items():
            recordings.setdefault(os.path.realpath(recording), (recording, name))
    return dict(recordings.values()), len(sources) == 1 and not os.path.isdir(sources[0]), notes  # noqa: PTH112


def plan_jobs(recordings: Mapping[Path, str], alone: bool, places: Places, samples: int = 1) -> list[Job]:
    """Where everything goes: as it is given for a recording alone, else in folders under the names of recordings.

    Of several samples each has its number before the suffix of its files: face.2.mp4.
    """
    if not alone:
        for folder in filter(None, places.values()):
            if folder.suffix.lower() in (*CONTAINERS, *WRITABLE, KINDS["sheet"]):
                raise InputError("a folder for several results", f"{folder}, named like a file", "name a folder")

    def numbered(files: dict[str, Path], sample: int) -> dict[str, Path]:
        dot = {kind: "." if path.suffix else "_" for kind, path in files.items()}
        return {kind: path.with_name(f"{path.stem}{dot[kind]}{sample}{path.suffix}") for kind, path in files.items()}

    stems = Counter(map(stem, recordings.values()))
    jobs = []
    for recording, found_as in recordings.items():
        name = stem(found_as) if stems[stem(found_as)] == 1 else found_as
        files = {}
        for kind, place in places.items():
            named = place if alone or place is None else place / f"{name}{KINDS[kind]}"
            files[kind] = named or Path(f"{name}{TALK_SUFFIX}")
        for sample in range(1, samples + 1):
            jobs.append(Job(recording, sample, files if samples == 1 else numbered(files, sample)))
    return jobs


def talk_all(
    sources: Sequence[Path],
    settings: TalkSettings,
    places: Places,
    instruction: str | None = None,
    text: str | None = None,
    timeline: Path | None = None,
    samples: int = 1,
    beside: Sequence[str] = (),
    track: int | None = None,
    workers: str | None = None,
) -> Iterator[Outcome]:
    """Make a talking face of every recording among `sources` (files, or folders of them).

    With one file `places` names files; with several or with a folder it names folders, which are made. Videos without
    a place go into the working folder as `<recording>.talk.mp4`. With several samples each has the seed after
    the last one's, and its number before the suffix of its files. Without instruction and timeline the instruction is
    written from the speech. With sentences `beside` it, the video shows the same recording under each of them too, side
    by side from the same noise. Of several sound tracks `track` is heard, see `load_voice`. Folders are searched with
    all below them, and results lie as recordings do. `workers` of `worker_pool` do recordings at a time; without, one
    after the other is done here. Raises InputError, before any work and with nothing written, for arguments that suit
    no recording.
    """
    recordings, alone, notes = find_recordings(sources, places.values())
    if instruction is not None and timeline is not None:
        raise InputError("an instruction or a timeline", "both", "write the instruction into the timeline")
    asked = load_timeline(timeline) if timeline else None if instruction is None else understand(instruction)
    if not 1 <= samples <= MOST_SAMPLES:
        do = "ask for one at least" if samples < 1 else "ask for fewer, with another --seed for more"
        raise InputError(f"1 to {MOST_SAMPLES} samples", f"{samples}", do)
    if text is not None and not alone:
        raise InputError("a transcript for one recording named on its own", "several or a folder", "leave out --text")
    expect(places, "something to write", "neither video nor motion", "name a motion file or leave out --no-video")
    if settings.seed + samples > 2**63:
        raise InputError("seeds below 2^63", f"{samples} samples from {settings.seed}", "begin with a smaller --seed")
    shown = bool({"video", "sheet"} & set(places))
    got = f"{len(beside)}" if shown else "no video"
    expected = f"a video or a sheet for up to {MOST_BESIDE} sentences beside it"
    expect(not beside or (shown and len(beside) <= MOST_BESIDE), expected, got, "leave out some --beside")
    jobs = plan_jobs(recordings, alone, places, samples)
    others = [understand(sentence) for sentence in beside]
    with Talker(settings) as talker:
        for job in jobs:
            if "video" in job.files:
                talker.check_video(job.files["video"], abreast=len(others) + 1)
            if "motion" in job.files:
                check_motion(job.files["motion"])
            if "sheet" in job.files and job.files["sheet"].suffix.lower() != KINDS["sheet"]:
                raise InputError(f"a sheet ending in {KINDS['sheet']}", str(job.files["sheet"]), "change the suffix")
        read = [settings.head, settings.generator, settings.prior, settings.instructor]
        read += [getattr(settings.factors, factor).source for factor in FACTORS]
        named = [Path(name) for name in read if os.path.exists(name)]  # noqa: PTH110 (a name may be too long)
        targeted = [path for job in jobs for path in job.files.values()]
        written = Counter(each.resolve() for path in targeted for each in written_files(path))
        keep_inputs([*recordings, *named, *([timeline] if timeline else [])], written)
        if twice := [str(path) for path, times in written.items() if times > 1]:
            raise InputError("a name for each result", f"{twice[0]} twice", "choose another name")
        if workers is None:
            talker.prepare("video" in places or "sheet" in places, writes=asked is None)
        if "motion" in places:
            check_motion(jobs[0].files["motion"], talker.head)
        for path in targeted:
            if not alone:
                make_folder(path.parent)
            check_writable(path)
        task = Task(asked, text, track, alone, others)
        groups = [list(group) for _, group in groupby(jobs, lambda job: job.recording)]
        made_by = talker if workers is None else settings.model_dump_json()
        yield from _each(partial(_talk_samples, made_by, task), groups, workers, notes)


class Task(NamedTuple):
    """What is the same for all recordings of a batch: what is asked, and the sentences beside it."""

    asked: Instruction | Timeline | None
    text: str | None
    track: int | None
    alone: bool
    others: Sequence[Instruction]


def _each(
    make: Callable[[_T], Iterable[Outcome]], work: Sequence[_T], workers: str | None, notes: Sequence[str]
) -> Iterator[Outcome]:
    """Outcomes in the order of the work: one after the other is done here, or `workers` do it."""
    with nullcontext() if workers is None else worker_pool(workers) as pool:
        made = map(make, work) if pool is None else map(result_of, [pool.submit(_listed, make, each) for each in work])
        for number, outcome in enumerate(chain.from_iterable(made)):
            yield outcome if number else outcome._replace(notes=notes)


def _listed(make: Callable[[_T], Iterable[Outcome]], item: _T) -> list[Outcome]:
    return list(make(item))


@lru_cache(maxsize=1)
def _talker_of(settings: str) -> Talker:
    """A worker's talker, kept from one recording to the next."""
    return Talker(TalkSettings.model_validate_json(settings))


def _talk_samples(made_by: Talker | str, task: Task, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """The samples of one recording; one that cannot be used is reported with its first sample alone.

    `made_by`: a talker, or in a worker what its settings are.
    """
    talker = _talker_of(made_by) if isinstance(made_by, str) else made_by
    first: Talk | None = None
    for job in jobs:
        begun = time.perf_counter()
        try:
            first = first or talker.listen(load_voice(job.recording, track=task.track), task.asked, task.text)
            seed = talker.settings.seed + job.sample - 1
            talk = first if first.seed == seed else talker.direct(first, first.timeline, seed)
            if "motion" in job.files:
                save_motion(talk.motion, job.files["motion"], talker.head_of(talk))
            talks = [talk, *(talker.direct(talk, other) for other in task.others)]
            if "sheet" in job.files:
                save_picture(talker.contact_sheet(*talks), job.files["sheet"])
            if "video" in job.files:
                talker.write_comparison(talks, job.files["video"])
            told = _report(talker, talk, job, task.others, time.perf_counter() - begun)
            outcome = Outcome(job.recording, task.alone, *told)
        except _FAILURES as problem:
            outcome = _failed(job.recording, task.alone, problem, sample=job.sample)
        yield outcome
        if first is None:
            return


def _failed(path: Path, alone: bool, problem: Exception, **about: Any) -> Outcome:
    """What is told of a recording that could not be worked through, and why."""
    do, got = "free memory or disk, or check the file", str(problem) or type(problem).__name__
    error = problem if isinstance(problem, AviError) else AviError(f"{path} to be worked through", got, do)
    return Outcome(path, alone, {"path": str(path), **about, "error": str(error)}, error=error)


def _report(
    talker: Talker, talk: Talk, job: Job, others: Sequence[Instruction], seconds: float
) -> tuple[dict[str, Any], list[str]]:
    """What was made, and every automatic choice with its reason: for JSON, and for a person."""
    generator, sampler = talker.generator, talker.prior_sampler
    prior = sampler.reason if sampler else "styles of the performer's own performances" if generator else None
    made_by = generator.reason if generator else "performer: asked for"
    warnings = [model.warning for model in (generator, sampler) if model and model.warning]
    phones, report = talk.phones, talk.speech.report
    captions = [each.text for each in talk.timeline.instructions] if others or talker.settings.render.caption else []
    notes = [*talk.notes, *filter(None, (lettering(text)[2] for text in [*captions, *(each.text for each in others)]))]
    lines = [*report.lines(), f"phones: {phones.method} ({phones.reason})"]
    for entry in talk.timeline.entries:
        lines += _instruction_lines(entry.instruction, entry.at_s)
    if talk.written:
        lines += [*_written_lines(talk.written), f"instructor: {talker.instructor.reason}"]
    lines += [f"warning: {phones.warning}"] if phones.warning else []
    lines += [f"generator: {made_by}", *([f"prior: {prior}"] if prior else []), *talk.factors]
    lines += [f"warning: {warning}" for warning in warnings]
    lines += [f"beside it, {line}" for other in others for line in _instruction_lines(other, 0.0)]
    head = talker.head_of(talk)
    who = [f"head: {talk.speaker.name}: {talk.speaker.reason}"] if talk.speaker else []
    lines += [*who, *(f"head: {note}" for note in head.notes)]
    lines += [f"warning: {deviation}" for deviation in talk.deviations]
    lines += [f"note: {note}" for note in notes]
    lines += [f"seed: {talk.seed}", *(f"{kind}: {path}" for kind, path in job.files.items())]
    lines += [f"took {seconds:.1f} s for {talk.speech.duration_s:.1f} s of speech"]
    values = {
        "path": str(job.recording),
        **{kind: str(job.files[kind]) if kind in job.files else None for kind in KINDS},
        "sample": job.sample,
        "seed": talk.seed,
        "instruction": asdict(talk.instruction),
        "written": talk.written and written_json(talk.written),
        "timeline": as_json(talk.timeline) if len(talk.timeline.entries) > 1 else None,
        "phones": {"method": phones.method, "reason": phones.reason, "warning": phones.warning},
        "generator": {"reason": made_by, "prior": prior, "warnings": warnings},
        "factors": list(talk.factors),
        "beside": [asdict(other) for other in others],
        "head": list(head.notes),
        "speaker": talk.speaker and talk.speaker._asdict(),
        **({"notes": notes} if notes else {}),
        "deviations": list(talk.deviations),
        "speech": report.model_dump(mode="json"),
        "frames": len(talk.motion),
        "fps": talk.motion.fps,
        "seconds": round(seconds, 3),
    }
    return values, lines


def instruct_all(
    sources: Sequence[Path],
    settings: InstructSettings,
    timeline: bool = False,
    track: int | None = None,
    workers: str | None = None,
) -> Iterator[Outcome]:
    """Write an instruction for every recording among `sources` (files, or folders of them), or a timeline each.

    A recording without speech has a neutral instruction with a warning. `workers` are those of `talk_all`. With `OWN`
    or `RUNNING` for the neutral recording all are of one person, and what differs from their mean is heard, or in a
    timeline from the recording's own.
    """
    recordings, alone, notes = find_recordings(sources)
    own = settings.neutral in (OWN, RUNNING)
    if own and alone and not timeline:
        wanted = f"a timeline or several recordings, with --neutral {settings.neutral}"
        raise InputError(wanted, "one", "name a calm recording instead")
    if settings.text is not None and (timeline or (not alone and settings.text != "-")):
        got = "a timeline" if timeline else "several or a folder"
        raise InputError("a transcript for one instruction of one recording", got, "leave out --text, or hear it: -")
    content, means = settings.model_dump_json(), dict[Path, np.ndarray]()
    if own and not timeline:
        paths, found = list[Path](), list[np.ndarray]()
        found += _instructor_of(content).running_means(_readable(recordings, track, paths))
        running = settings.neutral == RUNNING
        means = dict(zip(paths[1:], found[1:], strict=True) if running else ((path, found[-1]) for path in paths))
    write = partial(_instruct_one, content, timeline, track, alone, means)
    if workers is None:
        _instructor_of(content)
    yield from _each(write, list(recordings), workers, notes)


def _readable(recordings: Iterable[Path], track: int | None, paths: list[Path]) -> Iterator[Voice]:
    for path in recordings:
        with suppress(AviError):  # which is said when its turn comes
            voice = load_voice(path, refuse_silence=False, track=track)
            paths.append(path)
            yield voice


@lru_cache(maxsize=1)
def _instructor_of(settings: str) -> Instructor:
    """The instructor of some settings, kept from one recording to the next."""
    from avi_lib.instruction.instructor import load_instructor

    chosen = InstructSettings.model_validate_json(settings)
    weights = None if chosen.instructor == "learned" else Path(chosen.instructor)
    return load_instructor(weights, chosen.encoder, chosen.language_model)


def _instruct_one(
    settings_json: str, timeline: bool, track: int | None, alone: bool, means: Mapping[Path, np.ndarray], path: Path
) -> list[Outcome]:
    settings, instructor = InstructSettings.model_validate_json(settings_json), _instructor_of(settings_json)

    try:
        begun = time.perf_counter()
        speech = load_voice(path, refuse_silence=False, track=track)
        values: dict[str, Any] = {"path": str(path)}
        neutral: Voice | np.ndarray | None = means.get(path)
        if settings.neutral == OWN and timeline:
            neutral = instructor.own_means([speech])
        elif settings.neutral and settings.neutral not in (OWN, RUNNING):
            neutral = load_voice(settings.neutral)
        if timeline:
            entries, written = instructor.timeline(speech, neutral, settings.neutral == RUNNING)
            rows = as_json(entries)
            values["timeline"] = [{**row, "written": written_json(w)} for row, w in zip(rows, written, strict=True)]
            lines = [f"{entry.at_s:g} s: {entry.instruction.text}" for entry in entries.entries]
        else:
            one = instructor.instruct(
                speech, settings.temperature, settings.seed, settings.free, neutral, settings.text
            )
            values |= written_json(one)
            lines = [one.instruction.text, *_written_lines(one, neutral is not None)]
        lines.append(f"instructor: {instructor.reason}")
        if timeline and alone:  # a file for `avi talk --timeline`
            lines = [json.dumps(rows, ensure_ascii=False, indent=1)]
        if not alone:
            lines = [f"{path}:", *lines]
        values |= {"instructor": instructor.reason, "seconds": round(time.perf_counter() - begun, 3)}
        return [Outcome(path, alone, values | {"speech": speech.report.model_dump(mode="json")}, lines)]
    except _FAILURES as problem:
        return [_failed(path, alone, problem)]


def _instruction_lines(asked: Instruction, at_s: float) -> list[str]:
    units = ", ".join(
        f"{name} {f'{strength:.2f}' if strength else 'not at all'}" for name, strength in asked.action_units.items()
    )
    shares = asked.emotions.items()
    felt = [f"{f'{share:.0%} ' if asked.others else ''}{name} at level {level}" for name, (level, share) in shares]
    emotion = ", ".join(felt) or "no emotion"
    lines = [f"instruction{f' from {at_s:g} s' if at_s else ''}: {asked.said or asked.text}"]
    lines += [f"in words that move: {asked.text}"] if asked.said else []
    lines.append(f"understood: {emotion}{f'; {units}' if units else ''}")
    return lines + ([f"not understood: {', '.join(asked.unknown)}"] if asked.unknown else [])


def _written_lines(written: Written, beside: bool = True) -> list[str]:
    """The three likeliest emotions of the speech, what is heard of a face, and warnings."""
    likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:3]
    emotions = ", ".join(f"{emotion} {share:.2f}" for emotion, share in likely)
    kinds = {"heard in the face": True, "heard, but not written, as it hardly goes with that": False}
    heard = []
    for kind, said in kinds.items():
        own = {name: each for name, each in written.units.items() if (name in written.instruction.action_units) == said}
        heard += [f"{kind}: {', '.join(f'{name} {strength:.2f}' for name, strength in own.items())}"] if own else []
    hint = "; a folder of what one person says is heard better with --neutral own"
    warnings = [f"{each}{hint if each.startswith('unsure') and not beside else ''}" for each in written.warnings]
    return [f"emotion of the speech: {emotions}", *heard, *(f"warning: {warning}" for warning in warnings)]


def written_json(written: Written) -> dict[str, Any]:
    """What the instructor wrote, with the probability of every emotion."""
    return {
        **asdict(written.instruction),
        "emotion_probabilities": {name: round(share, 4) for name, share in written.probabilities.items()},
        "heard": {"emotion": written.predicted.emotion, "level": written.predicted.level, "units": written.units},
        "unsure": bool(written.warnings),
        "speech_probability": round(written.speech, 4),
        "warnings": list(written.warnings),
    }
