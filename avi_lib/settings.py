"""Frozen settings of every stage; JSON in, JSON out.

>>> PerformerSettings.model_validate_json(PerformerSettings(fps=30.0).model_dump_json()).fps
30.0
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from avi_lib.errors import InputError, expect


class Settings(BaseModel):
    """Base of all settings: frozen, and a name that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PerformerSettings(Settings):
    """What the performer adds to speech, each part with its own random stream."""

    fps: float = Field(25.0, ge=1, le=100, description="frames per second of the motion")
    loudness_widens: float = Field(0.5, ge=0, le=2, description="share opened further 10 dB above the median loudness")
    beats: bool = Field(True, description="stress moves brows and head")
    blinks: bool = Field(True, description="the eyes blink now and then")
    gaze: bool = Field(True, description="the eyes rest and jump")
    sway: bool = Field(True, description="the head sways")


class RenderSettings(Settings):
    """The picture."""

    size: int = Field(512, ge=64, le=2048, multiple_of=2, description="height in pixels")
    width: int | None = Field(None, ge=64, le=2048, multiple_of=2, description="width in pixels; the height when None")
    backdrop: str = Field(
        "studio", pattern="^(studio|transparent|#[0-9a-fA-F]{6})$", description="studio, transparent, #rrggbb"
    )
    framing: Literal["portrait", "face", "mouth", "eyes"] = Field("portrait", description="what fills the picture")
    turn_deg: float = Field(0.0, ge=-180, le=180, description="camera around the head, > 0 to the picture's right")
    tilt_deg: float = Field(0.0, ge=-80, le=80, description="camera over the head, > 0 up")
    caption: bool = Field(False, description="the instruction as a subtitle")
    strip: bool = Field(False, description="trajectories under the picture")


class FactorSettings(Settings):
    """Where one factor of the face comes from, and how strong it is."""

    source: str = Field("speech", min_length=1, description="speech, off, seed:N, text:SENTENCE, or a file")
    strength: float = Field(1.0, ge=0, le=3, description="multiplies its channels: 0 is rest")


class Factors(Settings):
    """The factors of a face that can be chosen apart; see `motion.factors`."""

    lips: FactorSettings = FactorSettings()
    expression: FactorSettings = FactorSettings()
    blink: FactorSettings = FactorSettings()
    gaze: FactorSettings = FactorSettings()
    pose: FactorSettings = FactorSettings()


class SampleSettings(Settings):
    """How the diffusion prior draws a style."""

    steps: int = Field(8, ge=2, le=1000, description="steps from noise to a style")
    guidance: float = Field(1.0, ge=0, le=10, description="1 follows the sentence, more exaggerates it")


class TalkSettings(Settings):
    """Everything that decides a talking face beside its speech and its instruction."""

    generator: str = Field("learned", min_length=1, description="makes the motion: learned, performer, or weights")
    encoder: str | None = Field(None, description="speech encoder of the learned generator: a name, or a path to one")
    prior: str = Field("learned", min_length=1, description="makes a style: learned, performer, or weights")
    text_encoder: str | None = Field(None, description="text encoder of the prior: a name, or a path to one")
    instructor: str = Field("learned", min_length=1, description="writes where nothing is asked: learned, or weights")
    language_model: str | None = Field(None, description="language model of the instructor: a name, or a path to one")
    sample: SampleSettings = SampleSettings()
    head: str = Field(
        "voice", description="voice: whom its pitch suggests; one of `avi heads`; a path to a head or photo"
    )
    identity: dict[str, FiniteFloat] = Field({}, description="sliders of the head, see `avi heads`")
    factors: Factors = Factors()
    seed: int = Field(0, ge=0, lt=2**63, description="source of every random choice")
    performer: PerformerSettings = PerformerSettings()
    render: RenderSettings = RenderSettings()


class InstructSettings(Settings):
    """What decides an instruction that is written beside the speech."""

    instructor: str = Field("learned", min_length=1, description="the weights: learned, or a path to some")
    encoder: str | None = Field(None, description="speech encoder: a name, or a path to one")
    language_model: str | None = Field(None, description="language model: a name, or a path to one")
    temperature: float = Field(0.0, ge=0, le=2, description="of the words behind the emotion; 0 the likeliest")
    seed: int = Field(0, ge=0, lt=2**63, description="source of the random choice of words")
    free: bool = Field(False, description="write freely behind the emotion, also what is not understood")
    neutral: Path | None = Field(
        None,
        description="a calm recording of the same person; own: the mean of all that is heard; running: up to there",
    )
    text: str | None = Field(
        None, min_length=1, description="what is said, - to hear that too: words count beside the voice"
    )


