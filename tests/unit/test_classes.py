"""Classes go by name: which class of a data set is which class of the weights, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from idol_core.classes import check_same_classes, labels, match_classes, parse_same
from idol_core.errors import InvalidInput
from tests.unit.data_sets import small_videos


def test_the_same_names_in_another_order_are_mapped():
    assert match_classes(["cat", "dog", "owl"], ["owl", "cat", "dog"], where="set.json") == (1, 2, 0)
    assert match_classes(["cat"], ["cat"], where="set.json") == (0,)


def test_one_name_in_two_unicode_forms_is_one_name():
    assert match_classes(["caf\u00e9", "b"], ["b", "cafe\u0301"], where="") == (1, 0)


def test_other_names_are_refused_with_those_that_differ():
    with pytest.raises(InvalidInput) as caught:
        match_classes(["cat", "dog", "owl"], ["owl", "horse", "cat"], where="set.json")
    assert "only in the weights: 'dog'; only in the data set: 'horse'" in caught.value.what
    assert caught.value.where == "set.json"
    assert "--classes-map dog=horse if these are the same" in caught.value.fix


@pytest.mark.parametrize("wanted", [["cat"], ["cat", "dog", "owl"]])
def test_some_of_the_classes_or_more_of_them_are_not_the_same_classes(wanted):
    with pytest.raises(InvalidInput, match="different classes"):
        match_classes(["cat", "dog"], wanted, where="set.json")


def test_names_that_differ_in_case_are_refused_and_the_fix_pairs_them():
    with pytest.raises(InvalidInput) as caught:
        match_classes(["Person", "Cat"], ["cat", "person"], where="set.json")
    assert caught.value.fix == "--classes-map Person=person,Cat=cat"
    same = parse_same(["Person=person", "Cat=cat"])
    assert match_classes(["Person", "Cat"], ["cat", "person"], where="", same=same) == (1, 0)


def test_pairs_may_swap_names_and_may_chain():
    assert match_classes(["left", "right"], ["left", "right"], where="", same={"left": "right", "right": "left"}) == (
        1,
        0,
    )
    assert match_classes(["bird", "plane"], ["plane", "jet"], where="", same={"bird": "plane", "plane": "jet"}) == (
        0,
        1,
    )


def test_two_classes_of_one_name_keep_their_places_or_are_refused():
    assert match_classes(["a", "a", "b"], ["a", "a", "b"], where="") == (0, 1, 2)
    with pytest.raises(InvalidInput, match=r"several classes of the weights have the same name.*'a', 'a'"):
        match_classes(["a", "a", "b"], ["a", "b", "a"], where="")
    with pytest.raises(InvalidInput, match="several classes"):
        match_classes(["person", "man"], ["man"], where="", same={"person": "man"})


def test_malformed_pairs_are_refused():
    for text in ("person", "=human", "person="):
        with pytest.raises(InvalidInput, match="not a pair"):
            parse_same([text])
    with pytest.raises(InvalidInput, match="'a' is mapped to two classes"):
        parse_same(["a=b", "a=c"])


def test_comparing_class_lists_ignores_their_order():
    check_same_classes(["a", "b"], ["b", "a"], sides=("one", "two"), where="")
    with pytest.raises(InvalidInput, match="only in one: 'b'; only in two: 'c'"):
        check_same_classes(["a", "b"], ["c", "a"], sides=("one", "two"), where="")


def test_classes_of_one_name_have_a_line_each():
    assert labels({1: "cat", 2: "cat", 3: "dog"}) == {1: "cat (id 1)", 2: "cat (id 2)", 3: "dog"}


def test_a_set_in_another_order_of_classes_has_the_same_tracks_under_the_same_ids(tmp_path):
    usual = small_videos(tmp_path)
    turned = usual.reordered([1, 0])
    assert (turned.category_ids, turned.category_names) == (usual.category_ids[::-1], usual.category_names[::-1])

    def described(dataset):
        return [(t.id, dataset.category_ids[t.category]) for row in range(3) for t in dataset.tracks(row)]

    assert described(turned) == described(usual)
    assert not np.array_equal(turned.index.track_categories, usual.index.track_categories)
    assert usual.reordered([0, 1]) is usual
