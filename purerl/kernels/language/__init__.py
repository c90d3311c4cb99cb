"""Array maths of reinforcement learning on text: one function, one equation.

A batch of completions is ``[T, B]``, time-major like every rollout here: a generator's ``[B, T]`` is transposed once,
where it hands its tokens over. B is the number of completions. Those of one prompt lie next to each other, so that a
reshape to ``[..., G]`` gives its group.

Which tokens count is said by a bool ``mask`` of the same shape, never by what a token is: padding, the prompt and what
a tool wrote are False, and the stop token is True, since the policy chose it. Functions that take a mask read nothing
outside it. Elementwise ones do not take it; outside the mask their arguments must be finite (a scorer gives 0 there),
and :mod:`~purerl.kernels.language.aggregation` leaves these elements out.
"""
