"""A batch of recordings through the pipeline; one that fails does not stop the rest.

Head, renderer and models are made once for all of them.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), Wanted(Path("faces/")), "She is furious."):
...     print(outcome.path, outcome.error or outcome.video)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from avi_lib.errors import AviError, InputError
from avi_lib.files import check_writable, make_folder
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Timeline, load_timeline
from avi_lib.jobs import MOST_SAMPLES, Job, Wanted, check_targets, find_recordings, plan_jobs, sampled
from avi_lib.motion.clip import FACTORS
from avi_lib.motion.formats import check_motion, write_motion
from avi_lib.outcome import Outcome
from avi_lib.settings import TalkSettings
from avi_lib.talk import Talk, Talker

MOST_BESIDE = 8
"""Sentences that are shown beside the first one."""


def talk_all(
    sources: Sequence[Path],
    settings: TalkSettings,
    wanted: Wanted,
    instruction: str | None = None,
    text: str | None = None,
    timeline: Path | None = None,
    samples: int = 1,
    beside: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Make a talking face of every recording among `sources` (files, or folders of them).

    With one file, what is wanted names files; with several or with a folder it names folders, which are made.
    Without `output` videos go into the working folder as `<recording>.talk.mp4`. With several samples each has the seed
    after the last one's, and its number before the suffix of its files. Without instruction and timeline the
    instruction is written from what is heard. With sentences `beside` it, the video shows the same recording under each
    of them too, side by side from the same noise. Raises InputError, before any work and with nothing written, for
    arguments that suit no recording.
    """
    recordings, alone = find_recordings(sources)
    asked = _asked(instruction, timeline)
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"1 to {MOST_SAMPLES} samples", f"{samples}", "ask for fewer, with another --seed for more")
    if text is not None and not alone:
        raise InputError("a transcript for one recording named on its own", "several or a folder", "leave out --text")
    if not wanted.video and wanted.motion is None and wanted.sheet is None:
        raise InputError("something to write", "neither video nor motion", "name a motion file or leave out --no-video")
    if settings.seed + samples > 2**63:
        raise InputError("seeds below 2^63", f"{samples} samples from {settings.seed}", "begin with a smaller --seed")
    if beside and not (wanted.video and len(beside) <= MOST_BESIDE):
        got = f"{len(beside)}" if wanted.video else "no video"
        raise InputError(f"a video for up to {MOST_BESIDE} sentences beside it", got, "leave out some --beside")
    jobs = sampled(plan_jobs(recordings, alone, wanted), samples)
    check_targets([*recordings, *_read_files(settings, timeline)], jobs)
    others = tuple(Instruction.parse(sentence) for sentence in beside)
    with Talker(settings) as talker:
        talker.prepare(wanted.video or wanted.sheet is not None, writes=asked is None)
        for video in (job.video for job in jobs if job.video):
            talker.screen.check_video(video, abreast=len(others) + 1)
        for motion in (job.motion for job in jobs if job.motion):
            check_motion(motion, talker.head)
        for folder in (wanted.output if wanted.video else None, wanted.motion, wanted.sheet):
            if folder and not alone:
                make_folder(folder)
        for target in (target for job in jobs for target in job.targets):
            check_writable(target)
        heard: Talk | None = None
        for job in jobs:
            if job.sample > 1 and heard is None:
                continue  # the recording failed, and said so with its first sample
            outcome = _outcome(talker, job, alone, asked, text, others, heard if job.sample > 1 else None)
            heard = outcome.talk if job.sample == 1 else heard
            yield outcome


def _read_files(settings: TalkSettings, timeline: Path | None) -> list[Path]:
    """The files beside recordings that are read: the head, weights, sources of factors, a timeline."""
    named = [settings.head, settings.generator, settings.prior, settings.instructor]
    named += [getattr(settings.factors, factor).source for factor in FACTORS]
    return [Path(name) for name in named if os.path.exists(name)] + ([timeline] if timeline else [])  # noqa: PTH110


def _asked(instruction: str | None, timeline: Path | None) -> Instruction | Timeline | None:
    if timeline is None:
        return None if instruction is None else Instruction.parse(instruction)
    if instruction is not None:
        raise InputError("an instruction or a timeline", "both", "write the instruction into the timeline")
    return load_timeline(timeline)


def _failed(recording: Path, problem: Exception) -> AviError:
    got = str(problem) or type(problem).__name__
    return AviError(f"{recording} to be worked through", got, "free memory or disk, or check the file")


def _outcome(
    talker: Talker,
    job: Job,
    alone: bool,
    asked: Instruction | Timeline | None,
    text: str | None,
    others: Sequence[Instruction],
    heard: Talk | None,
) -> Outcome:
    """Carry out a job; a recording whose first sample was made is not listened to again."""
    begun = time.perf_counter()
    try:
        if heard is None:
            heard = talker.listen(job.recording, asked, text)
        seed = talker.settings.seed + job.sample - 1
        talk = heard if heard.seed == seed else talker.direct(heard, heard.timeline, seed)
        beside = tuple(talker.direct(talk, other) for other in others)
        if job.motion:
            write_motion(talk.motion, job.motion, talker.head)
        if job.sheet:
            talker.screen.write_sheet(talk, job.sheet)
        if job.video and beside:
            talker.screen.write_comparison([talk, *beside], job.video)
        elif job.video:
            talker.write_video(talk, job.video)
    except (AviError, OSError, MemoryError) as problem:
        error = problem if isinstance(problem, AviError) else _failed(job.recording, problem)
        return Outcome(job.recording, alone, job.sample, seconds=time.perf_counter() - begun, error=error)
    generator, director = talker.generator, talker.director
    prior = director.reason if director else "styles of the performer's own performances" if generator else None
    return Outcome(
        job.recording,
        alone,
        job.sample,
        talk,
        job.video,
        job.motion,
        generator.reason if generator else "performer: asked for",
        prior,
        tuple(model.warning for model in (generator, director) if model and model.warning),
        time.perf_counter() - begun,
        instructor=talker.instructor.reason if asked is None else None,
        sheet=job.sheet,
        beside=beside,
        head_notes=talker.head.notes,
    )
