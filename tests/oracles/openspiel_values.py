"""What OpenSpiel's solvers reach in Kuhn's and Leduc's poker: NashConv of average policies after some iterations.

    pip install open_spiel
    python -m tests.oracles.openspiel_values

writes openspiel_values.json beside this file, in some minutes. OpenSpiel is needed to write it, not to read it. Later
iterations of Leduc are left out: where regrets are equal up to rounding, the order of a sum decides.
"""

import importlib.metadata
import json
import pathlib

PATH = pathlib.Path(__file__).with_suffix(".json")
ITERATIONS = {"kuhn_poker": (1, 10, 100, 1000, 10_000), "leduc_poker": (1, 10, 100)}
QUICK = ("CFR", "CFR+")  # those in C++; the others are in Python, and take as many iterations as is reasonable
SLOW_ITERATIONS = {"kuhn_poker": (1, 10, 100, 1000), "leduc_poker": (1, 10, 30)}


def solvers(game):
    """By name; all but the last two update the players by turns."""
    import pyspiel
    from open_spiel.python.algorithms import cfr, discounted_cfr

    return {
        "CFR": pyspiel.CFRSolver(game),
        "CFR+": pyspiel.CFRPlusSolver(game),
        "linear": discounted_cfr.LCFRSolver(game),
        "discounted": discounted_cfr.DCFRSolver(game, alpha=1.5, beta=0, gamma=2),
        "simultaneous": cfr._CFRSolver(
            game, alternating_updates=False, linear_averaging=False, regret_matching_plus=False
        ),
        "simultaneous plus": cfr._CFRSolver(
            game, alternating_updates=False, linear_averaging=True, regret_matching_plus=True
        ),
    }


def main() -> None:
    """Compute everything and write the file."""
    import pyspiel
    from open_spiel.python import policy as policies
    from open_spiel.python.algorithms import exploitability

    version = importlib.metadata.version("open_spiel")
    record = {"made_by": f"python -m tests.oracles.openspiel_values, open_spiel {version}"}
    for name, every in ITERATIONS.items():
        game = pyspiel.load_game(name)
        record[name] = {}
        for solver_name, solver in solvers(game).items():
            values, done = {}, 0
            for number in every if solver_name in QUICK else SLOW_ITERATIONS[name]:
                while done < number:
                    solver.evaluate_and_update_policy()
                    done += 1
                average, quick = solver.average_policy(), solver_name in QUICK
                values[number] = pyspiel.nash_conv(game, average) if quick else exploitability.nash_conv(game, average)
                if name == "kuhn_poker" and number == 10:
                    table = policies.python_policy_to_pyspiel_policy(average) if not quick else average
                    record.setdefault("policies", {})[solver_name] = {
                        state: dict(table.get_state_policy(state))[1] for state in _information_sets(game)
                    }
            record[name][solver_name] = values
            print(name, solver_name, values, flush=True)
    PATH.write_text(json.dumps(record, indent=1) + "\n")


def _information_sets(game) -> list[str]:
    """Names of all of them, such as 0pb: a card, and what was passed and bet."""
    from open_spiel.python import policy as policies

    return list(policies.TabularPolicy(game).state_lookup)


if __name__ == "__main__":
    main()
