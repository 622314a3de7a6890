"""A language model in small: which character comes next? Learned from English that Python itself ships.

python examples/next_character.py

The text is that of Python's own `help()` on its topics. The network sees eight characters, each as a vector that is
learned as well, and gives a probability to every character that could be the ninth. The loss, cross-entropy, is here in
bits: how many yes-or-no questions it still takes, on average, to learn which character it is.
"""

from __future__ import annotations

import math
import textwrap
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

from _common import BLUE, GREEN, GREY, ORANGE, PINK, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import chainrule as cr

Array = NDArray[Any]

CONTEXT = 8  # characters that the network sees
DIMENSION = 16  # numbers in the vector that stands for a character
HIDDEN = 256
BATCH_SIZE = 256
LEARNING_RATE = 0.003  # at the start; it goes down to 0
ADDED = 0.1  # to every count, so that nothing is impossible because it was not seen


# The text


class Text(NamedTuple):
    """Two texts with no paragraph in common, as the numbers of their characters in the vocabulary."""

    vocabulary: str
    learned: Array
    held_out: Array


def paragraphs() -> list[str]:
    """The prose, one line a paragraph, and each but once: topics repeat one another, and what is held out must be new."""
    blocks = [block for topic in sorted(topics) for block in topics[topic].split("\n\n")]
    lines = [" ".join(block.split()) for block in blocks]
    prose = [line for line in lines if line.isascii() and line[:1].isupper() and line.endswith(".")]
    return list(dict.fromkeys(prose))


def text() -> Text:
    """A tenth of the paragraphs, drawn at random, is held out."""
    lines = paragraphs()
    np.random.default_rng(0).shuffle(lines)
    tenth = len(lines) // 10
    held_out, learned = ("".join(line + "\n" for line in part) for part in (lines[:tenth], lines[tenth:]))
    vocabulary = "".join(sorted(set(held_out + learned)))
    return Text(vocabulary, encoded(learned, vocabulary), encoded(held_out, vocabulary))


def encoded(characters: str, vocabulary: str) -> Array:
    numbers = {character: number for number, character in enumerate(vocabulary)}
    return np.array([numbers[character] for character in characters], dtype=int)


def decoded(numbers: Any, vocabulary: str) -> str:
    return "".join(vocabulary[number] for number in numbers)


def windows(numbers: Array, length: int, vocabulary: str) -> Array:
    """(n, length + 1): every character, after the `length` before it; before the first are ends of paragraphs."""
    before = encoded("\n" * length, vocabulary)
    return sliding_window_view(np.concatenate([before, numbers]), length + 1)


# Baselines: counting


def counted_bits(texts: Text, n: int) -> float:
    """Bits per held-out character, guessed from how often it followed the n - 1 before it in the text to learn from."""
    size = len(texts.vocabulary)
    places = size ** np.arange(n - 1, -1, -1)  # each run of n characters as one number
    runs, new_runs = (windows(part, n - 1, texts.vocabulary) @ places for part in (texts.learned, texts.held_out))
    counts = np.bincount(runs, minlength=size**n).reshape(-1, size) + ADDED
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    return float(-np.log2(probabilities.ravel()[new_runs]).mean())


def baselines(texts: Text) -> dict[str, float]:
    return {
        "all alike": math.log2(len(texts.vocabulary)),
        "unigram: how frequent it is": counted_bits(texts, 1),
        "bigram: after 1 character": counted_bits(texts, 2),
        "trigram: after 2 characters": counted_bits(texts, 3),
    }


# The network


def network(size: int) -> cr.nn.Sequential:
    """Eight numbers to eight vectors, one after another; a hidden layer; a score for each character."""
    rng = np.random.default_rng(0)
    return cr.nn.Sequential(
        cr.nn.Embedding(size, DIMENSION, dtype=np.float32, rng=rng),
        cr.nn.Flatten(),
        cr.nn.Linear(CONTEXT * DIMENSION, HIDDEN, dtype=np.float32, rng=rng, init="he_uniform"),
        cr.nn.ReLU(),
        cr.nn.Linear(HIDDEN, size, dtype=np.float32, rng=rng),
    )


def bits(model: cr.nn.Sequential, numbers: Array, vocabulary: str) -> float:
    """Bits per character: cross-entropy with logarithms to the base of 2."""
    cut = windows(numbers, CONTEXT, vocabulary)
    return cr.nn.evaluate(model, cr.nn.cross_entropy, (cut[:, :-1], cut[:, -1])).loss / math.log(2)


