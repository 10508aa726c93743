"""The association embedding (IDOL, section 3.2)."""

from __future__ import annotations

from idol_core.model.mlp import MLP


class EmbedHead(MLP):
    """Queries [..., C] -> embeddings [..., C], neither scaled nor normalised."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, dim, layers=3)
