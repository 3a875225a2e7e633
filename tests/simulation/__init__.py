"""The real engine against a world of faults, on a clock that costs nothing.

One seed is one schedule: tenants, rules, sensors that come and go, readings in and out of order,
clients that try again, a store that fails, a process that dies, a clock that steps. `world` holds
what is true, `port` the faults, `clients`, `consumer` and `administrator` those outside, `lives`
the process that comes and goes, `reference` and `waiting` what should have happened.
`python -m tests.simulation.replay SEED` shows a schedule.
"""
