"""Still-image inference: from synthetic outputs exactly, and through the whole network with the kit's weights."""

import numpy as np
import pytest
import torch

from idol_core.inference.images import finish_pairs, select_pairs, still_instances
from idol_core.structures import Decoded
from idol_core.tracking.masks import decode_masks
from tests.parity import kit
from tests.parity.network import filled_model, frame_batch
from tests.parity.tolerances import MASK_PIXELS, PIXEL_BOX, STILL_SCORE

ARRAYS = kit.arrays("coco_infer")
SYNTHETIC = range(len(ARRAYS["s_image_sizes"]))


def recorded(prefix):
    """Scores, classes, boxes and masks [n, H, W] of one image's final instances."""
    shape = tuple(ARRAYS[f"{prefix}_masks_shape"])
    masks = np.unpackbits(ARRAYS[f"{prefix}_masks_packed"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    return ARRAYS[f"{prefix}_scores"], ARRAYS[f"{prefix}_classes"], ARRAYS[f"{prefix}_boxes"], masks


def pairs_of(row):
    logits, boxes = (torch.from_numpy(ARRAYS[f"s_pred_{name}"][row]) for name in ("logits", "boxes"))
    return select_pairs(logits, boxes, tuple(ARRAYS["s_image_sizes"][row].tolist()))


@pytest.mark.parametrize("row", SYNTHETIC)
def test_the_hundred_best_pairs(row):
    found = pairs_of(row)
    assert found.classes.tolist() == ARRAYS[f"s_before_i{row}_classes"].tolist()
    STILL_SCORE.check(found.scores, ARRAYS[f"s_before_i{row}_scores"])
    PIXEL_BOX.check(found.boxes, ARRAYS[f"s_before_i{row}_boxes"])


@pytest.mark.parametrize("row", SYNTHETIC)
def test_instances_in_the_requested_size(row):
    size, original = (tuple(ARRAYS[f"s_{name}_sizes"][row].tolist()) for name in ("image", "output"))
    masks = dict(enumerate(torch.from_numpy(ARRAYS["s_pred_masks_q"][row]).flatten(1, 2).float() / 8))
    found = finish_pairs(pairs_of(row), masks, size, original)
    scores, classes, boxes, expected = recorded(f"s_i{row}")
    assert found.classes.tolist() == classes.tolist()
    STILL_SCORE.check(found.scores, scores)
    PIXEL_BOX.check(found.boxes, boxes)
    assert original == tuple(ARRAYS[f"s_i{row}_image_size"])
    np.testing.assert_array_equal(decode_masks(found.counts, original), expected)


def test_through_the_whole_network():
    """Neighbours of nearly equal score may change places, and a mask's border pixel may fall on either side."""
    sizes, outputs = ARRAYS["m_sizes"].tolist(), ARRAYS["m_output_sizes"].tolist()
    images = [kit.make_image(seed, *size) for seed, size in zip(ARRAYS["m_seeds"], sizes, strict=True)]
    model = filled_model("coco_r50")
    with torch.no_grad():
        decoded = model(frame_batch(images))
        assert isinstance(decoded, Decoded)
        reported = still_instances(model, decoded, [tuple(size) for size in outputs])
    for row, found in enumerate(reported):
        scores, classes, boxes, masks = recorded(f"m_i{row}")
        STILL_SCORE.check(found.scores, scores)
        ours = decode_masks(found.counts, tuple(outputs[row]))
        used = set()
        for i in range(len(scores)):
            near = np.flatnonzero(np.abs(scores - found.scores[i].item()) <= 2 * STILL_SCORE.absolute)
            same = [j for j in near if j not in used and classes[j] == found.classes[i]
                    and np.abs(boxes[j] - found.boxes[i].numpy()).max() <= PIXEL_BOX.absolute]  # fmt: skip
            differing = [int((masks[j] ^ ours[i]).sum()) for j in same]
            assert same, f"image {row}, instance {i}: no such one was recorded"
            MASK_PIXELS.check(torch.tensor(min(differing) / masks[0].size), 0.0)
            used.add(same[int(np.argmin(differing))])
        assert len(used) == len(scores)
