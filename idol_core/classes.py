"""Classes go by their names: which class of a data set is which class of the weights.

Weights and data sets number the same classes in orders of their own, so indices and ids are never compared.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from idol_core.errors import InvalidInput

_SHOWN = 8


def numbered(count: int) -> tuple[str, ...]:
    """What classes are called that have no names: their indices."""
    return tuple(map(str, range(count)))


def labels(names: Mapping[int, str]) -> dict[int, str]:
    """What tables call each class, by id: its name, with the id where several have that name."""
    often = Counter(names.values())
    called = {number: name if often[name] == 1 else f"{name} (id {number})" for number, name in names.items()}
    if len(set(called.values())) < len(called):  # a name looks like another's label
        called = {number: f"{name} (id {number})" for number, name in names.items()}
    return called


def parse_same(pairs: Sequence[str]) -> dict[str, str]:
    """`["person=human"]` -> {"person": "human"}: names of the weights' classes and those that the data set gives them.

    Raises InvalidInput for a text that is no pair, and for a name that stands for two.
    """
    same: dict[str, str] = {}
    for pair in pairs:
        name, equals, other = (part.strip() for part in pair.partition("="))
        if not (name and equals and other) or same.get(name, other) != other:
            what = f"'{name}' stands for two classes" if name in same else f"'{pair}' is no pair of class names"
            raise InvalidInput(what, where="classes map", fix="write NAME_OF_THE_WEIGHTS=NAME_OF_THE_DATA_SET")
        same[name] = other
    return same


def match_classes(
    known: Sequence[str],
    wanted: Sequence[str],
    *,
    where: str,
    sides: tuple[str, str] = ("the weights", "the data set"),
    same: Mapping[str, str] | None = None,
    fix: str = "--classes-map {pairs}",
) -> tuple[int, ...]:
    """For each class of `known` (names by index), its place in `wanted`: a permutation.

    Names are equal that are the same text, in whichever Unicode form; upper and lower case differ.

    Args:
        where: what an error is about, such as the annotation file.
        sides: what an error calls the two.
        same: names in `known` -> those that stand for them in `wanted`.
        fix: how to say which stand for which; `{pairs}` is replaced by an example.

    Raises:
        InvalidInput: naming what only one of them has, or names that several classes have.
    """
    if tuple(known) == tuple(wanted) and not same:
        return tuple(range(len(wanted)))
    there = set(map(_text, wanted))
    renamed = {_text(name): _text(other) for name, other in (same or {}).items() if _text(other) in there}
    ours, theirs = [renamed.get(name, name) for name in map(_text, known)], [_text(name) for name in wanted]
    places = {name: place for place, name in enumerate(theirs)}
    counts = Counter(ours)
    only = [name for name, text in zip(known, ours, strict=True) if text not in places]
    lacking = [name for name, text in zip(wanted, theirs, strict=True) if text not in counts]
    if only or lacking:
        parts = [
            f"only in {side}: {_listed(names)}" for side, names in zip(sides, (only, lacking), strict=True) if names
        ]
        what = f"{sides[0]} and {sides[1]} have different classes; {'; '.join(parts)}"
        raise InvalidInput(what, where=where, fix=_how(only, lacking, fix))
    for names, texts, side in ((known, ours, sides[0]), (wanted, theirs, sides[1])):
        if len(set(texts)) < len(texts):
            often = Counter(texts)
            twice = [name for name, text in zip(names, texts, strict=True) if often[text] > 1]
            what = f"several classes of {side} have one name, so they can't be told apart: {_listed(twice)}"
            raise InvalidInput(what, where=where, fix="give each class a name of its own in the annotation file")
    return tuple(places[text] for text in ours)


def check_same_classes(first: Sequence[str], second: Sequence[str], *, sides: tuple[str, str], where: str) -> None:
    """Raise InvalidInput, naming those that differ, unless both have the same classes, in whichever order."""
    if sorted(map(_text, first)) != sorted(map(_text, second)):
        match_classes(first, second, where=where, sides=sides, fix="compare what has the same classes")


def _text(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name[:60]}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _how(only: Sequence[str], lacking: Sequence[str], fix: str) -> str:
    """The fix, quoted for a shell, with names that differ in case only (else the first ones) as an example of pairs."""
    if "{pairs}" not in fix:
        return fix
    if len(only) != len(lacking):
        return "choose a data set with the classes of the weights, or weights of its classes"
    option, _, argument = fix.partition(" ")
    by_case = {name.casefold(): name for name in lacking}
    alike = [f"{name}={by_case[name.casefold()]}" for name in only if name.casefold() in by_case]
    if len(alike) == len(only):
        return f"{option} {shlex.quote(argument.replace('{pairs}', ','.join(alike)))}"
    example = shlex.quote(argument.replace("{pairs}", f"{only[0]}={lacking[0]}"))
    many = " (and so on, with commas)" * (len(only) > 1)
    return f"{option} {example}{many} if these are the same, else other weights or another data set"
