"""Faults made on purpose, each in a copy of the source, and the test that turns red at each.

    .venv/bin/python tests/mutants.py [NAME...]

Writes the table of MUTANTS.md: a fault stands there when it was caught as it is written here.
Exits with 1 when a fault goes unnoticed or no longer applies.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "MUTANTS.md"
RULE = "|---|---|---|---|\n"


@dataclass(frozen=True)
class Mutant:
    """A fault: in `file`, `old` becomes `new`; `test` must fail."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    test: str


ROAD = "tests/http/test_road.py::"
ENGINE = "tests/engine/test_engine.py::"
POSTGRES = "tests/storage/test_postgres.py::"
RULES = "tests/rules/test_semantics.py::"
SILENCE = "tests/engine/test_silence.py::"
GROUPS = "tests/rules/test_groups.py::"
SILENT = "tests/rules/test_silent.py::"

FOLD, RESTART = "6 one fold", "3 restart, 6 one fold"

MUTANTS = (
    Mutant(
        "answer-before-commit", "1 durable", "engine/tenant.py",
        "            await self.works.send(Work(",
        "            settle(0)\n            await self.works.send(Work(",
        ENGINE + "test_a_long_outage_fails_every_uncommitted_batch_and_memory_is_rebuilt",
    ),
    Mutant(
        "forget-the-unknown-outcome", "1 durable, 2 stored once", "storage/engine_store.py",
        'and cause.constraint_name == "commit_groups_pkey"', "and False",
        POSTGRES + "test_a_group_committed_twice_is_stored_once_and_answers_the_same",
    ),
    Mutant(
        "no-fencing", "1 durable", "storage/commit.py",
        "AND epoch = $2 FOR SHARE", "AND epoch >= $2 FOR SHARE",
        POSTGRES + "test_nothing_is_committed_under_a_lost_lease",
    ),
    Mutant(
        "serve-without-fsync", "1 durable", "storage/database.py",
        '("fsync", "synchronous_commit", "full_page_writes")', '("full_page_writes",)',
        POSTGRES + "test_a_server_that_may_lose_commits_is_refused",
    ),
    Mutant(
        "no-dedupe-in-a-batch", "2 stored once", "engine/judge.py",
        "fresh[1:] &= (ts[1:]", "fresh[1:] |= (ts[1:]",
        ROAD + "test_the_first_value_of_a_series_and_time_stays",
    ),
    Mutant(
        "last-value-wins", "2 stored once", "storage/commit.py",
        "ON CONFLICT (series_id, ts) DO NOTHING",
        "ON CONFLICT (series_id, ts) DO UPDATE SET value = excluded.value",
        ROAD + "test_the_first_value_of_a_series_and_time_stays",
    ),
    Mutant(
        "states-not-restored", "3 restart", "engine/recover.py",
        "state.rules.restore_in_parts(image.rule_states)", "()",
        ROAD + "test_a_restart_is_no_restart",
    ),
    Mutant(
        "windows-not-warm", "3 restart", "engine/recover.py",
        "    await _warm(store, state)\n", "",
        ROAD + "test_a_restart_is_no_restart",
    ),
    Mutant(
        "memory-stays-ahead", "3 restart", "engine/flush.py",
        "        work.incarnation.break_off()\n", "        pass\n",
        ENGINE + "test_a_long_outage_fails_every_uncommitted_batch_and_memory_is_rebuilt",
    ),
    Mutant(
        "policy-dropped", "4 apart", "storage/migrations/0001_base.expand.sql",
        "USING (tenant_id = (SELECT nullif(", "USING (true OR tenant_id = (SELECT nullif(",
        POSTGRES + "test_the_application_role_sees_its_tenant_alone",
    ),
    Mutant(
        "tenant-not-set", "4 apart", "storage/database.py",
        "await connection.execute(_AS_TENANT, str(tenant)",
        'await connection.execute(_AS_TENANT, "1"',
        "tests/http/test_bad_input.py::test_a_tenant_sees_nothing_of_another",
    ),
    Mutant(
        "a-crash-spreads", "4 apart", "engine/supervise.py",
        "            except Exception as error:", "            except ArithmeticError as error:",
        ENGINE + "test_a_crashing_actor_is_rebuilt_then_quarantined_alone",
    ),
    Mutant(
        "poison-fails-the-group", "4 apart", "engine/flush.py",
        "parts.extendleft((part[half:], part[:half]))", "_break_off(part, Unavailable())",
        ENGINE + "test_a_poisoned_batch_is_buried_and_hurts_nobody_else",
    ),
    Mutant(
        "a-flood-takes-all", "4 apart", "engine/group.py",
        "if crowded else limits.group_rows", "if False else limits.group_rows",
        "tests/engine/test_group.py::test_a_flood_leaves_room_for_others",
    ),
    Mutant(
        "no-limit-of-bodies", "5 bounded", "http/asgi.py",
        "if len(body) + len(part) > self.max_body_bytes:", "if len(body) > 1 << 40:",
        "tests/http/test_connections.py::test_a_body_beyond_the_limit_closes_the_connection",
    ),
    Mutant(
        "no-limit-of-inflating", "5 bounded", "wire/inflate.py",
        "stream.decompress(body, room + 1)", "stream.decompress(body)[: room]",
        "tests/wire/test_inflate.py::test_a_bomb_is_too_large_before_it_is_large",
    ),
    Mutant(
        "an-inbox-without-bounds", "5 bounded", "engine/inbox.py",
        "if self.rows and self.rows + rows > self.limit_rows:", "if False:",
        ENGINE + "test_a_full_inbox_refuses_with_a_delay_and_frees_itself",
    ),
    Mutant(
        "window-closed-at-both-ends", FOLD, "rules/windows.py",
        "(position & (FILL - 1))] <= after:", "(position & (FILL - 1))] < after:",
        RULES + "test_a_window_is_open_at_its_old_end",
    ),
    Mutant(
        "first-whole-pane-left-out", FOLD, "rules/windows.py",
        "for pane in range(first + 1, last):", "for pane in range(first + 2, last):",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "stale-panes-taken", FOLD, "rules/windows.py",
        "if words[at + P_ID] != pane:\n            continue\n",
        "if words[at + P_ID] > pane:\n            continue\n",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "middle-kept-when-the-left-edge-moves", FOLD, "rules/windows.py",
        "        words[look + L_LAST] = NEVER\n    if words[look + L_LAST] != last",
        "    if words[look + L_LAST] != last",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "block-kept-after-its-end", FOLD, "rules/windows.py",
        "        position, block = tail, -1", "        position = tail",
        RULES + "test_a_window_goes_on_after_its_readings_were_let_go",
    ),
    Mutant(
        "suffix-of-the-wrong-length", FOLD, "rules/windows.py",
        "top - FILL // 2\n            words", "top - FILL // 2 + 1\n            words",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "suffixes-joined-with-the-wrong-weight", FOLD, "rules/windows.py",
        "(groups - 1 - k) * GROUP, total", "(groups - k) * GROUP, total",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "lagging-reading-missed-in-the-middle", FOLD, "rules/windows.py",
        "elif pane < words[look + L_LAST]:", "elif pane < words[look + L_FIRST]:",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "lagging-reading-missed-at-the-edge", FOLD, "rules/windows.py",
        "if pane <= words[look + L_FIRST]:", "if pane < words[look + L_FIRST]:",
        RULES + "test_dense_windows_are_what_numpy_computes",
    ),
    Mutant(
        "silence-does-not-reset", FOLD, "rules/judging.py",
        "records[record, LAST_AT] > rules[r, 3]", "records[record, LAST_AT] > 1 << 60",
        RULES + "test_silence_beyond_the_longest_window_begins_anew",
    ),
    Mutant(
        "silence-of-just-that-length-resets", FOLD, "rules/judging.py",
        "records[record, LAST_AT] > rules[r, 3]", "records[record, LAST_AT] >= rules[r, 3]",
        RULES + "test_silence_beyond_the_longest_window_begins_anew",
    ),
    Mutant(
        "unknown-opens", FOLD, "rules/judging.py",
        "truth != 1.0 or closed", "truth == 0.0 or closed",
        RULES + "test_unknown_neither_opens_nor_clears",
    ),
    Mutant(
        "opens-twice-in-a-microsecond", FOLD, "rules/judging.py",
        " or opened == now:", ":",
        RULES + "test_a_rule_opens_once_in_a_microsecond",
    ),
    Mutant(
        "unknown-level-falls", FOLD, "rules/judging.py",
        "if truth == 1.0 or (math.isnan(truth) and current >= severity):", "if truth == 1.0:",
        RULES + "test_an_unknown_level_stays",
    ),
    Mutant(
        "changed-states-marked-once", RESTART, "rules/states.py",
        "        self.words[places] &= ~j.DIRTY\n", "",
        RULES + "test_a_crash_at_every_reading_changes_no_bit",
    ),
    Mutant(
        "our-downtime-counts-as-silence", RESTART, "engine/tenant.py",
        "        state.rules.listen_from(self.listening.since)\n", "",
        SILENCE + "test_our_own_absence_is_nobodys_silence",
    ),
    Mutant(
        "our-stall-counts-as-silence", RESTART, "engine/listening.py",
        "DEAF_S = 2.0", "DEAF_S = 1e9",
        SILENCE + "test_a_stall_of_ours_is_nobodys_silence",
    ),
    Mutant(
        "waiting-tenants-not-woken", RESTART, "engine/engine.py",
        "            await gate.wake_waiting()\n", "",
        SILENCE + "test_our_own_absence_is_nobodys_silence",
    ),
    Mutant(
        "silence-behind-an-endless-queue", "4 apart", "engine/tenant.py",
        "BUSY_S = 5.0", "BUSY_S = 1e9",
        SILENCE + "test_a_watched_tenant_does_not_rest_and_a_busy_one_is_looked_at",
    ),
    Mutant(
        "the-newest-reading-is-usual-too", FOLD, "rules/scanning.py",
        "until = newest_ts - 1", "until = newest_ts",
        RULES + "test_scans_of_hundreds_of_readings_go_by_the_grid",
    ),
    Mutant(
        "for-a-microsecond-longer", FOLD, "rules/judging.py",
        "now - records[record, SINCE] < rules[r, 1]", "now - records[record, SINCE] <= rules[r, 1]",
        RULES + "test_transitions_are_those_of_the_oracle",
    ),
    Mutant(
        "clearing-goes-on-where-it-was-broken-off", FOLD, "rules/judging.py",
        "        if phase == OPEN or silent:", "        if silent:",
        RULES + "test_transitions_are_those_of_the_oracle",
    ),
    Mutant(
        "a-schedule-that-clears", FOLD, "rules/judging.py",
        "    if gone == 1.0:\n        if phase", "    if gone == 1.0 or closed:\n        if phase",
        "tests/rules/test_schedule.py::test_an_alert_opens_within_its_hours_and_clears_at_any",
    ),
    Mutant(
        "windows-are-those-of-the-last-rule", FOLD, "rules/program.py",
        "builder.atoms[aggregate]][0]] |= row[0]", "builder.atoms[aggregate]][0]] = row[0]",
        GROUPS + "test_a_window_is_looked_at_for_every_rule_that_shares_it",
    ),
    Mutant(
        "repeats-are-fresh", FOLD + ", 2 stored once", "engine/judge.py",
        "fresh = ts > table.newest[slot]", "fresh = ts >= table.newest[slot]",
        GROUPS + "test_repeats_change_nothing",
    ),
    Mutant(
        "weights-of-absolute-times", FOLD, "rules/scanning.py",
        "EWMA_SHARE * (words[at] - until) / width",
        "EWMA_SHARE * (words[at] / width - until / width)",
        GROUPS + "test_a_shift_in_time_changes_no_bit",
    ),
    Mutant(
        "a-deadline-before-its-time", FOLD, "rules/absence.py",
        "-(-(heard + after_us) // GRID_US) * GRID_US", "(heard + after_us) // GRID_US * GRID_US",
        SILENT + "test_live_rules_open_and_clear_at_the_same_times",
    ),
    Mutant(
        "the-clock-before-the-reading", FOLD, "rules/silent.py",
        "(opened < ends)", "(opened <= ends)",
        SILENT + "test_a_reading_at_the_very_deadline_is_in_time",
    ),
    Mutant(
        "arrivals-before-the-range-forgotten", FOLD, "rules/silent.py",
        "np.where(newest < 0, self._heard, newest)", "self._heard",
        SILENT + "test_trials_are_what_a_clock_would_have_seen",
    ),
    Mutant(
        "late-rows-prove-life", FOLD, "engine/backtest.py",
        "late=not arrival,", "late=True,",
        "tests/http/test_backtest_silence.py::test_silence_is_read_off_the_arrivals",
    ),
    Mutant(
        "state-changes-not-packed", RESTART, "rules/states.py",
        "        return self._pack(places)\n\n    def dump", "        return b\"\"\n\n    def dump",
        RULES + "test_a_crash_anywhere_changes_no_bit",
    ),
)  # fmt: skip