class PrepareSettings(Settings):
    """What a prepared corpus is made of; every one of them is part of the address of what is stored."""

    seed: int = Field(0, ge=0, lt=2**63, description="source of every random choice: splits, scripts, wordings")
    encoder: str = Field("whisper-tiny-en", min_length=1, description="frozen speech encoder: a name, or a path to one")
    scripts: int = Field(3, ge=1, le=8, description="action-unit scripts drawn for each clip that has no real motion")
    group: int = Field(4, ge=1, le=8, description="clips that exchange their scripts: each performs those of all")
    texts: int = Field(4, ge=1, le=32, description="paraphrases of every script")
    shortest_s: float = Field(0.4, ge=0.1, le=5, description="clips shorter than this are refused")
    longest_s: float = Field(12.0, ge=2, le=25, description="longer recordings are cut at pauses into clips this long")
    validation_share: float = Field(0.1, ge=0, lt=0.5, description="share of speakers kept for validation")
    test_share: float = Field(0.1, ge=0, lt=0.5, description="share of speakers kept for the test")
    test_speakers: str = Field("", description="speakers kept for the test instead, with commas between them")
    limit: int = Field(0, ge=0, description="prepare this many recordings only, drawn by the seed; 0 for all")


class TrainSettings(Settings):
    """How a network is trained: AdamW, a warm-up and a cosine down, an average of the weights."""

    steps: int = Field(1000, ge=1, description="updates of the weights")
    batch: int = Field(32, ge=1, description="items of an update")
    learning_rate: float = Field(3e-4, gt=0, description="highest learning rate")
    warmup: int = Field(100, ge=0, description="updates over which it rises")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the weights' running average")
    save_every: int = Field(200, ge=1, description="updates between checkpoints")
    log_every: int = Field(10, ge=1, description="updates between lines of the log")
    seed: int = Field(0, ge=0, lt=2**63, description="source of every random choice")


class TalkingSettings(Settings):
    """The talking generator and how it is trained."""

    width: int = Field(192, ge=16, le=1024, description="features within the generator")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of features left out in training")
    scenes: int = Field(600, ge=0, description="scenes of sentences with pauses and noises that are composed")
    frames: int = Field(80, ge=25, le=500, description="frames of a training clip")
    style_frames: int = Field(100, ge=25, le=500, description="frames of motion a style is taken from in training")
    exchanged: float = Field(0.7, ge=0, le=1, description="share of performed clips whose style another clip shows")
    fresh: float = Field(0.5, ge=0, le=1, description="share of performed clips that perform a script drawn anew")
    mixed: float = Field(0.25, ge=0, le=1, description="share of performed clips in which two performances are mixed")
    unlabelled: float = Field(0.2, ge=0, le=1, description="clips with a real style and no true answer, of a batch")
    partial: float = Field(0.1, ge=0, le=1, description="share of styles shown with a group of channels missing")
    lips: float = Field(1.0, ge=0, description="weight of the error of the lips, in units of its variance")
    upper_face: float = Field(1.0, ge=0, description="weight of the error of brows and forehead")
    eyes: float = Field(0.5, ge=0, description="weight of the error around the eyes")
    face: float = Field(0.5, ge=0, description="weight of the error of the whole face")
    head: float = Field(0.25, ge=0, description="weight of the error of the head's rotation")
    channels: float = Field(1.0, ge=0, description="weight of the error of all channels in units of their deviation")
    velocity: float = Field(0.5, ge=0, description="weight of the same errors of the velocity")
    gap: float = Field(1.0, ge=0, description="weight of the error of the lip gap")
    closed: float = Field(3.0, ge=1, description="how much more it counts where the lips are closed")
    content: float = Field(0.3, ge=0, description="weight of the lips keeping their timing under a real style")
    jitter: float = Field(0.1, ge=0, le=1, description="noise on styles in training, in units of their deviation")
    train: TrainSettings = TrainSettings()


class FlowSettings(Settings):
    """The flow, which draws all of the face but the lips, and how it is trained."""

    width: int = Field(112, ge=16, le=1024, description="features of a frame")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of features left out in training")
    frames: int = Field(80, ge=25, le=500, description="frames of a training clip")
    joined: float = Field(0.6, ge=0, le=1, description="share of clips that another of the same person follows")
    exaggerated: float = Field(0.5, ge=0, le=1, description="share of clips whose movement is made smaller or larger")
    raised: float = Field(0.5, ge=0, le=1, description="share of clips set on other levels")
    hidden: float = Field(0.5, ge=0, le=1, description="share of styles with entries that are not shown")
    jitter: float = Field(0.15, ge=0, le=1, description="noise on styles in training, in units of their deviation")
    train: TrainSettings = TrainSettings()


class PriorSettings(Settings):
    """The diffusion prior, what it is trained on, and how."""

    width: int = Field(192, ge=32, le=2048, multiple_of=32, description="features of the style token")
    blocks: int = Field(4, ge=1, le=24, description="blocks of attention and network")
    heads: int = Field(8, ge=1, le=32, description="heads of attention")
    words: int = Field(128, ge=16, le=2048, multiple_of=16, description="features of a token of the sentence")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of features left out in training")
    scripts: int = Field(7000, ge=32, description="scripts that are drawn, performed and put into words")
    texts: int = Field(2, ge=1, le=32, description="sentences of every script")
    held_out: int = Field(600, ge=8, description="scripts of each evaluation set")
    dropped: float = Field(0.1, ge=0, lt=1, description="share of sentences that are not shown, for guidance")
    text_alone: float = Field(0.35, ge=0, lt=1, description="share of sentences whose reading is not shown")
    parse_alone: float = Field(0.15, ge=0, lt=1, description="share of sentences of which only the reading is shown")
    kept: float = Field(0.05, ge=0, lt=1, description="share of styles of which a group of channels is given")
    regression: bool = Field(False, description="predict the mean style by regression, without diffusion")
    train: TrainSettings = TrainSettings()


