"""Match the classes of weights and data sets by name.

Weights and data sets may number the same classes differently, so indices and ids are never compared.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from idol_core.errors import InvalidInput

_SHOWN = 8


def numbered(count: int) -> tuple[str, ...]:
    """Names for `count` classes without names: their indices as text."""
    return tuple(map(str, range(count)))


def labels(names: Mapping[int, str]) -> dict[int, str]:
    """Display name of each class, by id: its name, followed by its id if several classes share the name."""
    often = Counter(names.values())
    called = {number: name if often[name] == 1 else f"{name} (id {number})" for number, name in names.items()}
    if len(set(called.values())) < len(called):  # a name looks like another's label
        called = {number: f"{name} (id {number})" for number, name in names.items()}
    return called


def parse_same(pairs: Sequence[str]) -> dict[str, str]:
    """`["person=human"]` -> {"person": "human"}: class name in the weights -> class name in the data set.

    Raises InvalidInput for a text that is not a pair, and for a name mapped to two different names.
    """
    same: dict[str, str] = {}
    for pair in pairs:
        name, equals, other = (part.strip() for part in pair.partition("="))
        if not (name and equals and other) or same.get(name, other) != other:
            what = f"'{name}' is mapped to two classes" if name in same else f"'{pair}' is not a pair of class names"
            raise InvalidInput(what, where="classes map", fix="write NAME_OF_THE_WEIGHTS=NAME_OF_THE_DATA_SET")
        same[name] = other
    return same


def parse_chosen(classes: Sequence[str]) -> dict[str, str]:
    """`["cat", "skis=snowboard"]` -> {"cat": "cat", "skis": "snowboard"}: class name in one set -> in another.

    Raises InvalidInput as `parse_same`.
    """
    return parse_same([text if "=" in text else f"{text}={text}" for text in classes])


def choose_classes(
    known: Sequence[str], wanted: Sequence[str], *, chosen: Mapping[str, str], where: str
) -> dict[int, int]:
    """Index in `wanted` of those classes of `known` that `chosen` maps to a class of `wanted`, by their index.

    An empty `chosen` maps every class of `known` to the one of the same name, if there is one.

    Raises:
        InvalidInput: a name of `chosen` is not there, several classes share a name that is used, or no class is left.
    """
    ours = {_text(name): place for place, name in enumerate(known)}
    theirs = {_text(name): place for place, name in enumerate(wanted)}
    pairs = {_text(a): _text(b) for a, b in chosen.items()} or {name: name for name in ours if name in theirs}
    sides = ((pairs.keys(), known, "the mixed images"), (pairs.values(), wanted, "the training set"))
    for names, there, side in sides:
        often = Counter(map(_text, there))
        if absent := [name for name in names if name not in often]:
            what = f"no class of {side} is called {_listed(absent)}"
            raise InvalidInput(what, where=where, fix=f"the classes there: {_listed(list(often))}")
        _refuse_shared([name for name in names if often[name] > 1], side, where)
    if not pairs:
        what = f"the mixed images have no class of the training set; they have {_listed(known)}"
        raise InvalidInput(what, where=where, fix=f"--set data.mix.classes=[{known[0]}={wanted[0]}]")
    return {ours[a]: theirs[b] for a, b in pairs.items()}


def match_classes(
    known: Sequence[str],
    wanted: Sequence[str],
    *,
    where: str,
    sides: tuple[str, str] = ("the weights", "the data set"),
    same: Mapping[str, str] | None = None,
    fix: str = "--classes-map {pairs}",
) -> tuple[int, ...]:
    """Index in `wanted` of each class of `known` (both are names by index): a permutation.

    Names are compared after Unicode normalization (NFC), ignoring surrounding spaces; case matters.

    Args:
        where: `where:` line of an error, such as the annotation file.
        sides: what an error calls `known` and `wanted`.
        same: names in `known` -> names of the same classes in `wanted`, for those that differ.
        fix: the option that an error suggests for giving such pairs; `{pairs}` is replaced by an example.

    Raises:
        InvalidInput: naming the classes that only one side has, or the names that several classes share.
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
        often = Counter(texts)
        _refuse_shared([name for name, text in zip(names, texts, strict=True) if often[text] > 1], side, where)
    return tuple(places[text] for text in ours)


class Kept(NamedTuple):
    """Which rows of class heads are kept for other classes: `rows[i]` is the row of class i, None where it is new."""

    rows: tuple[int | None, ...]
    note: str  # one line: the classes that are kept and those that are new


def kept_classes(known: Sequence[str], wanted: Sequence[str], *, same: Mapping[str, str] | None = None) -> Kept:
    """Find each class of `wanted` among `known` (names by index) by name, as `match_classes` compares names.

    A name that several classes of one side share finds nothing, unless both sides are equal throughout. `same`: names
    in `known` -> names of the same classes in `wanted`.
    """
    if tuple(known) == tuple(wanted) and not same:
        return Kept(tuple(range(len(wanted))), "")
    there = set(map(_text, wanted))
    renamed = {_text(name): _text(other) for name, other in (same or {}).items() if _text(other) in there}
    ours, theirs = [renamed.get(name, name) for name in map(_text, known)], list(map(_text, wanted))
    often, places = Counter(ours) + Counter(set(theirs)), {name: row for row, name in enumerate(ours)}
    single = Counter(theirs)
    rows = tuple(places.get(name) if often[name] == 2 and single[name] == 1 else None for name in theirs)
    kept = [name for name, row in zip(wanted, rows, strict=True) if row is not None]
    new = [name for name, row in zip(wanted, rows, strict=True) if row is None]
    if not new:
        order = "class heads put in the training set's order of classes" if rows != tuple(range(len(rows))) else ""
        fewer = f"class heads kept by name for all {len(rows)} classes, of {len(known)} in the weights"
        return Kept(rows, order if len(known) == len(rows) else fewer)
    note = f"class heads kept by name: {_listed(kept)}; new: " if kept else "class heads start new for all classes: "
    unused = {name.casefold(): name for place, name in enumerate(known) if place not in rows}
    alike = [f"{unused[_text(n).casefold()]}={n}" for n in new if _text(n).casefold() in unused]
    hint = f" (--set {shlex.quote('data.classes_map=[' + ','.join(alike) + ']')} keeps those)" if alike else ""
    return Kept(rows, f"{note}{_listed(new)}{hint}")


def _refuse_shared(names: Sequence[str], side: str, where: str) -> None:
    if names:
        what = f"several classes of {side} have the same name, so they can't be told apart: {_listed(names)}"
        raise InvalidInput(what, where=where, fix="give each class a name of its own in the annotation file")


def check_same_classes(first: Sequence[str], second: Sequence[str], *, sides: tuple[str, str], where: str) -> None:
    """Raise InvalidInput, naming the differing classes, unless both have the same classes in any order."""
    if sorted(map(_text, first)) != sorted(map(_text, second)):
        match_classes(first, second, where=where, sides=sides, fix="compare runs or weights with the same classes")


def _text(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name[:60]}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _how(only: Sequence[str], lacking: Sequence[str], fix: str) -> str:
    """The suggested fix, quoted for a shell: pairs of names that differ only in case, else an example of a pair."""
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
