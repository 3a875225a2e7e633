"""python -m tests.simulation.replay SEED: one schedule again, with all that happens in it."""

import sys

from tests.simulation.run import simulate, tell

if __name__ == "__main__":
    outcome = simulate(int(sys.argv[1]))
    print(tell(outcome))
    sys.exit(outcome.failure is not None)
