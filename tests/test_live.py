"""Motion while it is spoken: hops, receivers with real clients of their protocols, sound that is late or missing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pylivelinkface import FaceBlendShape, PyLiveLinkFace
from pythonosc.osc_bundle import OscBundle
from tiny_workbooks import wait_until
from websocket import WebSocket, create_connection

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MM
from avi_lib.instruction.instruction import Instruction
from avi_lib.live import MOST_WAITING_S, SOCKET, Intake, LiveSession, piped, played
from avi_lib.motion.clip import ARKIT, load_npz
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.live import AHEAD, FPS, FRAME, HOP, LiveFace
from avi_lib.receivers import LiveLink, Page, Vmc, address
from avi_lib.settings import TalkSettings
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.talker import Talker
from tools.benchmarks.live import live_motion

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "samples" / "angry.flac"
CALM, NODDING = (Instruction.parse(text) for text in ("A person feels calm.", "He nods a lot and raises his brows."))


@pytest.fixture(scope="module")
def generator() -> LearnedGenerator:
    return load_generator()


@pytest.fixture(scope="module")
def style(generator: LearnedGenerator) -> np.ndarray:
    return generator.model.generator.style_mean.numpy().copy()


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return load_voice(SAMPLE).wave[: 2 * RATE_HZ + 77]


def values_of(*pieces: Any) -> np.ndarray:
    return np.concatenate([values for each in pieces for values in each])


def test_pieces_of_any_size_give_the_bytes_of_the_whole(generator, style, wave):
    whole = live_motion(generator, wave, style, NODDING, seed=3)
    assert len(whole) == -(-len(wave) // FRAME)
    face, rng, at, pieces = LiveFace(generator, style, NODDING, seed=3), np.random.default_rng(0), 0, []
    while at < len(wave):
        size = int(rng.choice([0, 1, 159, 1280, 5000]))
        pieces.append([*face.push(wave[at : at + size])])
        at += size
    assert np.array_equal(values_of(*pieces, face.finish()), whole.values)
    assert not np.array_equal(live_motion(generator, wave, style, NODDING, seed=4).values, whole.values)


def test_a_frame_waits_for_160_ms_of_later_sound_and_depends_on_no_more(generator, style, wave):
    other, cut = wave.copy(), 24
    other[cut * FRAME :] = 0.3 * np.sin(np.arange(len(wave) - cut * FRAME))
    known = cut - AHEAD
    a, b = (values_of(LiveFace(generator, style, CALM).push(each)) for each in (wave, other))
    assert np.array_equal(a[:known], b[:known]) and not np.allclose(a[known:], b[known:])
    heard = LiveFace(generator, style, CALM)
    assert sum(map(len, heard.push(wave[: 4 * FRAME]))) == 4 - AHEAD
    assert sum(map(len, heard.push(wave[4 * FRAME : (4 + HOP) * FRAME]))) == HOP


def test_lips_shut_within_200_ms_of_silence_and_follow_the_recording_as_a_whole(generator, style, wave, head):
    ends = round(1.8 * RATE_HZ)  # within a word
    spoken = np.concatenate([wave[:ends], np.zeros(RATE_HZ, np.float32)])
    gap_mm = MM * head.lip_gap(live_motion(generator, spoken, style, CALM).values)
    assert gap_mm[: ends // FRAME].max() > 4 and gap_mm[ends // FRAME + 5 :].max() < 1
    whole = generator.model.motion_of(generator.listen(wave), style)["jawOpen"]
    assert np.corrcoef(live_motion(generator, wave, style, CALM)["jawOpen"], whole)[0, 1] > 0.9


def test_another_instruction_comes_on_within_half_a_second_and_memory_stays(generator, style, wave):
    smiling = style.copy()
    smile = ARKIT.index("mouthSmileLeft")
    smiling[smile] = 0.9
    face = LiveFace(generator, style, CALM)
    before = values_of(face.push(wave[:RATE_HZ]))
    sizes = {name: each.nbytes for name, each in vars(face).items() if isinstance(each, np.ndarray)}
    face.direct(NODDING, smiling)
    after = values_of(face.push(wave[RATE_HZ:]), face.push(wave))
    assert face.asked.instruction == NODDING
    assert abs(after[0, smile] - before[-1, smile]) < 0.15 and after[13:, smile].mean() > before[:, smile].mean() + 0.4
    assert np.abs(np.diff(after[:, ARKIT.index("headPitch")])).max() < 0.1
    for _ in face.push(np.tile(wave, 2)):
        pass
    grown = {name: each.nbytes for name, each in vars(face).items() if isinstance(each, np.ndarray)}
    assert all(grown[name] <= sizes[name] + 40_000 for name in sizes)


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield receiver


FACE = np.linspace(0.0, 0.4, len(ARKIT), dtype=np.float32)


def test_live_link_packets_are_read_by_its_clients(udp: socket.socket) -> None:
    link = LiveLink(*udp.getsockname(), subject="avi")
    link.send(42, FACE)
    seen, face = PyLiveLinkFace.decode(udp.recv(4096))
    assert seen and face.name == "avi" and face._frames == 42 and face.fps == FPS
    assert face.get_blendshape(FaceBlendShape.JawOpen) == pytest.approx(FACE[ARKIT.index("jawOpen")])
    assert face.get_blendshape(FaceBlendShape.HeadYaw) == pytest.approx(FACE[ARKIT.index("headYaw")])
    link.close()


def test_vmc_bundles_are_read_by_a_client_of_osc(udp: socket.socket) -> None:
    vmc = Vmc(*udp.getsockname())
    vmc.send(50, FACE)
    vmc.close()
    said = [(message.address, message.params) for message in OscBundle(udp.recv(1 << 16))]
    weights = {params[0]: params[1] for where, params in said if where == "/VMC/Ext/Blend/Val"}
    assert len(weights) == 52 and weights["JawOpen"] == pytest.approx(FACE[ARKIT.index("jawOpen")])
    assert ("/VMC/Ext/Blend/Apply", []) in said and ("/VMC/Ext/T", [2.0]) in said
    bone = next(params for where, params in said if where == "/VMC/Ext/Bone/Pos")
    assert bone[0] == "Head" and np.linalg.norm(bone[4:]) == pytest.approx(1)


@pytest.fixture
def page() -> Iterator[Page]:
    served = Page(0)
    yield served
    served.close()


def joined(page: Page) -> WebSocket:
    client = create_connection(f"{page.url.replace('http', 'ws')}motion", timeout=5)
    wait_until(lambda: bool(page.clients), 5)
    return client


def test_a_client_of_the_page_gets_motion_and_asks(page: Page) -> None:
    asked: list[str] = []
    heard: list[tuple[int, int]] = []
    page.asked, page.heard = asked.append, lambda samples, rate_hz: heard.append((len(samples), rate_hz))
    page.hold("hello", channels=list(ARKIT.channels))
    client = joined(page)
    assert json.loads(client.recv())["channels"][0] == ARKIT.channels[0]
    page.send(5, FACE)
    motion = json.loads(client.recv())
    assert motion["type"] == "motion" and motion["time_s"] == 0.2 and len(motion["weights"]) == 52
    assert motion["head"] == pytest.approx(FACE[52:].tolist(), abs=1e-4)
    kinds = ('"dance"', '"instruction"', '"audio", "rate_hz": 1', '"audio", "rate_hz": 1e999')
    for message in ("no json", "[]", "[" * 100_000, *(f'{{"type": {kind}}}' for kind in kinds)):
        client.send(message)
        assert json.loads(client.recv())["text"].startswith("expected")
    client.send('{"type": "audio", "rate_hz": 48000}')
    client.send_binary(b"\x00\x01" * 300 + b"\x00")
    client.send('{"type": "instruction", "text": "She smiles."}')
    wait_until(lambda: bool(asked), 5)
    assert asked == ["She smiles."] and heard == [(300, 48000)]
    client.close()


def test_a_client_that_does_not_read_misses_messages_and_a_lost_one_is_forgotten(page: Page) -> None:
    slow = joined(page)
    for _ in range(60):
        page.sound(np.zeros(400_000, np.float32))
        time.sleep(0.01)
    assert page.missed > 20
    page.hold("instruction", text="She smiles.")
    page.hold("hello", fps=FPS)
    quick = create_connection(f"{page.url.replace('http', 'ws')}motion", timeout=5)
    assert {json.loads(quick.recv())["type"] for _ in range(2)} == {"instruction", "hello"}
    kinds = (json.loads(text)["type"] for text in iter(slow.recv, None) if isinstance(text, str))
    assert [next(kinds), next(kinds)] == ["instruction", "hello"], "what holds is told however slow a client is"
    slow.sock.close()
    quick.close()
    wait_until(lambda: page.send(0, FACE) or not page.clients, 5)


def test_a_port_that_is_taken_and_addresses_that_are_none_are_refused(page: Page) -> None:
    with pytest.raises(InputError, match="free port"):
        Page(page.port)
    for text in ("localhost", "127.0.0.1:", "127.0.0.1:99999", "no.such.host.invalid:11111"):
        with pytest.raises(InputError, match="expected a"):
            address(text)


def test_a_pause_is_filled_with_silence_and_what_comes_later_than_that_is_left_out() -> None:
    intake = Intake()
    intake.put(np.ones(1600, np.float32), RATE_HZ, fills=True)
    assert len(intake.take(True)) == 1600
    silence = intake.take(True)
    assert 0 < len(silence) <= HOP * FRAME and not silence.any()
    intake.put(np.ones(3 * RATE_HZ, np.float32), RATE_HZ, fills=True)  # a burst: far more than time has passed
    assert intake.dropped > 2 * RATE_HZ and intake.inserted == len(silence)


def test_work_that_is_behind_leaves_out_the_oldest_and_rates_are_changed_or_refused() -> None:
    intake = Intake()
    for _ in range(40):
        intake.put(np.zeros(1600, np.float32), RATE_HZ, fills=False)
    assert intake.dropped == 40 * 1600 - MOST_WAITING_S * RATE_HZ
    other = Intake()
    for _ in range(10):
        other.put(np.array([np.nan, 3e38, -3e38] * 1600, np.float32), 48_000, fills=False)
    other.end()
    pieces = []
    while (piece := other.take(False)) is not None:
        pieces.append(piece)
    assert 0.9 * RATE_HZ < len(np.concatenate(pieces)) <= RATE_HZ and np.isfinite(np.concatenate(pieces)).all()
    with pytest.raises(InputError, match="rate of 8000"):
        other.put(np.zeros(10, np.float32), 100, fills=False)


class _Kept:
    """A receiver that keeps what comes."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, np.ndarray]] = []

    def send(self, frame: int, values: np.ndarray) -> None:
        self.frames.append((frame, values))

    def close(self) -> None:
        pass


