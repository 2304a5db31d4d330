"""Blind solvers: what can be answered without understanding the picture.

Each is fitted on training samples of one family and answers test samples of it. Answers are first
*templated*: a word of the answer that stands in the question becomes its place there, so that a
solver which guesses "the first thing that the question names" is not missed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from ekipl_lab.types import Sample

#: (training samples, test samples) -> for every test sample its credit in [0, 1].
Solver = Callable[[Sequence[Sample], Sequence[Sample]], npt.NDArray[np.float64]]
_WORD = re.compile(r"[A-Za-z_]+|\d+|[^\sA-Za-z_\d]")
_SIDE = 28


def tokens(text: str) -> list[str]:
    """Words, whole numbers and single signs, in order."""
    return _WORD.findall(text)


def template(sample: Sample) -> str:
    """The answer with words of the question replaced by their place there: ``@1 3 2``."""
    places: dict[str, int] = {}
    for place, word in enumerate(tokens(sample.question)):
        places.setdefault(word.removesuffix("s"), place)
    words = [
        f"@{places[word]}" if word.isalpha() and word in places else word
        for word in tokens(sample.answer)
    ]
    return " ".join(words)


def _hits(guesses: Sequence[str], test: Sequence[Sample]) -> npt.NDArray[np.float64]:
    pairs = zip(guesses, test, strict=True)
    return np.array([float(guess == template(sample)) for guess, sample in pairs])


def constant(train: Sequence[Sample], test: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """Always the most frequent training answer."""
    best = Counter(map(template, train)).most_common(1)[0][0]
    return _hits([best] * len(test), test)


def prior(train: Sequence[Sample], test: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """A draw from the training answers: the expected credit is the answer's training share."""
    counts = Counter(map(template, train))
    return np.array([counts[template(sample)] / len(train) for sample in test])


def question_words(train: Sequence[Sample], test: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """Naive Bayes on the words and word pairs of the question (Laplace 0.5)."""
    answers = [template(sample) for sample in train]
    classes = sorted(set(answers))

    def words_and_pairs(sample: Sample) -> set[str]:
        words = tokens(sample.question)
        return {*words, *(f"{one} {two}" for one, two in pairwise(words))}

    known, asked = _presence(train, test, words_and_pairs)
    member = np.zeros((len(classes), len(train)), dtype=np.float32)
    member[[classes.index(answer) for answer in answers], np.arange(len(train))] = 1.0
    sizes = member.sum(axis=1)
    rate = (member @ known + 0.5) / (sizes[:, None] + 1.0)
    absent = np.log1p(-rate).sum(axis=1) + np.log(sizes)
    scores = absent[None, :] + asked @ (np.log(rate) - np.log1p(-rate)).T
    return _hits([classes[place] for place in scores.argmax(axis=1)], test)


def question_nearest(train: Sequence[Sample], test: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """The most frequent answer among the training questions that share most words in place."""
    by_text: dict[str, list[str]] = defaultdict(list)
    first: dict[str, Sample] = {}
    for sample in train:
        by_text[sample.question].append(template(sample))
        first.setdefault(sample.question, sample)

    def words_in_place(sample: Sample) -> set[str]:
        return {f"{place} {word}" for place, word in enumerate(tokens(sample.question))}

    known, asked = _presence(list(first.values()), test, words_in_place)
    shared = asked @ known.T
    union = known.sum(axis=1)[None, :] + asked.sum(axis=1)[:, None] - shared
    likest = [list(first)[place] for place in (shared / np.maximum(union, 1)).argmax(axis=1)]
    return _hits([Counter(by_text[text]).most_common(1)[0][0] for text in likest], test)


def _presence(
    train: Sequence[Sample], test: Sequence[Sample], features: Callable[[Sample], set[str]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """0/1 matrices (train, F) and (test, F) over the features of the training samples."""
    found = [features(sample) for sample in train]
    columns = {name: place for place, name in enumerate(sorted(set().union(*found)))}

    def matrix(rows: Sequence[set[str]]) -> npt.NDArray[np.float32]:
        present = np.zeros((len(rows), len(columns)), dtype=np.float32)
        for row, names in enumerate(rows):
            present[row, [columns[name] for name in names if name in columns]] = 1.0
        return present

    return matrix(found), matrix([features(sample) for sample in test])


def nearest_pictures(
    train: Sequence[Sample],
    test: Sequence[Sample],
    *,
    grey: bool = False,
    same_question: bool = False,
) -> npt.NDArray[np.float64]:
    """The answer of the training sample whose pictures are nearest (28 x 28 RGB, Euclidean).

    ``grey``: on grey pictures without their brightness and contrast. ``same_question``: among
    training samples with the same question, if there are any.
    """
    known, asked = (
        np.stack([_vector(sample, grey) for sample in group]) for group in (train, test)
    )
    # Squared distances, shape (test, train), up to a constant per row.
    distances = np.asarray((known * known).sum(axis=1)[None, :] - 2.0 * (asked @ known.T))
    if same_question:
        texts = np.array([sample.question for sample in train])
        for row, sample in enumerate(test):
            same = texts == sample.question
            if same.any():
                distances[row, ~same] = np.inf
    return _hits([template(train[place]) for place in distances.argmin(axis=1)], test)


def _vector(sample: Sample, grey: bool) -> npt.NDArray[np.float32]:
    """All pictures; ``grey``: each one's values less their median, over their deviation."""
    small = [
        np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32).ravel()
        for image in sample.images
    ]
    pixels = np.concatenate(small) / np.float32(255.0)
    if not grey:
        return pixels
    values = pixels.reshape(len(sample.images), -1, 3).mean(axis=2)
    level = values - np.median(values, axis=1, keepdims=True)
    return np.asarray(level / (values.std(axis=1, keepdims=True) + 1e-6)).ravel()


SOLVERS: dict[str, Solver] = {
    "constant": constant,
    "prior": prior,
    "question_words": question_words,
    "question_nearest": question_nearest,
    "pixels": nearest_pictures,
    "outlines": partial(nearest_pictures, grey=True),
    "pixels_same_question": partial(nearest_pictures, same_question=True),
}
