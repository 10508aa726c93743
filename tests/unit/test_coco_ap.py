"""AP of images: pycocotools' numbers, its traps avoided, nothing printed, nothing scored as zero in silence."""

import copy
import json

import pytest

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


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_perfect_results_score_one_and_change_nothing(kind, capsys, tmp_path):
    truth, found = content(), results()
    scores = evaluate_coco(truth, found, kind=kind)
    for name in ("AP", "AP50", "AP75", "APs", "AR1"):
        assert scores.stats[name] == pytest.approx(1)
    assert scores.per_category[4]["AP"] == pytest.approx(1)
    assert scores.per_category[9] == {"AP": -1, "AP50": -1, "AR100": -1}
    assert (truth, found) == (content(), results())
    assert capsys.readouterr().out == ""
    for name, value in (("gt.json", truth), ("results.json", found)):
        (tmp_path / name).write_text(json.dumps(value))
    assert evaluate_coco(tmp_path / "gt.json", tmp_path / "results.json", kind=kind) == scores


def test_fewer_and_no_results():
    assert evaluate_coco(content(), results()[:1]).stats["AP"] == pytest.approx(51 / 101)
    assert evaluate_coco(content(), []).stats["AP"] == 0


def test_what_files_of_ones_own_lack():
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
def test_never_a_silent_zero(change, said):
    found = copy.deepcopy(results())
    found[1] |= change
    with pytest.raises(Integrity, match=said):
        evaluate_coco(content(), found)


def test_without_ground_truth():
    with pytest.raises(Missing):
        evaluate_coco({**content(), "annotations": None}, results())
    with pytest.raises(Missing):
        evaluate_coco({k: v for k, v in content().items() if k != "annotations"}, results())
