"""Densities and entropies by their definitions in float64: SciPy's normal law, adaptive quadrature."""

import numpy as np
from scipy import integrate, stats


def tanh_normal_density(action, mean, std):
    """Density of ``tanh(u)``, ``u ~ N(mean, std)``, by change of variables; one dimension."""
    return stats.norm.pdf(np.arctanh(action), mean, std) / (1 - action**2)


def tanh_normal_entropy(mean, std):
    """``H(u) + E[log(1 - tanh(u)^2)]`` by adaptive quadrature, the kinky middle marked for it."""

    def integrand(u):
        return stats.norm.pdf(u, mean, std) * -2 * np.log(np.cosh(u))

    stretch, _ = integrate.quad(integrand, mean - 10 * std, mean + 10 * std, points=[0.0, mean], limit=500)
    return stats.norm.entropy(mean, std) + stretch
