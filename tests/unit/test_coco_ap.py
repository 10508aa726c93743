"""AP of images: pycocotools' numbers, its traps avoided, nothing printed, nothing scored as zero in silence."""

import copy
import json

import numpy as np
import pytest

from idol_core.data.annotations import rle
from idol_core.errors import Integrity, Missing
from idol_core.evaluation.coco_ap import evaluate_coco
from tests.unit.vis_sets import HEIGHT, WIDTH, box

SHAPES = [box(2, 2, 10, 10), box(14, 4, 8, 8)]


def content():
    return {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in (3, 5)],
        "categories": [{"id": 4, "name": "a"}, {"id": 9, "name": "b"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": 4, "segmentation": shape, "area": 80, "bbox": bbox}
            for number, image, shape, bbox in ((0, 3, SHAPES[0], [2, 2, 10, 10]), (1, 5, SHAPES[1], [14, 4, 8, 8]))
        ],
    }


def results():
    return [
        {"image_id": 3, "category_id": 4, "score": 0.9, "segmentation": SHAPES[0], "bbox": [2, 2, 10, 10]},
        {"image_id": 5, "category_id": 4, "score": 0.8, "segmentation": SHAPES[1], "bbox": [14, 4, 8, 8]},
    ]


def test_perfect_results_score_one_and_change_nothing(capsys, tmp_path):
    truth, found = content(), results()
    scores = evaluate_coco(truth, found)
    for name in ("AP", "AP50", "AP75", "APs", "AR1"):
        assert scores.stats[name] == pytest.approx(1)
    assert scores.per_category[4]["AP"] == pytest.approx(1)
    assert scores.per_category[9] == {"AP": -1, "AP50": -1, "AR100": -1}
    assert (truth, found) == (content(), results())
    assert capsys.readouterr().out == ""
    for name, value in (("gt.json", truth), ("results.json", found)):
        (tmp_path / name).write_text(json.dumps(value))
    assert evaluate_coco(tmp_path / "gt.json", tmp_path / "results.json") == scores


def test_missing_results_lower_the_score():
    assert evaluate_coco(content(), results()[:1]).stats["AP"] == pytest.approx(51 / 101)
    assert evaluate_coco(content(), []).stats["AP"] == 0


def test_annotations_without_area_or_mask_are_scored():
    truth = content()
    for entry in truth["annotations"]:
        del entry["area"]
    truth["annotations"].append({"id": 7, "image_id": 3, "category_id": 9, "segmentation": [], "bbox": [0, 0, 5, 5]})
    scores = evaluate_coco(truth, results())
    assert scores.stats["AP"] == scores.stats["APs"] == pytest.approx(1)
    assert scores.per_category[9]["AP"] == -1  # a box without a mask


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 4}, "unknown images: 1 .*image_id 4"),
        ({"category_id": 5}, "unknown categories: 1 .*category_id 5"),
        ({"score": float("nan")}, "finite"),
        ({"segmentation": box(0, 0, 2, 2, size=(9, 9))}, r"malformed masks: 1 .*\[9, 9\]"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "11"}}, "malformed masks"),
    ],
)
def test_results_that_do_not_fit_are_refused_and_never_scored_as_zero(change, said):
    found = copy.deepcopy(results())
    found[1] |= change
    with pytest.raises(Integrity, match=said):
        evaluate_coco(content(), found)


def test_without_ground_truth():
    with pytest.raises(Missing):
        evaluate_coco({**content(), "annotations": None}, results())
    with pytest.raises(Missing):
        evaluate_coco({k: v for k, v in content().items() if k != "annotations"}, results())


def rod():
    """A thin diagonal: 304 pixels (small), its box of 3844 (medium)."""
    mask = np.zeros((200, 200), bool)
    for i in range(60):
        mask[20 + i : 23 + i, 20 + i : 23 + i] = True
    return mask


def test_sizes_are_those_of_masks_whatever_box_stands_beside_them():
    shape = rle.to_json(rle.encode(rod()))
    truth = {
        "images": [{"id": i, "height": 200, "width": 200} for i in (1, 2)],
        "categories": [{"id": 1, "name": "rod"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": shape, "area": int(rod().sum())}],
    }
    found = [
        {"image_id": i, "category_id": 1, "score": s, "segmentation": shape, "bbox": [20, 20, 62, 62]}
        for i, s in ((1, 0.8), (2, 0.9))
    ]
    scores = evaluate_coco(truth, found)
    assert scores.stats["APs"] == scores.stats["AP"] == pytest.approx(0.5)
    assert scores.stats["APm"] == -1


@pytest.mark.parametrize("area", [None, "80", 0, float("nan"), [80]])
def test_an_unusable_area_is_computed_from_the_mask(area):
    truth = content()
    truth["annotations"][0]["area"] = area
    assert evaluate_coco(truth, results()) == evaluate_coco(content(), results())


def test_ids_as_text_are_the_same_ids():
    truth, found = content(), results()
    for entry in (*truth["annotations"], *found):
        entry |= {"image_id": str(entry["image_id"]), "category_id": str(entry["category_id"])}
    assert evaluate_coco(truth, found) == evaluate_coco(content(), results())


def test_malformed_truth_is_refused_with_its_id():
    for change in ({"segmentation": box(0, 0, 2, 2, size=(9, 9))}, {"category_id": 5}, {"image_id": 4}, {"iscrowd": 7}):
        truth = content()
        truth["annotations"][1] |= change
        with pytest.raises(Integrity) as caught:
            evaluate_coco(truth, results())
        assert caught.value.where.endswith("annotations, id 1")


def test_twenty_thousand_categories_take_little_memory():
    import tracemalloc

    truth = content()
    truth["categories"] += [{"id": n, "name": "more"} for n in range(10, 20_010)]
    tracemalloc.start()
    scores = evaluate_coco(truth, results())
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    assert len(scores.per_category) == 20_002
    assert scores.stats["AP"] == pytest.approx(1)


def test_many_annotated_categories_score_as_few_do(monkeypatch):
    truth, found = content(), results()
    for side in (truth["annotations"], found):
        side[1]["category_id"] = 9
    whole = evaluate_coco(truth, found[:1])
    monkeypatch.setattr("idol_core.evaluation.coco_ap._TOGETHER", 1)
    assert evaluate_coco(truth, found[:1]) == whole
    assert whole.stats["AP"] == pytest.approx(0.5)
