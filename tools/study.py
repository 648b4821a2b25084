"""A blind comparison by people: one page with pairs of videos, and what their answers say.

    python -m tools.study make data/samples/*.flac --instruction "She is furious." "A person speaks." \
        --systems learned performer -o outputs/study/study.html
    python -m tools.study score outputs/study/study.key.json answers/*.json

The page is one file and needs no network. Which system stands left, and the order of pairs, come from the seed; only
the key beside the page knows. People save their answers as a file, which is scored with intervals over people.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import avi_lib as avi
from avi_lib.errors import AviError, InputError, cause
from avi_lib.evaluation.report import Estimate, estimate
from avi_lib.files import atomic_path, content_sha256, make_folder
from avi_lib.settings import RenderSettings, TalkSettings

QUESTIONS = {
    "natural": "Which face moves more like a real person's?",
    "asked": "Which face does better what the sentence says?",
}
SYSTEMS = {
    "learned": {},
    "performer": {"generator": "performer", "prior": "performer"},
    "learned, performer's style": {"prior": "performer"},
}
"""What can be compared, by the settings of `avi talk`."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Two faces</title><style>
body{font:18px/1.5 sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
.two{display:flex;gap:1em}.two figure{flex:1;margin:0;text-align:center}video{width:100%;background:#ddd}
button{font:inherit;padding:.4em 1.4em;margin:.2em}.on{background:#1f77b4;color:#fff}q{font-style:italic}
</style><h1>Two faces</h1><p id="place"></p><p>They were asked: <q id="text"></q></p>
<div class="two"><figure><video id="v0" controls></video><figcaption>left</figcaption></figure>
<figure><video id="v1" controls></video><figcaption>right</figcaption></figure></div>
<div id="ask"></div><p><button id="next" disabled>Next</button></p><script>
const pairs=@PAIRS@,questions=@QUESTIONS@,study="@STUDY@";
const answers=[],bytes=crypto.getRandomValues(new Uint8Array(8));
const person=Array.from(bytes,b=>b.toString(16).padStart(2,"0")).join("");
let at=0,said={};const by=id=>document.getElementById(id);
function show(){if(at==pairs.length)return save();said={};const pair=pairs[at];
by("place").textContent=`Pair ${at+1} of ${pairs.length}. Watch both with sound, as often as you like.`;
by("text").textContent=pair.text;[0,1].forEach(i=>by("v"+i).src="data:video/mp4;base64,"+pair.videos[i]);
by("ask").replaceChildren(...Object.entries(questions).map(([key,question])=>{const row=document.createElement("p");
row.append(question+" ");["left","right"].forEach((side,i)=>{const button=document.createElement("button");
button.textContent=side;button.onclick=()=>{said[key]=i;[...row.querySelectorAll("button")].forEach((b,j)=>
b.classList.toggle("on",i==j));by("next").disabled=Object.keys(said).length<Object.keys(questions).length};
row.append(button)});return row}));by("next").disabled=true}
by("next").onclick=()=>{answers.push({pair:pairs[at].pair,...said});at++;show()};
function save(){document.body.innerHTML="<h1>Thank you</h1><p>Your answers are being saved; please send the file.</p>";
const link=document.createElement("a");link.download=`answers-${person}.json`;link.textContent="Save again";
link.href=URL.createObjectURL(new Blob([JSON.stringify({study,person,answers},null,1)],{type:"application/json"}));
document.body.append(link);link.click()}
show();</script></html>
"""


def make(
    speech: Sequence[Path], texts: Sequence[str], systems: Sequence[str], page: Path, seed: int, size: int
) -> Path:
    """Write the page, and its key beside it, whose path is returned.

    Every recording is spoken under every text by both systems. InputError unless two systems of `SYSTEMS` are named.
    """
    if len(systems) != 2 or not set(systems) <= SYSTEMS.keys():
        raise InputError(f"two systems of {', '.join(SYSTEMS)}", ", ".join(systems), "name two")
    rng, pairs, key = np.random.default_rng(seed), [], []
    look = RenderSettings(size=size)
    talkers = [avi.Talker(TalkSettings(seed=seed, render=look, **SYSTEMS[system])) for system in systems]
    with tempfile.TemporaryDirectory() as folder:
        for number, (recording, text) in enumerate((a, b) for a in speech for b in texts):
            videos = []
            for talker in talkers:
                path = Path(folder) / f"{number}.mp4"
                talker.write_video(talker.listen(recording, avi.understand(text)), path)
                videos.append(base64.b64encode(path.read_bytes()).decode("ascii"))
            swapped = bool(rng.integers(2))
            key.append({"pair": number, "left": systems[swapped], "right": systems[not swapped], "text": text})
            pairs.append({"pair": number, "text": text, "videos": videos[::-1] if swapped else videos})
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    study = content_sha256(key)[:16]
    written = PAGE.replace("@QUESTIONS@", json.dumps(QUESTIONS)).replace("@STUDY@", study)
    written = written.replace("@PAIRS@", json.dumps(pairs).replace("<", "\\u003c"))
    make_folder(page.parent)
    beside = page.with_suffix(".key.json")
    for path, text in ((page, written), (beside, json.dumps({"study": study, "systems": systems, "pairs": key}))):
        with atomic_path(path) as temporary:
            temporary.write_text(text, "utf-8")
    return beside


def score(key: Path, answers: Sequence[Path]) -> dict[str, Estimate]:
    """By question, how often the first system was chosen, with an interval over people where there are enough.

    InputError for a file that is no key or holds no answers to its pairs.
    """
    try:
        known = json.loads(key.read_text("utf-8"))
        sides = {pair["pair"]: (pair["left"], pair["right"]) for pair in known["pairs"]}
        first: dict[str, list[float]] = {question: [] for question in QUESTIONS}
        people: dict[str, list[str]] = {question: [] for question in QUESTIONS}
        for path in answers:
            given = json.loads(path.read_text("utf-8"))
            if given["study"] != known["study"]:
                raise InputError(f"answers to the study {known['study']}", f"{path} to {given['study']}", "sort them")
            for answer in given["answers"]:
                for question in QUESTIONS:
                    chosen = sides[answer["pair"]][int(answer[question])]
                    first[question].append(float(chosen == known["systems"][0]))
                    people[question].append(str(given["person"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            "a key and files of answers as the page saves them", cause(error), "check the files"
        ) from error
    return {
        question: estimate(values, np.random.default_rng(0), people[question], named="people")
        for question, values in first.items()
    }


def main(words: list[str] | None = None) -> int:
    """Make a page, or score answers."""
    parser = argparse.ArgumentParser(prog="python -m tools.study", description=__doc__.splitlines()[0])
    jobs = parser.add_subparsers(dest="job", required=True)
    making = jobs.add_parser("make")
    making.add_argument("speech", type=Path, nargs="+")
    making.add_argument("--instruction", nargs="+", default=["A person speaks."], metavar="TEXT")
    making.add_argument("--systems", nargs=2, default=["learned", "performer"], metavar="SYSTEM")
    making.add_argument("-o", "--output", type=Path, default=Path("outputs/study/study.html"))
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--size", type=int, default=320, help="pixels")
    scoring = jobs.add_parser("score")
    scoring.add_argument("key", type=Path)
    scoring.add_argument("answers", type=Path, nargs="+")
    given = parser.parse_args(words)
    try:
        if given.job == "make":
            key = make(given.speech, given.instruction, given.systems, given.output, given.seed, given.size)
            print(f"{given.output}; which is which: {key}")
            return 0
        systems = json.loads(given.key.read_text("utf-8"))["systems"] if given.key.is_file() else ["?"]
        for question, found in score(given.key, given.answers).items():
            low, high = f"{found.low:.2f}", f"{found.high:.2f}"
            print(f"{QUESTIONS[question]} {systems[0]} {found.value:.2f} ({low} to {high}), {found.clips} answers")
    except AviError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