def train(model: cr.nn.Sequential, texts: Text, steps: int) -> list[tuple[int, float]]:
    """The loop; returns bits per held-out character at some of its steps."""
    cut = windows(texts.learned, CONTEXT, texts.vocabulary)
    batches = cr.nn.Batches(cut[:, :-1], cut[:, -1], batch_size=BATCH_SIZE, rng=1)
    optimizer = cr.nn.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = cr.nn.CosineAnnealingLR(optimizer, steps)
    moments = {int(step) for step in np.linspace(0, 1, 41) ** 2 * steps}
    seen = [(0, bits(model, texts.held_out, texts.vocabulary))]
    for step, (contexts, following) in enumerate(islice(endless(batches), steps), start=1):
        loss = cr.nn.cross_entropy(model(contexts), following)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in moments:
            seen.append((step, bits(model, texts.held_out, texts.vocabulary)))
    return seen


def endless(batches: cr.nn.Batches) -> Any:
    """Epoch after epoch, each in a new order."""
    while True:
        yield from batches


def sample(model: cr.nn.Sequential, vocabulary: str, length: int) -> str:
    """Text that the model makes up, character by character, each drawn with the probability that the model gives it."""
    rng = np.random.default_rng(0)
    numbers = list(encoded("\n" * CONTEXT, vocabulary))
    with cr.no_grad():
        for _ in range(length):
            probabilities = cr.softmax(model([numbers[-CONTEXT:]]))[0].data.astype(float)
            numbers.append(rng.choice(len(vocabulary), p=probabilities / probabilities.sum()))
    return decoded(numbers[CONTEXT:], vocabulary)


# What is shown


def show(texts: Text, others: dict[str, float], model: cr.nn.Sequential, seen: list[tuple[int, float]]) -> None:
    (_, before), (steps, after) = seen[0], seen[-1]
    ours = {"the network before training": before, f"the network after {steps:,} steps": after}
    ours["  the same, on the text it learned from"] = bits(model, texts.learned, texts.vocabulary)
    print("bits per character, on text held out:\n")
    show_table(
        ("", "bits", "as good as a fair choice among"),
        ((name, f"{b:.3f}", f"{2**b:.1f}") for name, b in {**others, **ours}.items()),
    )


def quote(title: str, made_up: str) -> None:
    print(f"{title}\n")
    for paragraph in made_up.splitlines():
        for line in textwrap.wrap(paragraph, 100):
            print(f"  | {line}")
    print()


def draw(folder: Path, others: dict[str, float], seen: list[tuple[int, float]]) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.6))
    looks = zip((GREY, ORANGE, GREEN, PINK), ("-", "--", "-.", ":"), strict=True)
    steps, curve = zip(*seen, strict=True)
    for (name, level), (colour, line) in zip(others.items(), looks, strict=True):
        axes.axhline(level, color=colour, linestyle=line, linewidth=1.4)
        axes.annotate(f"{name} {level:.2f}", (steps[-1], level), (0, 3), textcoords="offset points", ha="right")
    axes.plot(steps, curve, color=BLUE, marker="o", markersize=3.5)
    axes.annotate(
        f"the network {curve[-1]:.2f}", (steps[-1], curve[-1]), (0, -14), textcoords="offset points", ha="right"
    )
    axes.set(xlabel="step", ylabel="bits per held-out character", ylim=(0, None), title="Which character comes next?")
    save(figure, folder, "next_character")


def main() -> None:
    options = parser(__doc__).parse_args()
    texts = text()
    model = network(len(texts.vocabulary))
    weights = sum(p.data.size for p in model.parameters())
    print(
        f"{len(texts.learned):,} characters to learn from, {len(texts.held_out):,} held out, "
        f"{len(texts.vocabulary)} different ones; a network of {weights:,} numbers\n"
    )
    others = baselines(texts)
    made_up = sample(model, texts.vocabulary, 200)
    seen = train(model, texts, steps=600 if options.quick else 6_000)
    show(texts, others, model, seen)
    quote("what the network makes up before training:", made_up)
    quote("and after:", sample(model, texts.vocabulary, 100 if options.quick else 600))
    draw(options.out, others, seen)


if __name__ == "__main__":
    main()
