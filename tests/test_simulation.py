"""Simulated sensors: the same seed, the same readings; every fault shows."""

from atalaia.simulation import METRICS, Faults, Reading, make_sensors, readings

NONE = Faults(noise=0, drift=0, stuck=0, gaps=0, outages=0, late=0)


def run(faults: Faults, steps: int = 600, seed: int = 1) -> list[list[Reading]]:
    sensors = make_sensors(1, prefix="x", faults=faults, seed=seed)
    return [list(readings(sensors, 1_000_000 * n)) for n in range(steps)]


def test_a_seed_gives_the_same_readings() -> None:
    """And another seed others."""
    assert run(Faults()) == run(Faults())
    assert run(Faults()) != run(Faults(), seed=2)


def test_without_faults_every_metric_comes_every_time() -> None:
    """A smooth wave around its mean."""
    for step in run(NONE):
        assert [reading.metric for reading in step] == list(METRICS)
        for reading in step:
            mean, swing = METRICS[reading.metric]
            assert abs(reading.value - mean) <= swing + 0.001


def test_each_fault_shows() -> None:
    """Gaps and outages lack readings, stuck values repeat, late ones come back, drift leaves."""
    full = 600 * len(METRICS)
    assert (
        0
        < sum(map(len, run(Faults(noise=0, drift=0, stuck=0, gaps=0.2, outages=0, late=0))))
        < full
    )
    silent = run(Faults(noise=0, drift=0, stuck=0, gaps=0, outages=0.02, late=0))
    assert any(all(not step for step in silent[n : n + 60]) for n in range(500))
    stuck = run(Faults(noise=1, drift=0, stuck=0.05, gaps=0, outages=0, late=0))
    values = [step[0].value for step in stuck]
    assert any(len(set(values[n : n + 10])) == 1 for n in range(500))
    late = [r for step in run(Faults(0, 0, 0, 0, 0, late=0.02)) for r in step]
    assert len({(r.metric, r.ts) for r in late}) == len(late) == full
    temperature = [r.ts for r in late if r.metric == "temperature"]
    assert temperature != sorted(temperature)
    drifted = run(Faults(noise=0, drift=0.05, stuck=0, gaps=0, outages=0, late=0))
    mean, swing = METRICS["temperature"]
    assert any(abs(step[0].value - mean) > swing for step in drifted)
