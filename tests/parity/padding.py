"""Cases of the kit as padded targets."""

import numpy as np
import torch

from idol_core.structures import Targets


def pad_targets(cases: list[dict[str, np.ndarray]], *, spare: int = 0) -> Targets:
    """Targets of `tgt_labels`, `tgt_boxes` and (where there is one) `valid`, with `spare` rows more than needed."""
    most = max(len(case["tgt_labels"]) for case in cases) + spare
    targets = Targets(
        labels=torch.zeros(len(cases), most, dtype=torch.long),
        boxes=torch.zeros(len(cases), most, 4),
        masks=torch.zeros(len(cases), most, 1, 1, dtype=torch.bool),
        valid=torch.zeros(len(cases), most, dtype=torch.bool),
    )
    for row, case in enumerate(cases):
        count = len(case["tgt_labels"])
        valid = torch.from_numpy(case.get("valid", np.ones(count, dtype=bool)))
        targets.valid[row, :count] = valid
        targets.labels[row, :count] = torch.from_numpy(case["tgt_labels"]) * valid
        targets.boxes[row, :count] = torch.from_numpy(case["tgt_boxes"]) * valid[:, None]
    return targets
