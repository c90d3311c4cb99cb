"""How a run of Stable-Baselines3 is timed: with the number of threads that a short trial finds fastest."""

import json
import os
import time

import torch


def measure(algo, num_env_steps: int, num_trial_steps: int) -> None:
    """Print seconds of so many environment steps as one line of JSON."""

    def seconds(num_env_steps: int, num_threads: int) -> float:
        torch.set_num_threads(num_threads)
        start = time.perf_counter()
        algo.learn(num_env_steps, reset_num_timesteps=False)
        return time.perf_counter() - start

    seconds(num_trial_steps, 1)
    trials = {n: seconds(num_trial_steps, n) for n in sorted({1, 2, os.cpu_count() or 1})}
    num_threads = min(trials, key=trials.__getitem__)
    cpu_start = time.process_time()
    run_s = seconds(num_env_steps, num_threads)
    cpu_s = time.process_time() - cpu_start
    print(json.dumps({"compile_s": 0.0, "run_s": run_s, "cpu_s": cpu_s, "num_threads": num_threads}))
