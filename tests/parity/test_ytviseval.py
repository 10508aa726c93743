"""Video AP against the numbers of the official evaluation."""

import json

import pytest
import torch

from idol_core.evaluation.video_ap import evaluate_vis
from tests.parity import kit
from tests.parity.tolerances import AVERAGE_PRECISION

PAIRS = sorted(p.name.removesuffix("_expected.json") for p in kit.DATA.glob("ytviseval/*_expected.json"))
OURS = {"APsmall": "APs", "APmedium": "APm", "APlarge": "APl", "ARsmall": "ARs", "ARmedium": "ARm", "ARlarge": "ARl"}


def test_the_kit_has_pairs():
    assert PAIRS


@pytest.mark.parametrize("pair", PAIRS)
def test_every_official_number(pair, tmp_path):
    expected = kit.document(f"ytviseval/{pair}_expected")
    truth, results = (kit.DATA / "ytviseval" / f"{pair}_{kind}.json" for kind in ("gt", "results"))
    scores = evaluate_vis(truth, results)
    for name, value in zip(expected["stats_names"], expected["stats"], strict=True):
        check(scores.stats[OURS.get(name, name)], value, name)
    for row in expected["per_category"]:
        found = scores.per_category[row["category_id"]]
        for name in ("AP", "AP50", "AR100"):
            check(found[name], row[name], f"{name} of category {row['category_id']}")
    assert evaluate_vis(json.loads(truth.read_text()), json.loads(results.read_text())) == scores


def check(ours, recorded, name):
    AVERAGE_PRECISION.check(torch.tensor(ours, dtype=torch.float64), recorded, name)
