"""One step of value learning by hand, in NumPy float64: n-step transitions by loops, the chain rule written out."""

import numpy as np


def n_step_transition(items, row, env, n, gamma, newest):
    """The steps from a place of the replay: the sum of their rewards, the discount after them, and what they led to."""
    num_rows = len(items.reward)
    reward = 0.0
    for k in range(n):
        at = (row + k) % num_rows, env
        reward += gamma**k * items.reward[at]
        if items.terminated[at]:
            return reward, 0.0, items.next_obs[at]
        if items.truncated[at] or at[0] == newest:
            break
    return reward, gamma ** (k + 1), items.next_obs[at]


def q_values(layers, obs):
    """A network of dense layers ``[(W, b), ...]`` with relu between them, ``[M, A]``."""
    return _activations(layers, obs)[-1]


def gradient(layers, obs, action, slope):
    """Of a loss whose derivative with respect to ``Q(s_m, a_m)`` is ``slope[m]``, layer by layer."""
    activations, grads = _activations(layers, obs), []
    back = slope[:, None] * (action[:, None] == np.arange(activations[-1].shape[1]))
    for (weight, _), inputs in zip(layers[::-1], activations[-2::-1], strict=True):
        grads.insert(0, (inputs.T @ back, back.sum(axis=0)))
        back = (back @ weight.T) * (inputs > 0)
    return grads


def first_adam_step(layers, grads, learning_rate, epsilon, max_grad_norm):
    """Gradients scaled down to the norm; at the first step both of Adam's corrected moments are the gradient's own."""
    norm = np.sqrt(sum((g**2).sum() for pair in grads for g in pair))
    scale = min(1.0, max_grad_norm / norm)
    return [
        tuple(x - learning_rate * scale * g / (np.abs(scale * g) + epsilon) for x, g in zip(layer, pair, strict=True))
        for layer, pair in zip(layers, grads, strict=True)
    ]


def _activations(layers, obs):
    """What enters each layer, and the output."""
    activations = [np.asarray(obs, np.float64)]
    for i, (weight, bias) in enumerate(layers):
        x = activations[-1] @ weight + bias
        activations.append(np.maximum(x, 0) if i < len(layers) - 1 else x)
    return activations


def layers(params):
    """Those of an action-value network with one hidden layer."""
    head = params["params"]["head"]
    pairs = head["action_hidden"]["Dense_0"], head["action"]
    return [tuple(np.asarray(pair[name], np.float64) for name in ("kernel", "bias")) for pair in pairs]
