"""Contrastive losses beside the formulas of the paper, written out."""

import math

import pytest
import torch
from torch import Tensor

from idol_core.losses.contrastive import Samples, auxiliary_loss, contrastive_loss, draw_order


def random_samples(queries: int = 30) -> tuple[Tensor, Tensor, Samples]:
    rng = torch.Generator().manual_seed(3)
    anchors, embeddings = torch.randn(2, 4, 8, generator=rng), torch.randn(2, queries, 8, generator=rng)
    kind = torch.rand(2, 4, queries, generator=rng)
    return anchors, embeddings, Samples(kind < 0.2, (kind > 0.4) | (kind < 0.05))  # some are both


def test_sum_over_all_pairs():
    anchors, embeddings, samples = random_samples()
    losses = contrastive_loss(anchors, embeddings, samples)
    for b in range(2):
        for n in range(4):
            products = embeddings[b].double() @ anchors[b, n].double()
            positives, negatives = products[samples.positive[b, n]], products[samples.negative[b, n]]
            pairs = (negatives[:, None] - positives[None]).exp().sum()
            assert losses[b, n].item() == pytest.approx(math.log1p(pairs), rel=1e-5)


@pytest.mark.parametrize("missing", ["positive", "negative"])
def test_without_one_kind_of_sample_the_loss_and_its_gradient_are_zero(missing):
    anchors, embeddings, samples = random_samples()
    samples = samples._replace(**{missing: torch.zeros_like(samples.positive)})
    anchors.requires_grad_()
    losses = contrastive_loss(anchors, embeddings, samples)
    losses.sum().backward()
    assert torch.equal(losses, torch.zeros(2, 4))
    assert torch.equal(anchors.grad, torch.zeros_like(anchors))


def test_long_vectors_stay_finite():
    anchors, embeddings, samples = random_samples()
    anchors = (1e3 * anchors).requires_grad_()
    loss = contrastive_loss(anchors, 1e3 * embeddings, samples).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(anchors.grad).all()


def test_number_and_choice_of_auxiliary_negatives():
    """Where all vectors are equal, a positive costs 0 and a negative 1, so the loss tells the negatives' share."""
    vectors = torch.ones(1, 3, 4), torch.ones(1, 40, 4)
    positive = torch.zeros(1, 3, 40, dtype=torch.bool)
    positive[0, 0, :2] = positive[0, 1, :5] = True  # none for the last
    samples = Samples(positive, ~positive)
    losses = auxiliary_loss(*vectors, samples, order=draw_order(positive.shape, torch.Generator(), positive.device))
    # 20 of the 38 negatives for 2 positives; all 35 for 5; 10 without a positive
    torch.testing.assert_close(losses, torch.tensor([[20 / 22, 35 / 40, 1.0]]))


def test_negatives_are_taken_in_the_given_order():
    anchors, embeddings = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.0, 1.0]]).repeat(1, 30, 1)
    embeddings[0, -11:] = torch.tensor([1.0, 0.0])  # the last eleven queries look like the anchor
    positive = (torch.arange(30) == 29).view(1, 1, 30)
    samples = Samples(positive, ~positive)
    forwards = draw_order(positive.shape, None, positive.device)
    assert auxiliary_loss(anchors, embeddings, samples, order=forwards).item() == 0
    torch.testing.assert_close(auxiliary_loss(anchors, embeddings, samples, order=-forwards), torch.tensor([[10 / 11]]))


def test_the_numbers_drawn_for_an_instance_do_not_depend_on_padding():
    few, many = (
        draw_order(torch.Size((1, n, 30)), [torch.Generator().manual_seed(5)], torch.device("cpu")) for n in (3, 7)
    )
    assert torch.equal(few, many[:, :3])
