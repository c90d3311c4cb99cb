"""OpenSpiel's counterfactual regret minimisation, its solvers in C++; prints one line of JSON.

Runs in an environment of its own.
"""

import json
import sys
import time

import pyspiel

setup = json.loads(sys.argv[1])
game = pyspiel.load_game(setup["peer"])
solver = pyspiel.CFRPlusSolver(game)
solver.evaluate_and_update_policy()  # warms up
start, cpu_start = time.perf_counter(), time.process_time()
for _ in range(setup["peer_iterations"]):
    solver.evaluate_and_update_policy()
times = {"run_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu_start}
print(json.dumps(times | {"compile_s": 0.0}))
