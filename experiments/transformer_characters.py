"""Dates in everyday notation, translated character by character to ISO form: "thu, 7 march 2024" -> "2024-03-07".

    python -m experiments.transformer_characters [--model recurrent --context fixed] [--task reverse]

The Transformer of "Attention Is All You Need", small, next to the recurrent encoder-decoder with a fixed or an attended context. No day of
the test set occurs in training, in any form. ``--task reverse`` turns strings of letters around: there a fixed context is too small.
Expected: exact strings (top1) after 5 epochs: dates 100 % (seeds 0, 1, 2; 2,000 held-out days), recurrent attended 100, 100 %, fixed 43.6,
26.5 % (seeds 0, 1); reversed strings, seed 0: 100 %, recurrent attended 99.7 %, fixed 14.0 %. 63 s of training (recurrent 21 to 47 s) on 2
CPU cores shared with other work, jax 0.10.2.
"""

import datetime
from typing import Any, Literal

import flax.linen as nn
import numpy as np

import jaxvision as jv
from jaxvision.layers import END, PADDING
from jaxvision.models.recurrent import Recurrent
from jaxvision.models.transformer import Transformer

ALPHABET = " ,./-0123456789abcdefghijklmnopqrstuvwxyz"
VOCABULARY = 3 + len(ALPHABET)  # padding, start and end come first
MONTHS = "january february march april may june july august september october november december".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()


def tokens(texts: list[str]) -> np.ndarray:
    """Strings as rows [N, M] of token numbers: characters, end, padding."""
    rows = np.full((len(texts), 1 + max(map(len, texts))), PADDING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text) + 1] = [*(3 + ALPHABET.index(letter) for letter in text), END]
    return rows


class Pairs:
    """Pairs of strings as a data source: ``source`` [N] and ``target`` [M], the target being the label."""

    classes = ["padding", "start", "end", *ALPHABET]

    def __init__(self, source: np.ndarray, target: np.ndarray):
        self.source, self.labels = source, target

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict:
        return {"source": self.source[i], "target": self.labels[i]}

    take = __getitem__


def written(day: datetime.date, generator: np.random.Generator) -> str:
    """A day in one of several everyday notations."""
    month, weekday = MONTHS[day.month - 1], DAYS[day.weekday()]
    forms = (
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{weekday[:3]}, {day.day} {month} {day.year}",
        f"{weekday} {day.day} {month[:3]} {day.year}",
        f"{month[:3]} {day.day} {day.year}",
        f"{day.day}.{day.month}.{day.year}",
        f"{day.month:02}/{day.day:02}/{day.year % 100:02}",
    )
    return forms[generator.integers(len(forms))]


def dates(count: int, held_out: int, generator: np.random.Generator) -> tuple[list, list]:
    """(text, ISO form) of random days from 1950 to 2049: ``count`` pairs for training and ``held_out`` pairs of other days."""
    days = [datetime.date(1950, 1, 1) + datetime.timedelta(int(number)) for number in generator.permutation(36_525)]
    train, test = days[held_out:], days[:held_out]
    many = [train[index] for index in generator.integers(len(train), size=count)]
    pairs = [[(written(day, generator), day.isoformat()) for day in part] for part in (many, test)]
    return pairs[0], pairs[1]


def reversals(count: int, held_out: int, generator: np.random.Generator) -> tuple[list, list]:
    """(text, reversed text) of 1 to 16 letters; test strings that occur in training are left out."""
    letters = np.array(list(ALPHABET[-26:]))
    texts = ["".join(generator.choice(letters, size=generator.integers(1, 17))) for _ in range(count + held_out)]
    train = set(texts[:count])
    return [(text, text[::-1]) for text in texts[:count]], [(text, text[::-1]) for text in texts[count:] if text not in train]


def sources(task: str, count: int, held_out: int) -> tuple[Pairs, Pairs]:
    """The pairs for training and those for evaluation, the same at every call."""
    train, test = {"dates": dates, "reverse": reversals}[task](count, held_out, np.random.default_rng(0))
    source, target = (tokens([pair[side] for pair in [*train, *test]]) for side in (0, 1))
    first = len(train)
    return Pairs(source[:first], target[:first]), Pairs(source[first:], target[first:])


def exact_strings(infer, source) -> dict[str, float]:
    """``top1``, the share of strings without a mistake, and ``characters``, that of correct characters up to the end; greedy decoding."""
    strings, characters = [], []
    for written, batch in infer(source, "translate"):
        target = batch["target"]
        counts, right = target != PADDING, written[:, : target.shape[1]] == target
        strings.append(np.all(right | ~counts, axis=1))
        characters.append(right[counts])
    return {"top1": float(np.concatenate(strings).mean()), "characters": float(np.concatenate(characters).mean())}


def config(
    *,
    model: Literal["transformer", "recurrent"] = "transformer",
    context: Literal["attended", "fixed"] = "attended",
    task: Literal["dates", "reverse"] = "dates",
    width: int = 64,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn to rewrite strings, character by character.

    Args:
        model: The Transformer, or the recurrent encoder-decoder.
        context: Context of the recurrent decoder: all encoder states, weighted by attention, or only the last ones.
        task: Dates into ISO form, or strings of letters turned around.
        width: Features of a token.
        epochs: Passes over the training pairs.
        batch_size: Pairs per update.
        learning_rate: Adam's peak rate.
        seed: Decides initialization and order; the pairs are always the same.
        smoke: A few steps only, to see that everything works.
    """
    train, test = sources(task, 64 if smoke else 20_000, 32 if smoke else 2_000)
    width, epochs, batch_size = (16, 2, 16) if smoke else (width, epochs, batch_size)
    length = test.labels.shape[1]
    if model == "transformer":
        shape: dict[str, Any] = {"width": width, "heads": 4, "hidden": 4 * width, "depths": (2, 2), "drop_rate": 0.0}
        network: nn.Module = Transformer(VOCABULARY, VOCABULARY, max_length=length, **shape)
    else:
        network = Recurrent(VOCABULARY, VOCABULARY, width, context=context, max_length=length)
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    return jv.train.Experiment(
        network,
        jv.objectives.translation(network),
        jv.train.adam(jv.train.warmup_cosine(learning_rate, steps, warmup=steps // 10), clip_norm=1.0),
        train,
        test=test,
        epochs=epochs,
        batch_size=batch_size,
        reads=("source",),
        evaluate=exact_strings,
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, *, model: str, task: str, **_) -> jv.train.RunOptions:
    """The title names model and task."""
    hint = "the contrast: --model recurrent --context fixed --task reverse, then --context attended"
    return jv.train.RunOptions(title=f"{model} on {task}", hint=hint)


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
