"""How an array stands in an error: its shape, and apart from it how many of its values are not finite. No torch."""

import numpy as np
from numpy.typing import ArrayLike


def shape_and_values(array: ArrayLike) -> str:
    """Returns an array's shape and, where some of its values are NaN or infinite, how many.

    >>> shape_and_values([[1.0, 2.0]])
    'shape (1, 2)'
    >>> shape_and_values([[1.0, float("nan")]])
    'shape (1, 2) with NaN or infinity in 1 of 2 values'
    """
    values = np.asarray(array)
    wrong = values.size - np.count_nonzero(np.isfinite(values))
    return f"shape {values.shape}" + (f" with NaN or infinity in {wrong} of {values.size} values" if wrong else "")
