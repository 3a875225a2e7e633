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
        "state.rules.restore(image.rule_states)", "image.rule_states",
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
        "state-changes-not-packed", RESTART, "rules/states.py",
        "        return self._pack(places)\n\n    def dump", "        return b\"\"\n\n    def dump",
        RULES + "test_a_crash_anywhere_changes_no_bit",
    ),
    Mutant(
        "ack-before-commit", "1 durable", "amqp/lane.py",
        "            sent.append(Sent(delivery, batch, receipt))",
        "            sent.append(Sent(delivery, batch, receipt))\n"
        '            self.session.done(delivery, "stored")',
        "tests/amqp/test_faults.py::"
        "test_a_consumer_killed_before_the_commit_gets_its_messages_again",
    ),
    Mutant(
        "poison-handed-back", "1 durable", "amqp/session.py",
        "        self._done.append(delivery.tag)\n",
        '        self._done += [delivery.tag] if result != "poison" else []\n',
        "tests/amqp/test_poison.py::test_what_was_sent_is_stored_rejected_or_a_dead_letter",
    ),
    Mutant(
        "returns-pass-as-confirmed", "1 durable", "amqp/outlet.py",
        "on_return_raises=True", "on_return_raises=False",
        "tests/amqp/test_publisher.py::test_a_message_without_a_queue_is_returned_and_not_lost",
    ),
    Mutant(
        "letter-not-confirmed", "1 durable", "amqp/session.py",
        "            if fate is Fate.CONFIRMED:\n", "            if fate is not None:\n",
        "tests/amqp/test_poison.py::test_without_a_queue_for_dead_letters_poison_is_held",
    ),
    Mutant(
        "a-retry-overtakes", RESTART, "engine/tenant.py",
        "if submission.after is not None and submission.after.failed:", "if False:",
        "tests/amqp/test_faults.py::test_a_retry_never_overtakes",
    ),
    Mutant(
        "more-acknowledged-than-done", "1 durable", "amqp/acks.py",
        "        while top + 1 in fresh or top + 1 in self._beyond:\n            top += 1\n",
        "        top = max(top, *tags)\n",
        "tests/amqp/test_pure.py::"
        "test_acknowledgements_cover_what_is_done_and_nothing_else",
    ),
    Mutant(
        "the-payloads-sensor-counts", "4 apart", "wire/rows.py",
        'item = item | {"sensor": self._sensor}', 'item = {"sensor": self._sensor} | item',
        "tests/amqp/test_pure.py::"
        "test_a_sensor_comes_from_the_topic_never_from_the_payload",
    ),
    Mutant(
        "every-topic-is-open", "4 apart", "amqp/mqtt.py",
        r'return rf"^v1\.{tenant_id}\..+\.readings$"', r'return rf"^v1\..+\.readings$"',
        "tests/amqp/test_mqtt.py::test_another_tenants_topic_is_refused",
    ),
    Mutant(
        "one-tenants-poison-stops-all", "4 apart", "amqp/poison.py",
        "self.per_minute + 1 if tenant_id is None else self.per_tenant", "self.per_minute + 1",
        "tests/amqp/test_poison.py::test_one_tenants_poison_does_not_stop_the_others",
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
