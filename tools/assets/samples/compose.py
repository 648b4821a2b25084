"""Sentences for a large corpus: thousands of plain ones, put together from words of our own choice.

    python compose.py --count 4000 --seed 1 > composed.txt

Out: one sentence a line, no two alike, four to fourteen words. What they mean matters little; together they bring
every English phone into many neighbourhoods, with the lip sounds /m b p f v w/ more often than usual. They carry no
licence but this project's, unlike the sentences of recorded corpora.
"""

from __future__ import annotations

import argparse
import re

import numpy as np

WORDS = {
    "who": (
        "my mother|my father|the old baker|our neighbour|a young painter|the whole family|his best friend|"
        "her brother|the doctor|the farmer's wife|a famous pilot|everybody|nobody|somebody|"
        "the boy with the umbrella|the woman from Boston|the bus driver|my cousin Phoebe|uncle Walter|"
        "the choir|our teacher|the captain|the twins|a tall fisherman|the mayor|a clumsy waiter|"
        "my grandmother|the village police|the new girl|professor Vaughn"
    ),
    "did": (
        "bought|painted|forgot|found|carried|mended|washed|measured|borrowed|buried|burned|watched|"
        "photographed|weighed|described|polished|swapped|dropped|threw away|gave back|unwrapped|discovered|"
        "pushed aside|admired|shook|opened|picked up|chose|wrapped up|repaired|counted|brought home|hid|stole|"
        "saved|sketched|covered|shared|moved|judged"
    ),
    "what": (
        "the blue umbrella|a bag of apples|the broken vase|five loaves of bread|an ivory comb|the wooden boat|"
        "a very large map|the wrong parcel|a bowl of plum jam|the village bell|a pair of velvet gloves|"
        "the birthday cake|an unusual picture|the kitchen window|both chairs|the photo album|a shiny button|"
        "the garden hose|every page of the book|a warm scarf|the yellow bicycle|a box of matches|"
        "the vegetable soup|the measuring tape|a purple feather|the old piano|an empty bottle|"
        "the treasure chest|the church choir's robes|a joke about a moth|the leather armchair"
    ),
    "where": (
        "in the kitchen|behind the barn|at the far end of the village|on the beach|by the river|"
        "above the shop|under the bridge|near the post office|at the top of the tower|between the two houses|"
        "in front of the museum|beside the piano|on the way to work|in the back of the van|at my aunt's place|"
        "down in the cellar|outside the bakery"
    ),
    "when": (
        "before breakfast|on Wednesday|after the storm|last November|every Friday evening|a week ago|"
        "in the middle of the night|while we waited|at half past five|when the bell rang|"
        "as soon as it was warm|during the film|this morning|five minutes too late|by moonlight|"
        "in the summer of my first job|whenever it rained"
    ),
    "how": (
        "very slowly|without a word|with both hands|by mistake|for fun|in a hurry|rather badly|as usual|"
        "with great joy|to everyone's surprise|for no reason at all|quietly|carefully|with a measuring look|"
        "just above a whisper"
    ),
    "like": (
        "warm|perfect|fairly cheap|worth the money|beautiful|impossible|very heavy|empty|"
        "much bigger than before|famous|awful|surprisingly soft|half finished|full of bubbles|far too small|"
        "wonderful|broken|as good as new|boring|gone"
    ),
    "thing": (
        "the weather|this soup|the whole plan|your voice|the film|that purple shirt|the view from up here|"
        "my favourite jumper|the bread|our new apartment|the water in the pool|his beard|the bill|the garden|"
        "the first chapter|the path through the wood|the music|her answer|the puppy|the smell of the barn"
    ),
}
FRAMES = (
    "{who} {did} {what} {where}", "{when}, {who} {did} {what}", "{who} {did} {what} {how}", "{who} {did} {what} {when}",
    "did you know that {who} {did} {what}?", "I believe {who} {did} {what} {how}", "{thing} was {like} {when}",
    "why is {thing} {like}?", "nobody told me that {thing} was {like}", "{thing} became {like}, so {who} {did} {what}",
    "we will give you {what} {when}", "please leave {what} {where}", "I saw {what} {where} {when}",
    "{who} never {did} {what} {where}", "maybe {who} will be {where} {when}", "{how}, {who} {did} {what}",
    "you must have put {what} {where}", "if {thing} is {like}, call me", "{what} fell over {when}",
    "what if {who} {did} {what} {when}?", "I would rather have {what} than {what}",
    "{who} laughed when {thing} was {like}",
)  # fmt: skip
_CHOICES = {name: text.split("|") for name, text in WORDS.items()}


def compose(count: int, seed: int) -> list[str]:
    """That many different sentences; the same seed gives the same ones, and more of them begin with the same."""
    chance = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        frame = FRAMES[int(chance.integers(len(FRAMES)))]
        text = re.sub(r"\{(\w+)\}", lambda slot: str(chance.choice(_CHOICES[slot[1]])), frame)
        if 4 <= len(text.split()) <= 14:
            found[text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")] = None
    return list(found)


def main() -> None:
    """Print sentences, one a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=4000, help="sentences (default 4000)")
    parser.add_argument("--seed", type=int, default=1, help="source of every random choice (default 1)")
    given = parser.parse_args()
    print("\n".join(compose(given.count, given.seed)))


if __name__ == "__main__":
    main()
