"""Pure array maths of reinforcement learning: one function, one equation, time-major ``[T, ...]``.

Kernels know nothing of environments, networks or algorithms. They keep the dtype of their inputs, never
average over a batch (the caller does), and stop no gradient unless their equation does, which their docstring
then says.
"""
