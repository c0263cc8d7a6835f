"""Projective geometry response: the spec for an epsilon. Its figures are those of three losses (theorem 24)."""

from del_audit.accounting.rivals.search import checked_target
from mechanisms.errors import UserError
from mechanisms.rivals.geometry_search import best_geometry
from mechanisms.rivals.projective_geometry import ProjectiveGeometrySpec


def calibrated(
    epsilon: float, delta: float, words: int, order: int | None = None, dimension: int | None = None
) -> ProjectiveGeometrySpec:
    """Returns the least noisy spec that meets the epsilon.

    order, dimension: of the space, both or neither; the most informative one about a uniform word if left out. Raises
    UserError for one of them alone.
    """
    if (order is None) != (dimension is None):
        raise UserError(f"Expected order and dimension, or neither, got order={order}, dimension={dimension}.")
    if order is None or dimension is None:
        space = best_geometry(words, epsilon, delta=delta)
        order, dimension = space.order, space.dimension
    return checked_target(
        lambda target: ProjectiveGeometrySpec.from_epsilon(words, target, order, dimension, delta), epsilon, delta
    )
