"""TF32 is one setting of all threads: contexts restore it whatever the order in which they are left."""

import pytest
import torch

from idol_core.ops.precision import tf32


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("first_left", [0, 1])
def test_overlapping_contexts_forbid_tf32_until_the_last_is_left(first_left):
    before = allowed()
    contexts = [tf32(allowed=False), tf32(allowed=False)]
    for context in contexts:
        context.__enter__()
    contexts.pop(first_left).__exit__(None, None, None)
    assert allowed() == (False, False)
    contexts.pop().__exit__(None, None, None)
    assert allowed() == before


def test_an_inner_context_gives_the_outer_one_its_setting_back():
    with tf32(allowed=True):
        with tf32(allowed=False):
            assert allowed() == (False, False)
        assert allowed() == (True, True)