def test_a_session_gives_every_frame_once_in_order_and_as_offline(tmp_path: Path) -> None:
    out = tmp_path / "motion.npz"
    assert main(["live", str(SAMPLE), "--instruction", NODDING.text, "--motion", str(out)]) == 0
    made = load_npz(out)
    assert (
        made.fps == FPS and made["jawOpen"].max() > 0.1 and len(made) <= round(load_voice(SAMPLE).duration_s * FPS) + 1
    )


def test_a_session_can_be_asked_and_stopped_and_a_pipe_may_end_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "pipe.raw"
    path.write_bytes((load_voice(SAMPLE).wave[:RATE_HZ] * 32767).astype("<i2").tobytes() + b"\x01")
    kept = _Kept()
    with Talker(TalkSettings()) as talker, path.open("rb") as stream:
        report = LiveSession(talker, piped(stream), [kept], CALM).run()
        assert [frame for frame, _ in kept.frames] == list(range(len(kept.frames))) and report.frames >= 10
        waiting = LiveSession(talker, SOCKET, [kept], CALM)
        waiting.direct("She smiles.")
        waiting.stop()
        assert waiting.run().frames == 0
        with pytest.raises(InputError, match="learned generator"):
            LiveSession(Talker(TalkSettings(generator="performer")), played(load_voice(SAMPLE)), [kept])


def test_a_recording_begins_when_its_page_is_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    addresses: list[str] = []
    monkeypatch.setattr("avi_lib.cli._say", addresses.append)
    asked = ["live", str(SAMPLE), "--instruction", CALM.text, "--port", "0", "--motion", str(tmp_path / "live.npz")]
    with ThreadPoolExecutor(1) as live:
        ended = live.submit(main, asked)
        wait_until(lambda: bool(addresses), 60)
        time.sleep(1)
        page = addresses[0].split()[1]
        client = create_connection(f"{page.replace('http', 'ws')}motion", timeout=30)
        while isinstance(got := client.recv(), bytes) or json.loads(got)["type"] != "motion":
            pass
        client.close()
        assert ended.result() == 0
    whole = round(load_voice(SAMPLE).duration_s * FPS)
    assert abs(len(load_npz(tmp_path / "live.npz")) - whole) <= 1, "nothing was played before"


def test_nobody_to_send_to_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", str(SAMPLE)]) == 2
    assert "name --livelink, --vmc, --port or --motion" in capsys.readouterr().err
