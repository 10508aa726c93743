"""What users of the published code and of other tools type is answered with our name for it."""

from __future__ import annotations

import pytest

from tests.cli.conftest import blocks


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("fetch cocopretrain_R50.pth", "that file is called r50-step12 here: idolctl fetch r50-step12"),
        ("fetch YTVIS19_R50_502AP", "that file is called ytvis19-r50-b here: idolctl fetch ytvis19-r50-b"),
        ("fetch YTVIS21_SwinL_608AP.pth", "that file is called ytvis21-swinl here: idolctl fetch ytvis21-swinl"),
        ("predict a.mp4 --weights YTVIS21_SwinL_608AP", "YTVIS21_SwinL_608AP is called ytvis21-swinl here"),
        ("predict a.mp4 --weights zoo/YTVIS21_SwinL_608AP.pth", "is called ytvis21-swinl here"),
        ("plan ytvis2019", "did you mean 'ytvis19'?"),
        ("plan youtube-vis-2021", "did you mean 'ytvis21'?"),
        ("data check ytvis_2019_train", "did you mean 'ytvis19'?"),
        ("train ytvis19", "idolctl run --help"),
        ("demo a.mp4", "idolctl predict --help"),
        ("predict a.mp4 b.mp4 --weights x", "a pattern in quotes"),
        ("plan toy --set SOLVER.IMS_PER_BATCH=8", "it is called solver.batch_size here"),
        ("plan toy --set ADD_NEW_SCORE=.3", "it is called tracker.new_threshold here"),
        ("plan toy --set CLIP_STRIDE=2", "leave it out: never read"),
        ("plan toy --set DATASETS.TRAIN=x", "idolctl run --config-file FILE KEY VALUE takes such keys"),
        ("plan ytvis19 --steps 3 --set solver.batch_size=12", "--set solver.micro_batches=6, or"),
    ],
)
def test_names_of_the_published_code_and_of_other_tools_lead_to_ours(call, words, fix):
    code, _, err = call(*words.split())
    assert code in (2, 3), err
    assert fix in blocks(err)[0]["fix"]


def test_a_plan_names_published_initial_weights_that_are_not_there(call):
    code, out, _ = call(*["plan", "ytvis19", "--steps", "3", "--init", "zoo/cocopretrain_R50.pth"])
    assert code == 0
    assert "or --init r50-step12 (the published file of that name)" in out
