"""The written GLB in a browser: three.js plays it, and what it shows is what our own renderer shows."""

from __future__ import annotations

import functools
import io
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from browsers import chromium
from PIL import Image

from avi_lib.face.camera import PORTRAIT, View, background
from avi_lib.face.head import Head
from avi_lib.face.raster import Rasteriser
from avi_lib.heads.export import write_glb
from avi_lib.motion.clip import ARKIT, MotionClip

SIZE = 384
SCRIPTS = Path(__file__).resolve().parents[1] / ".tools" / "js" / "node_modules"
FLAGS = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
GREEN = (0, 255, 0)

PAGE = """<!doctype html><style>body {{ margin: 0 }} canvas {{ display: block }}</style>
<script type="importmap">{{"imports": {{"three": "./three/build/three.module.js",
  "three/addons/": "./three/examples/jsm/"}}}}</script>
<script type="module">
import * as THREE from "three";
import {{ GLTFLoader }} from "three/addons/loaders/GLTFLoader.js";
const renderer = new THREE.WebGLRenderer({{ antialias: true, preserveDrawingBuffer: true }});
renderer.setSize({size}, {size});
document.body.append(renderer.domElement);
const scene = new THREE.Scene();
scene.background = new THREE.Color(0x00ff00);
scene.add(new THREE.HemisphereLight(0xdde4ee, 0x55504a, 3));
const camera = new THREE.PerspectiveCamera({fov}, 1, 0.2, 4);
const gltf = await new GLTFLoader().loadAsync("face.glb");
scene.add(gltf.scene);
const mixer = new THREE.AnimationMixer(gltf.scene);
const action = mixer.clipAction(gltf.animations[0]);
action.setLoop(THREE.LoopOnce).clampWhenFinished = true;
action.play();
camera.position.set(0, {eye_y}, {away});
camera.lookAt(0, {target_y}, 0);
window.show = (seconds) => {{
  mixer.setTime(seconds);
  renderer.render(scene, camera);
}};
window.ready = true;
</script>"""


@pytest.fixture(scope="module")
def motion() -> MotionClip:
    """At rest, then the mouth opens and the eyes look aside, then the head turns."""
    values = np.zeros((3, len(ARKIT)), np.float32)
    for frame, weights in enumerate((
        {},
        {"jawOpen": 0.7, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9},
        {"headYaw": 0.5, "headPitch": 0.1, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    )):  # fmt: skip
        for channel, value in weights.items():
            values[frame, ARKIT.index(channel)] = value
    return MotionClip(values, 25.0, ARKIT)


@pytest.fixture(scope="module")
def folder(head: Head, motion: MotionClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_glb(head, motion, folder / "face.glb")
    _, eye_y, away = PORTRAIT.position
    page = PAGE.format(size=SIZE, fov=PORTRAIT.fov_deg, eye_y=eye_y, away=away, target_y=PORTRAIT.target[1])
    (folder / "index.html").write_text(page)
    return folder


def test_browser_shows_the_silhouette_that_our_renderer_shows(head: Head, motion: MotionClip, folder: Path):
    if not (SCRIPTS / "three").is_dir():
        pytest.skip("three.js is not in .tools/js")
    (folder / "three").symlink_to(SCRIPTS / "three")
    shots: list[np.ndarray] = []
    problems: list[str] = []
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium(SIZE, SIZE, *FLAGS) as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.wait_for_function("window.ready", timeout=30_000)
        for frame in range(len(motion)):
            page.evaluate("seconds => window.show(seconds)", frame / motion.fps)
            shots.append(np.asarray(Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("RGB")))
        server.shutdown()
    assert not [problem for problem in problems if "favicon" not in problem and "404" not in problem]
    wall = background(SIZE, SIZE).astype(int)
    with Rasteriser(head, View.square(SIZE)) as rasteriser:
        for frame, vertices in enumerate(head.move(motion)):
            ours = np.abs(rasteriser.draw(vertices).astype(int) - wall).sum(axis=2) > 6
            theirs = np.abs(shots[frame].astype(int) - GREEN).sum(axis=2) > 60
            assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97, frame


def test_khronos_validator_finds_nothing(folder: Path) -> None:
    node = shutil.which("node")
    if node is None or not (SCRIPTS / "gltf-validator").is_dir():
        pytest.skip("node or gltf-validator is not there")
    script = (
        "const fs = require('fs'); require(process.argv[1]).validateBytes(new Uint8Array(fs.readFileSync("
        "process.argv[2]))).then(report => console.log(JSON.stringify(report.issues)))"
    )
    report = subprocess.run(
        [node, "-e", script, str(SCRIPTS / "gltf-validator"), str(folder / "face.glb")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    issues = json.loads(report.stdout)
    assert [issues[f"num{kind}"] for kind in ("Errors", "Warnings", "Infos", "Hints")] == [0, 0, 0, 0]