def row(mutant: Mutant) -> str:
    """The fault as a line of the table."""
    change = f"becomes {_code(mutant.new)}" if mutant.new.strip() else "is left out"
    test = mutant.test.removeprefix("tests/")
    fault = f"`{mutant.file}`: {_code(mutant.old)} {change}"
    return f"| {mutant.name} | {mutant.promise} | {fault} | `{test}` |\n"


def _code(text: str) -> str:
    """In one line, as markdown shows it in a table."""
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def write_table(caught: set[str], survived: set[str]) -> None:
    """Keep what was caught before and still reads the same; drop what survived or is gone."""
    lines = TABLE.read_text().splitlines(keepends=True)
    head = lines[: lines.index(RULE) + 1]
    known = set(lines) | {row(mutant) for mutant in MUTANTS if mutant.name in caught}
    kept = [row(m) for m in MUTANTS if row(m) in known and m.name not in survived]
    TABLE.write_text("".join([*head, *kept]))


def survives(mutant: Mutant) -> str | None:
    """None when the test turned red; else why not."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        copy = Path(name) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / "atalaia" / mutant.file
        source = target.read_text()
        if mutant.old not in source:
            return "the fault does not apply any more"
        target.write_text(source.replace(mutant.old, mutant.new))
        environment = os.environ | {"PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": f"{name}/cache"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode == 1 or done.returncode < 0:  # red, or the process itself fell
            return None
        return "nothing turned red" if done.returncode == 0 else done.stdout[-500:]


def main() -> None:
    wanted = sys.argv[1:]
    unknown = set(wanted) - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    caught, survived = set[str](), set[str]()
    for mutant in MUTANTS:
        if wanted and mutant.name not in wanted:
            continue
        why = survives(mutant)
        (survived if why else caught).add(mutant.name)
        print(f"SURVIVED {mutant.name}: {why}" if why else f"caught   {mutant.name}", flush=True)
    write_table(caught, survived)
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
