"""What value learning regresses on, in NumPy float64: loops over rows and atoms, mass handed out piece by piece."""

import numpy as np


def project(atoms, probability, onto):
    """C51's algorithm: each atom's mass to the neighbours below and above, whole to one that it hits, ``[B, N]``."""
    spacing = (onto[-1] - onto[0]) / (len(onto) - 1)
    out = np.zeros((len(atoms), len(onto)))
    for b, j in np.ndindex(*np.shape(atoms)):
        place = (min(max(atoms[b, j], onto[0]), onto[-1]) - onto[0]) / spacing
        below, above = int(np.floor(place)), int(np.ceil(place))
        if below == above:
            out[b, below] += probability[b, j]
        else:
            out[b, below] += probability[b, j] * (above - place)
            out[b, above] += probability[b, j] * (place - below)
    return out


def quantile_huber_loss(quantile, level, target, kappa):
    """Sum over quantiles of the mean over targets of the asymmetric Huber loss over kappa, ``[B]``."""
    level = np.broadcast_to(level, quantile.shape)
    total = np.zeros(len(quantile))
    for b, i in np.ndindex(*quantile.shape):
        for sample in target[b]:
            u = sample - quantile[b, i]
            rounded = abs(u) - kappa / 2 if abs(u) >= kappa else u**2 / (2 * kappa)
            total[b] += (1 - level[b, i] if u < 0 else level[b, i]) * rounded / target.shape[1]
    return total


def soft_value(q, temperature):
    """``E_pi[q - tau log pi]`` for ``pi = softmax(q / tau)``, from the probabilities themselves, ``[...]``."""
    weight = np.exp((q - q.max(-1, keepdims=True)) / temperature)
    policy = weight / weight.sum(-1, keepdims=True)
    return (policy * (q - temperature * np.log(policy))).sum(-1)
