"""Noisy linear layer with factorised Gaussian noise, for exploration (NoisyNets)."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class NoisyDense(nn.Module):
    """Noisy linear layer with factorised noise, one draw per input and output: ``[..., P] -> [..., features]``.

    ``y = x (W + u S * f_in f_out') + b + u s * f_out`` with ``f = sgn(e) sqrt|e|``, ``e`` standard normal: weight
    (i, j) has the noise ``u S_ij f_in,i f_out,j``, bias j the noise ``u s_j f_out,j``. The distribution of ``e`` is
    fixed; the scales ``S`` and ``s`` are learnt, and may shrink or grow.

    The unit ``u = noise_scale / sqrt(P)`` is what the paper's scales, ``u S`` and ``u s``, are at first. The parameters
    S and s begin at 1, because Adam moves each by about its step size, however small: the paper's would be as large as
    that within a few steps, and the size of the noise would depend on the optimiser and not on the loss.

    The noise is drawn from the stream ``"noise"``: ``apply(params, x, rngs={"noise": key})``. One draw per call serves
    all leading axes, a whole minibatch or all environments, so the noisy weights are formed once and the layer costs
    little more than a plain one. Without that stream it is its mean, ``x W + b``: how to evaluate.

    At first W, b are uniform in ``+-1/sqrt(P)``.

    Source: Fortunato et al. 2018 (arXiv 1706.10295), (9) to (11) and section 3.2, but for the unit.
    """

    features: int
    noise_scale: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        num_inputs = x.shape[-1]
        bound = num_inputs**-0.5

        def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

        kernel = self.param("kernel", uniform, (num_inputs, self.features))
        bias = self.param("bias", uniform, (self.features,))
        kernel_scale = self.param("kernel_scale", nn.initializers.ones, (num_inputs, self.features))
        bias_scale = self.param("bias_scale", nn.initializers.ones, (self.features,))
        if not self.has_rng("noise"):
            return x @ kernel + bias
        normal = jax.random.normal(self.make_rng("noise"), (num_inputs + self.features,), x.dtype)
        # Apart, or XLA draws the noise of inputs and outputs anew for every weight that is their product.
        noise = jax.lax.optimization_barrier(jnp.sign(normal) * jnp.sqrt(jnp.abs(normal)))
        noise_in, noise_out = jnp.split(noise, [num_inputs])
        noise_out *= self.noise_scale * bound
        return x @ (kernel + kernel_scale * noise_in[:, None] * noise_out) + (bias + bias_scale * noise_out)
