"""What CR-SAM and GAM prove of generalization, as numbers: bounds on the loss over unseen data, in the mean over noise.

Both stand on the PAC-Bayes bound with Gaussian prior and posterior of Foret et al. (2021, app. A.1, from McAllester
1999), whose complexity, for d weights w, noise sigma and n examples, is

    sqrt( (d/4 log(1 + |w|^2 / (d sigma^2)) + 1/4 + log(n / delta) + 2 log(6 n + 3 d)) / (n - 1) )

A bound above the loss of guessing, log(number of classes), is vacuous: it says nothing that was not known.
"""

import math


def complexity(norm: float, *, num_params: int, num_examples: int, sigma: float, delta: float = 0.05) -> float:
    """The square root above.

    Args:
        norm: of the weights.
        num_params: d.
        num_examples: n, of the training set.
        sigma: standard deviation of the noise on every weight.
        delta: the probability that the bound does not hold.

    Example:
        >>> round(complexity(0.0, num_params=1, num_examples=2, sigma=1.0, delta=1.0), 4)
        2.5218
    """
    n, d = num_examples, num_params
    divergence = d / 4 * math.log1p(norm**2 / (d * sigma**2))
    return math.sqrt((divergence + 0.25 + math.log(n / delta) + 2 * math.log(6 * n + 3 * d)) / (n - 1))


def pac_bayes_bound(
    loss: float, trace: float, norm: float, *, num_params: int, num_examples: int, sigma: float, delta: float = 0.05
) -> float:
    """The bound that CR-SAM's penalty on the trace stands on: loss + sigma^2 / 2 trace + complexity.

    CR-SAM (Wu, Luo & Wunsch 2024) announces a PAC-Bayes bound and prints none; this is the one of Foret et al. (2021,
    app. A.1), which it builds on, with the rise of the loss under the noise to second order, which is what CR-SAM
    penalizes (its eq. 5). For losses between 0 and 1.

    Args:
        loss: on the training set.
        trace: of the Hessian there.
        norm: of the weights.
        num_params: d.
        num_examples: n, of the training set.
        sigma: standard deviation of the noise on every weight.
        delta: the probability that it does not hold.

    Example:
        >>> bound = pac_bayes_bound(0.5, 8.0, 0.0, num_params=1, num_examples=2, sigma=0.5, delta=1.0)
        >>> round(bound - complexity(0.0, num_params=1, num_examples=2, sigma=0.5, delta=1.0), 4)  # 0.5 + 0.25 / 2 * 8
        1.5
    """
    rest = complexity(norm, num_params=num_params, num_examples=num_examples, sigma=sigma, delta=delta)
    return loss + sigma**2 / 2 * trace + rest


def first_order_bound(
    loss: float,
    flatness: float,
    norm: float,
    *,
    rho: float,
    num_params: int,
    num_examples: int,
    largest_loss: float = 1.0,
    delta: float = 0.05,
) -> float:
    """GAM's proposition 4.3 (Zhang et al. 2023, eq. 5): loss + R1 + M / sqrt(n) + complexity.

    The noise is sigma = rho / (sqrt(d) + sqrt(log n)), so that it stays within the ball of radius rho.

    Args:
        loss: on the training set.
        flatness: R1, of this radius: a lower bound of it makes the number a lower bound of theirs.
        norm: of the weights.
        rho: the radius.
        num_params: d.
        num_examples: n, of the training set.
        largest_loss: M, which no example's loss exceeds; cross-entropy has none, and 1 is the least that makes sense.
        delta: the probability that it does not hold.

    Example:
        >>> bound = first_order_bound(0.5, 0.25, 0.0, rho=1.0, num_params=1, num_examples=4, delta=1.0)
        >>> round(bound - complexity(0.0, num_params=1, num_examples=4, sigma=0.5, delta=1.0), 4)  # 0.5 + 0.25 + 1 / 2
        1.25
    """
    sigma = rho / (math.sqrt(num_params) + math.sqrt(math.log(num_examples)))
    rest = complexity(norm, num_params=num_params, num_examples=num_examples, sigma=sigma, delta=delta)
    return loss + flatness + largest_loss / math.sqrt(num_examples) + rest