class InstructorSettings(Settings):
    """The instructor, its training data, and how it is trained: it listens, is aligned with sentences, and speaks."""

    penalty: float = Field(0.5, gt=0, description="of half the squared weights of the linear maps to classes")
    axes: int = Field(400, ge=2, description="directions of most variance that these maps read")
    features: int = Field(160, ge=16, le=2048, multiple_of=16, description="features of a query")
    queries: int = Field(0, ge=0, le=64, description="queries of the Q-Former; 0 leaves it out")
    blocks: int = Field(2, ge=1, le=24, description="blocks of the Q-Former")
    heads: int = Field(4, ge=1, le=16, description="heads of attention")
    aligned: int = Field(64, ge=8, le=1024, description="numbers of the space that speech and sentences share")
    tokens: int = Field(8, ge=1, le=64, description="embeddings of the prompt for the language model")
    hidden: int = Field(192, ge=16, le=4096, description="features between the logits and the prompt")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of features left out in training")
    views: int = Field(2, ge=1, le=32, description="views of a clip: as it is, and augmented")
    smoothing: float = Field(0.1, ge=0, lt=1, description="share of a sentence's label given to all sentences")
    masked: float = Field(0.2, ge=0, lt=1, description="longest share of a clip that is masked, one time in two")
    paraphrases: int = Field(8, ge=1, le=64, description="sentences of every emotion class that speech is aligned with")
    sounds: int = Field(240, ge=2, description="clips without speech")
    align: TrainSettings = TrainSettings()
    speak: TrainSettings = TrainSettings()


class ReaderSettings(Settings):
    """The reader of free English, and how it is trained."""

    views: int = Field(1, ge=0, le=64, description="times that every sentence is put otherwise")
    width: int = Field(192, ge=16, le=2048, multiple_of=16, description="features of a token")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of features left out in training")
    train: TrainSettings = TrainSettings()


class PortraitSettings(Settings):
    """A portrait's neural renderer, what it is trained on, and how; weights of losses by their names."""

    size: Literal["tiny", "small", "paper"] = Field("small", description="widths of its networks")
    learns: Literal["all", "mouth"] = Field("all", description="which networks; mouth: that of the mouth alone")
    photos: int = Field(6, ge=1, le=64, description="frames of the videos that stand for photographs")
    views: int = Field(2, ge=1, le=8, description="photographs that draw each part of a video")
    every: int = Field(3, ge=1, le=25, description="frames from one that is learned from to the next")
    people: int = Field(16, ge=1, le=500, description="heads that are rendered where there are no videos")
    frames: int = Field(60, ge=1, le=1000, description="frames of each of these")
    light: float = Field(0.1, ge=0, le=0.5, description="by which share the light of an example may be another one")
    warped_weight: float = Field(1.0, ge=0, description="of perceptual features of what is warped")
    warped_error_weight: float = Field(5.0, ge=0, description="of its absolute error")
    face_weight: float = Field(1.0, ge=0, description="of perceptual features of what is edited")
    mouth_weight: float = Field(1.0, ge=0, description="of those of the mouth")
    style_weight: float = Field(0.1, ge=0, description="of Gram matrices of both")
    error_weight: float = Field(10.0, ge=0, description="of the absolute error of the face")
    mouth_error_weight: float = Field(10.0, ge=0, description="of that of the mouth")
    mask_weight: float = Field(0.02, ge=0, description="of how much of the face is edited")
    train: TrainSettings = TrainSettings()


class Profile(Settings):
    """Settings of every stage at one size of run."""

    prepare: PrepareSettings
    instructor: InstructorSettings
    reader: ReaderSettings
    talking: TalkingSettings
    flow: FlowSettings
    prior: PriorSettings
    portrait: PortraitSettings


PROFILES = {
    name: Profile.model_validate(stages)
    for name, stages in yaml.load(Path(__file__).with_name("profiles.yaml").read_bytes(), yaml.CSafeLoader).items()
}
"""Those of profiles.yaml: `smoke` runs every stage in a minute or so, with `full` shipped weights are trained."""


def profile(name: str) -> Profile:
    """The profile of a name; InputError when there is none."""
    expect(name in PROFILES, f"a profile of {', '.join(PROFILES)}", repr(name), "choose one of them")
    return PROFILES[name]


S = TypeVar("S", bound=Settings)


def validated(kind: type[S], **values: object) -> S:
    """Settings from outside values; InputError names the first that does not fit."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"a valid {name}", f"{first['input']!r}: {first['msg']}", "see its --help") from error
