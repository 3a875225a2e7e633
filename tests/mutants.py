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
EVIDENCE = "tests/rules/test_evidence.py::"
EXPLAIN = "tests/rules/test_explaining.py::"
MEMORY = "tests/engine/test_memory.py::"
SILENCE = "tests/engine/test_silence.py::"
GROUPS = "tests/rules/test_groups.py::"
SILENT = "tests/rules/test_silent.py::"
LATENESS = "tests/engine/test_lateness.py::"
INFLUX = "tests/http/test_influx.py::"
ACCESS = "tests/http/test_access.py::"
TOKENS = "tests/security/test_tokens.py::"
LOGIN = "tests/http/test_login.py::"
PLATFORM = "tests/cli/test_users.py::"
SECRET = "tests/test_token_secret.py::"
THROTTLE = "tests/http/test_throttle.py::"
TENANTS = "tests/http/test_tenants.py::"
WALLS = "tests/http/test_walls.py::"
AUDIT = "tests/storage/test_audit.py::"
ROLLUPS = "tests/storage/test_rollups.py::"
EXPIRY = "tests/storage/test_expiry.py::"
PARSERS = "tests/engine/test_parsers.py::"
OUTGOING = "tests/http/test_outgoing.py::"
STALLS = "tests/http/test_stalls.py::"
ONCE = "tests/http/test_once.py::"
ASKED = "tests/http/test_asked.py::"
CONDITIONS = "tests/http/test_conditions.py::"
RATES = "tests/http/test_rates.py::"
TICKETS = "tests/http/test_tickets.py::"
PEERS = "tests/http/test_peers.py::"
RESUME = "tests/http/test_resume.py::"
ERASURE = "tests/http/test_erasure.py::"
ARCHIVE = "tests/http/test_archive.py::"
MAILS = "tests/notify/test_delivery.py::"
SMTP = "tests/notify/test_smtp.py::"
DOCS = "tests/http/test_docs.py::"
OPENAPI = "tests/house/test_openapi.py::"
EXAMPLES = "tests/http/openapi/test_examples.py::"
CANARIES = "tests/http/test_canaries.py::"
AROUND = "tests/http/openapi/test_around.py::"
CORPUS = "tests/http/test_corpus.py::test_each_bad_request_has_its_answer_and_leaves_nothing"

TOLD = "9 told as it is"
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
        "fresh[1:] &= (rows.ts[1:]", "fresh[1:] |= (rows.ts[1:]",
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
        "    await _warm(store, state, threads)\n", "",
        ROAD + "test_a_restart_is_no_restart",
    ),
    Mutant(
        "memory-stays-ahead", "3 restart", "engine/flush.py",
        "        work.incarnation.break_off()\n", "        pass\n",
        ENGINE + "test_a_long_outage_fails_every_uncommitted_batch_and_memory_is_rebuilt",
    ),
    Mutant(
        "dropped-by-one-clock", "1 durable", "storage/migrations/0014_retention.expand.sql",
        "IF until IS NULL OR until > now() - age_us * interval '1 microsecond' THEN",
        "IF until IS NULL THEN",
        "tests/storage/test_partitions.py::test_a_clock_that_leaps_forward_drops_nothing",
    ),
    Mutant(
        "dropped-without-a-margin", "1 durable", "storage/partitions.py",
        "age_us = now - oldest + SPARED_US", "age_us = now - oldest",
        "tests/storage/test_conformance.py"
        "::test_what_lies_before_the_retention_is_dropped_with_days_to_spare",
    ),
    Mutant(
        "policy-dropped", "4 apart", "storage/migrations/0001_base.expand.sql",
        "USING (tenant_id = (SELECT nullif(", "USING (true OR tenant_id = (SELECT nullif(",
        POSTGRES + "test_the_application_role_sees_its_tenant_alone",
    ),
    Mutant(
        "tenant-not-set", "4 apart", "storage/database.py",
        "(_AS_TENANT, str(tenant_no)",
        '(_AS_TENANT, "1"',
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
        "if size > line.credit:", "if False:",
        "tests/engine/test_group.py::test_a_flood_leaves_room_for_others",
    ),
    Mutant(
        "alerts-weigh-nothing", "4 apart", "engine/messages.py",
        "STEP_ROWS = 25", "STEP_ROWS = 0",
        "tests/engine/test_group.py::test_alerts_weigh_more_than_readings",
    ),
    Mutant(
        "alerts-without-end-in-one-commit", "4 apart", "engine/judge.py",
        "left.value, arrived, most_steps)", "left.value, arrived, 1_000_000)",
        GROUPS + "test_parts_change_nothing",
    ),
    Mutant(
        "waiting-rows-stored-before-what-is-judged", "3 restart, 6 one fold", "engine/judge.py",
        "if done == len(ready):", "if True:",
        "tests/engine/test_parts.py::test_a_commit_lost_between_parts_changes_nothing",
    ),
    Mutant(
        "closings-without-end-in-one-commit", "4 apart", "engine/editor.py",
        "reason=edited.closes, most=most", "reason=edited.closes",
        "tests/engine/test_parts.py::test_many_alerts_are_cleared_and_closed_in_parts",
    ),
    Mutant(
        "refused-at-the-gate-is-silence", RESTART, "engine/gate.py",
        "            self._listening.of(tenant_no).refuse(batch.sensors)\n", "",
        "tests/engine/test_silence.py::test_who_is_refused_at_the_gate_is_not_silent",
    ),
    Mutant(
        "repeats-before-their-reading", "2 stored once", "engine/judge.py",
        "olds = repeats if is_last else", "olds = repeats if True else",
        GROUPS + "test_parts_change_nothing",
    ),
    Mutant(
        "a-dead-letter-forgets-what-follows", "1 durable", "storage/engine_store.py",
        "        *item.following,\n", "",
        "tests/storage/test_postgres.py::test_a_dead_letter_keeps_what_follows",
    ),
    Mutant(
        "first-come-first-served", "4 apart", "engine/group.py",
        "tenant = work.item.tenant_no\n", "tenant = TenantNo(0)\n",
        "tests/engine/test_group.py::test_nobody_waits_for_more_than_a_turn_of_each_other",
    ),
    Mutant(
        "bucket-never-empty", "4 apart", "engine/quota.py",
        "self._tokens -= tokens", "self._tokens -= 0 * tokens",
        "tests/http/test_quotas.py::"
        "test_a_tenant_beyond_its_quota_is_refused_and_others_are_not",
    ),
    Mutant(
        "one-bucket-for-all", "4 apart", "engine/quota.py",
        "yield _Limit(READINGS, tenant_no, rate)", "yield _Limit(READINGS, TenantNo(0), rate)",
        "tests/http/test_quotas.py::"
        "test_a_tenant_beyond_its_quota_is_refused_and_others_are_not",
    ),
    Mutant(
        "quota-asked-after-the-body", "4 apart", "http/turnstile.py",
        "        try:\n            self.ask(principal)\n        except QuotaUsedUp as refused:\n"
        "            paid",
        "        try:\n            pass\n        except QuotaUsedUp as refused:\n            paid",
        "tests/http/test_quotas.py::test_a_body_beyond_the_quota_is_not_read",
    ),
    Mutant(
        "slow-rules-in-the-loop", "4 apart", "engine/threads.py",
        "if ns < LONG_NS:", "if True:",
        "tests/engine/test_threads.py::test_slow_rules_of_one_tenant_stall_no_other",
    ),
    Mutant(
        "quarantines-end-together", "4 apart", "engine/supervise.py",
        "JITTER = 0.2", "JITTER = 0.0",
        ENGINE + "test_many_that_crash_together_do_not_come_back_together",
    ),
    Mutant(
        "quarantine-of-all", "4 apart", "engine/gate.py",
        "        quarantine = None if supervisor is None else supervisor.quarantine\n",
        "        quarantine = next((s.quarantine for s in self._tenants.values()), None)\n",
        ENGINE + "test_a_crashing_actor_is_rebuilt_then_quarantined_alone",
    ),
    Mutant(
        "no-limit-of-bodies", "5 bounded", "http/asgi.py",
        "if len(body) + len(part) > most_bytes:", "if len(body) > 1 << 40:",
        "tests/http/test_connections.py::test_a_body_beyond_the_limit_closes_the_connection",
    ),
    Mutant(
        "no-limit-of-inflating", "5 bounded", "wire/inflate.py",
        "stream.decompress(body, room + 1)", "stream.decompress(body)[: room]",
        "tests/wire/test_inflate.py::test_a_bomb_is_too_large_before_it_is_large",
    ),
    Mutant(
        "a-dead-database-is-waited-for", "5 bounded", "storage/pulse.py",
        "if self.answers and not answers:", "if False:",
        "tests/storage/test_outage.py::"
        "test_a_dead_network_is_answered_at_once_and_forgotten_when_it_is_back",
    ),
    Mutant(
        "an-outage-keeps-waiting", "5 bounded", "engine/outage.py",
        "receipt.give_up()", "pass",
        ENGINE + "test_an_outage_lets_nobody_in_and_keeps_nobody_waiting",
    ),
    Mutant(
        "refused-at-the-inbox-keeps-its-room", "5 bounded", "engine/gate.py",
        "        message.receipt.fail(error)\n        raise\n", "        raise\n",
        ENGINE + "test_what_comes_while_a_tenant_is_forgotten_takes_no_room",
    ),
    Mutant(
        "an-outage-lets-in", "5 bounded", "engine/gate.py",
        "self._outage.admit()", "",
        ENGINE + "test_an_outage_lets_nobody_in_and_keeps_nobody_waiting",
    ),
    Mutant(
        "connections-without-bounds", "5 bounded", "http/connection.py",
        "if not self.crowd.enter(address):", "if self.crowd.enter(address) is None:",
        "tests/http/test_sockets.py::test_a_flood_of_connections_is_refused_and_leaves_room",
    ),
    Mutant(
        "body-of-a-refused-request-left-unread", "5 bounded", "http/asgi.py",
        "        await incoming.discard()\n    except ClientGone:",
        "        pass\n    except ClientGone:",
        "tests/http/test_sockets.py::test_a_refusal_wedges_no_connection",
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
        "        state.rules.listen_from(self.hearing.since)\n", "",
        SILENCE + "test_our_own_absence_is_nobodys_silence",
    ),
    Mutant(
        "our-stall-counts-as-silence", RESTART, "engine/listening.py",
        "DEAF_S = 2.0", "DEAF_S = 1e9",
        SILENCE + "test_a_stall_of_ours_is_nobodys_silence",
    ),
    Mutant(
        "a-stall-begins-everybodys-silence-anew", "4 apart", "rules/absence.py",
        "    later: Int64s = heard + after[first] - within\n",
        "    later: Int64s = np.maximum(heard, ended[-1])\n",
        SILENCE + "test_a_stall_is_left_out_of_a_silence_and_does_not_end_it",
    ),
    Mutant(
        "every-slow-commit-is-deaf-from-its-beginning", "4 apart", "engine/listening.py",
        "        self.stalls.begin(trio.current_time() + DEAF_S)\n",
        "        self.stalls.begin(trio.current_time())\n",
        SILENCE + "test_silence_goes_on_where_every_commit_is_slow",
    ),
    Mutant(
        "those-who-gave-up-wait-for-a-minute", RESTART, "engine/gate.py",
        "                self._lost.set()\n", "                pass\n",
        SILENCE + "test_after_an_outage_idle_tenants_wake_within_seconds",
    ),
    Mutant(
        "an-outage-counts-as-silence", RESTART, "engine/gate.py",
        "            self._listening.unanswered()\n", "",
        SILENCE + "test_who_is_turned_away_before_us_is_not_silent",
    ),
    Mutant(
        "what-a-crash-loses-counts-as-silence", RESTART, "engine/supervise.py",
        "            self.listening.of(self.tenant_no).refuse(message.batch.sensors)\n",
        "            pass\n",
        SILENCE + "test_who_is_refused_in_a_crash_is_not_silent",
    ),
    Mutant(
        "what-is-refused-for-new-sensors-counts-as-silence", RESTART, "engine/admission.py",
        "            self.hearing.refuse(batch.sensors)\n", "",
        MEMORY + "test_only_what_is_refused_is_not_silent",
    ),
    Mutant(
        "what-waits-is-not-foreseen", "5 bounded", "rules/reorder.py",
        "    if not (lateness_us > 0).any():", "    if True:",
        MEMORY + "test_a_lateness_that_would_take_too_much_is_refused",
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
        GROUPS + "test_what_held_for_just_that_time_opens",
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
        "fresh = rows.ts > table.newest", "fresh = rows.ts >= table.newest",
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
        "return -(-at // GRID_US) * GRID_US", "return at // GRID_US * GRID_US",
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
        "older-readings-prove-life", FOLD, "rules/silent.py",
        "found.append(mine[ts[mine] > newest[:-1]])", "found.append(mine)",
        SILENT + "test_an_older_reading_is_no_sign_of_life",
    ),
    Mutant(
        "full-tenants-go-on-growing", "5 bounded", "engine/admission.py",
        "        if held <= limit:", "        if joining <= limit:",
        MEMORY + "test_a_return_from_rest_stays_within_the_bound",
    ),
    Mutant(
        "windows-filled-beyond-the-bound", "5 bounded", "engine/recover.py",
        "            if state.is_full:\n                return\n", "",
        MEMORY + "test_a_return_from_rest_stays_within_the_bound",
    ),
    Mutant(
        "refusals-count-as-silence", RESTART, "engine/admission.py",
        "            self.hearing.own.begin(trio.current_time())\n", "            pass\n",
        MEMORY + "test_what_a_question_is_told_while_nothing_is_taken",
    ),
    Mutant(
        "season-out-of-reach", RESTART, "rules/program.py",
        "seasons = seasons + np.where(seasons > 0, mine[:, W_WIDTH], 0)", "seasons = seasons * 0",
        RULES + "test_a_season_is_the_same_after_a_crash_and_in_any_batch",
    ),
    Mutant(
        "any-season-ago-will-do", FOLD, "rules/scanning.py",
        "if before - width < words[found] <= before:", "if words[found] <= before:",
        RULES + "test_seasonal_scores_are_those_of_the_oracle",
    ),
    Mutant(
        "residuals-of-the-wrong-reading", FOLD, "rules/scanning.py",
        "+ RESIDUALS <= position:", "+ RESIDUALS < position:",
        RULES + "test_seasonal_scores_are_those_of_the_oracle",
    ),
    Mutant(
        "state-changes-not-packed", RESTART, "rules/states.py",
        "        return self._pack(places)\n\n    def dump", "        return b\"\"\n\n    def dump",
        RULES + "test_a_crash_anywhere_changes_no_bit",
    ),
    Mutant(
        "evidence-taken-after-the-batch", FOLD, "rules/kernel.py",
        "        if opening and counts[2]:\n            return i, OPENING, 0\n", "",
        EVIDENCE + "test_many_readings_are_thinned_without_losing_the_extremes",
    ),
    Mutant(
        "evidence-of-a-flapping-rule-without-bounds", "4 apart, 5 bounded", "rules/evidence.py",
        "    if again and count > FEW_READ:", "    if False:",
        EVIDENCE + "test_a_rule_that_flaps_over_a_long_window_is_not_walked_through_each_time",
    ),
    Mutant(
        "late-readings-of-a-later-batch-counted", RESTART, "storage/evidence.py",
        " AND r.late AND r.received_at <= w.arrived", " AND r.late",
        POSTGRES + "test_late_readings_of_a_later_batch_are_not_evidence",
    ),
    Mutant(
        "explained-at-the-time-of-its-own-metrics", FOLD, "rules/measuring.py",
        "self._rules.add_series(0, metric, self.clock)", "self._rules.add_series(0, metric, None)",
        EXPLAIN + "test_values_truth_and_state_are_those_of_the_engine",
    ),
    Mutant(
        "earliest-forgets-the-silence", FOLD, "rules/earliest.py",
        "if since is None or begin - last > spec.gap_us:", "if since is None:",
        EXPLAIN + "test_no_alert_opens_before_the_earliest_time_and_one_does_then",
    ),
    Mutant(
        "lets-out-at-just-the-lateness", FOLD, "rules/chains.py",
        "(words[head + B_SPAN] >> 4)] < before", "(words[head + B_SPAN] >> 4)] <= before",
        LATENESS + "test_disorder_of_just_the_lateness_is_still_in_time",
    ),
    Mutant(
        "a-repetition-waits-too", "2 stored once, 6 one fold", "rules/chains.py",
        "            return -1\n    if end - begin == ROWS:",
        "            pass\n    if end - begin == ROWS:",
        LATENESS + "test_disorder_of_just_the_lateness_is_still_in_time",
    ),
    Mutant(
        "a-block-linked-one-way", FOLD, "rules/chains.py",
        "            words[after + B_PREV] = other\n", "            pass\n",
        "tests/rules/test_reorder.py::test_rows_leave_in_order_once_and_all_of_them",
    ),
    Mutant(
        "judged-not-committed", RESTART, "storage/commit.py",
        "[pack_times(item.judged) for", "[pack_times(item.newest) for",
        "tests/http/test_lateness.py::test_what_waits_is_found_again_after_every_batch",
    ),
    Mutant(
        "registered-without-the-lease", RESTART, "engine/registrar.py",
        "        await editor.send(item, request.receipt, lambda _: request.receipt.settle(names))",
        "        request.receipt.settle(names)",
        "tests/engine/test_handover.py::"
        "test_who_has_been_superseded_does_not_say_that_a_sensor_is_registered",
    ),
    Mutant(
        "registered-behind-ones-back", RESTART, "engine/registrar.py",
        "if len(rows) == len(new):", "if True:",
        "tests/engine/test_handover.py::"
        "test_a_sensor_registered_behind_ones_back_is_known_when_it_is_asked_for_again",
    ),
    Mutant(
        "waiting-not-found-again", RESTART, "engine/recover.py",
        "        await _wait_again(store, state, state.reorder)\n", "        pass\n",
        LATENESS + "test_a_crash_anywhere_changes_no_bit_though_readings_wait",
    ),
    Mutant(
        "windows-warm-beyond-what-was-judged", RESTART, "engine/recover.py",
        "newest = table.newest if state.reorder is None else state.reorder.judged",
        "newest = table.newest",
        LATENESS + "test_a_crash_anywhere_changes_no_bit_though_readings_wait",
    ),
    Mutant(
        "heard-out-of-order", RESTART, "engine/judge.py",
        "rules.hear(heard, arrived)", "rules.hear(stored.slot, arrived)",
        LATENESS + "test_a_sensor_is_heard_when_its_reading_arrives",
    ),
    Mutant(
        "a-change-leaves-what-waits", FOLD, "engine/state.py",
        "ready = self.reorder.drain(sensor)", "ready = self.reorder.drain(-1)",
        LATENESS + "test_a_change_of_lateness_judges_what_waits",
    ),
    Mutant(
        "an-order-of-arrival-taken-for-known", FOLD, "engine/feed.py",
        "(self._asked - self.lateness)[rows.series]", "self._asked[rows.series]",
        "tests/rules/test_backtest.py::test_a_feed_keeps_the_order_of_arrival_of_readings_out_of_order",
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
        "a-tenant-over-several-queues", "3 restart, 6 one fold", "amqp/topology.py",
        "crc32(address.encode()) % shards", '__import__("random").randrange(shards)',
        "tests/amqp/test_road.py::test_a_tenants_order_is_kept",
    ),
    Mutant(
        "no-quota-over-mqtt", "4 apart", "amqp/lane.py",
        "if not delivery.paid and self._debt_s(quota) > 0:", "if False:",
        "tests/amqp/test_quotas.py::test_a_flood_through_the_broker_holds_up_nobody_else",
    ),
    Mutant(
        "who-is-over-quota-keeps-the-queue", "4 apart", "amqp/lane.py",
        "        if self.waiting:\n            self.backlog.add",
        "        if False:\n            self.backlog.add",
        "tests/amqp/test_quotas.py::test_a_flood_through_the_broker_holds_up_nobody_else",
    ),
    Mutant(
        "what-was-put-off-is-forgotten", "1 durable", "amqp/session.py",
        "                self.wake(backlog)\n", "",
        "tests/amqp/test_quotas.py::test_what_was_put_off_is_found_again_and_goes_first",
    ),
    Mutant(
        "what-another-has-in-hand-is-deleted", "1 durable", "amqp/later.py",
        "if state == (0, 0):", "if not state[0]:",
        "tests/amqp/test_later.py::test_what_another_connection_has_in_hand_is_not_deleted",
    ),
    Mutant(
        "a-device-says-which-message-it-is", "4 apart", "amqp/messages.py",
        "OURS_ALONE = {MESSAGE_ID, PAID, FIRST_SEEN, REASON, STAGE, EXC_CLASS, DETAIL, ATTEMPTS}",
        "OURS_ALONE = {PAID}",
        "tests/amqp/test_forged.py::test_a_devices_word_for_itself_counts_nothing",
    ),
    Mutant(
        "what-was-put-off-is-overtaken", "3 restart, 6 one fold", "amqp/lane.py",
        "if not self.backlog.empty:", "if False:",
        "tests/amqp/test_quotas.py::test_what_was_put_off_is_found_again_and_goes_first",
    ),
    Mutant(
        "held-without-a-bound-of-bytes", "5 bounded", "amqp/window.py",
        "return not self.held or self.held + size <= self.limit", "return True",
        "tests/amqp/test_faults.py::test_large_messages_are_held_by_their_bytes",
    ),
    Mutant(
        "let-go-and-overtaken", "3 restart, 6 one fold", "amqp/window.py",
        "if self._let_go or self._asked or not self._has_room(size):",
        "if not self._has_room(size):",
        "tests/amqp/test_pure.py::test_a_window_bounds_bytes_and_keeps_the_order",
    ),
    Mutant(
        "the-role-http-answers-before-the-confirmation", "1 durable", "amqp/publisher.py",
        "await self._send_one(message, deadline).wait()",
        "await trio.sleep(self._send_one(message, deadline).failed)",
        "tests/amqp/test_publisher.py::test_a_message_without_a_queue_is_returned_and_not_lost",
    ),
    Mutant(
        "poison-handed-back", "1 durable", "amqp/done.py",
        "        self._waiting.append(key)\n",
        '        self._waiting += [key] if result != "poison" else []\n',
        "tests/amqp/test_poison.py::test_what_was_sent_is_stored_rejected_or_a_dead_letter",
    ),
    Mutant(
        "returns-pass-as-confirmed", "1 durable", "amqp/outlet.py",
        "on_return_raises=True", "on_return_raises=False",
        "tests/amqp/test_publisher.py::test_a_message_without_a_queue_is_returned_and_not_lost",
    ),
    Mutant(
        "letter-not-confirmed", "1 durable", "amqp/letters.py",
        "            if fate is Fate.CONFIRMED:", "            if fate is not None:",
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
    Mutant(
        "wrong-clocks-stop-all", "4 apart", "amqp/poison.py",
        "if reason in OF_ITS_DATA:", "if False:",
        "tests/amqp/test_poison.py::test_clocks_that_are_wrong_stop_nobody",
    ),
    Mutant(
        "few-that-are-poison-stop-all", "4 apart", "amqp/poison.py",
        " and poison > self.share * (poison + good)", "",
        "tests/amqp/test_pure.py::test_poison_is_too_much_when_it_is_most_of_what_comes",
    ),
    Mutant(
        "letters-without-a-share", "4 apart, 5 bounded", "amqp/letters.py",
        "if not each.promised and not self.share.allows(",
        "if False and not self.share.allows(",
        "tests/amqp/test_poison.py::test_a_tenants_share_of_the_letters_bounds_what_is_kept",
    ),
    Mutant(
        "a-full-queue-of-letters-stops-all", "4 apart", "amqp/letters.py",
        "return not each.promised and kept >= self.limits.letters_kept", "return False",
        "tests/amqp/test_poison.py::test_a_full_queue_of_letters_stops_nobody_and_is_said",
    ),
    Mutant(
        "a-full-queue-for-later-stops-all", "4 apart", "amqp/backlog.py",
        "            return await self._bury_first()\n        messages",
        "            return 0\n        messages",
        "tests/amqp/test_quotas.py::test_a_full_queue_for_later_holds_up_nobody",
    ),
    Mutant(
        "longer-than-the-broker-takes", "1 durable, 4 apart", "amqp/columns.py",
        "if len(whole) <= max_bytes or len(batch) == 1:", "if True:",
        "tests/amqp/test_publisher.py::"
        "test_a_batch_written_anew_is_taken_however_long_it_becomes",
    ),
    Mutant(
        "letters-longer-than-the-broker-takes", "4 apart", "amqp/messages.py",
        "if len(data) > max_bytes:", "if False:",
        "tests/amqp/test_pure.py::test_a_letter_is_never_larger_than_the_broker_takes",
    ),
    Mutant(
        "not-now-is-never", "1 durable", "amqp/lane.py",
        "patient = now - backlog.refused_since < self.session.limits.not_now_s", "patient = False",
        "tests/amqp/test_not_now.py::"
        "test_rows_that_need_more_new_months_than_may_be_opened_are_stored_later",
    ),
    Mutant(
        "a-line-refused-in-part-is-forgotten", "1 durable", "amqp/lane.py",
        "if id(reject) not in unread)",
        "if reject.index not in {bad.index for bad in each.batch.rejects})",
        "tests/amqp/test_poison.py::"
        "test_a_line_that_the_engine_refuses_is_a_letter_though_a_field_of_it_is_bad",
    ),
    Mutant(
        "acknowledged-before-its-letter", "1 durable", "amqp/lane.py",
        "                self.session.split(each.delivery)\n", "                pass\n",
        "tests/amqp/test_not_now.py::"
        "test_what_is_refused_for_good_is_a_letter_before_the_rest_is_acknowledged",
    ),
    Mutant(
        "acknowledgements-overtake-each-other", "4 apart", "amqp/done.py",
        "                async with self._sending:\n", "                if True:\n",
        "tests/amqp/test_done.py::test_one_lot_never_overtakes_another",
    ),
    Mutant(
        "acknowledgements-forgotten-in-silence", "1 durable", "amqp/done.py",
        "if scope.cancelled_caught:", "if False:",
        "tests/amqp/test_done.py::test_what_the_broker_does_not_take_ends_the_session",
    ),
    Mutant(
        "inflated-bytes-for-nothing", "4 apart, 5 bounded", "amqp/intake.py",
        "self.max_bytes, principal.quota\n", "self.max_bytes\n",
        "tests/amqp/test_intake.py::test_bytes_are_paid_as_they_are_inflated",
    ),
    Mutant(
        "an-answer-taken-for-room", "1 durable", "amqp/consumer.py",
        "await self.gate.probe()", "await self.queries.ping()",
        "tests/amqp/test_faults.py::"
        "test_a_database_that_answers_and_takes_nothing_is_waited_for",
    ),
    Mutant(
        "a-full-disk-has-room-for-a-row", "1 durable", "storage/commit.py",
        '    await connection.execute("TRUNCATE write_probe")\n', "",
        POSTGRES + "test_a_probe_leaves_nothing_and_sees_what_a_commit_would",
    ),
    Mutant(
        "an-erasure-taken-for-an-outage", "4 apart", "engine/supervise.py",
        "await self._give_up(actor, TenantErased(), ", "await self._give_up(actor, Unavailable(), ",
        "tests/amqp/test_forget.py::test_what_comes_of_a_tenant_that_is_erased_is_thrown_away",
    ),
    Mutant(
        "letters-of-who-is-erased", "9 people", "amqp/tenants.py",
        "        if erasure is not None:\n", "        if False:\n",
        "tests/amqp/test_forget.py::test_what_comes_of_a_tenant_that_is_erased_is_thrown_away",
    ),
    Mutant(
        "an-answered-letter-of-who-is-erased", "9 people", "amqp/lane.py",
        "            except TenantErased:  #", "            except KeyError:  #",
        "tests/amqp/test_forget.py::test_what_comes_of_a_tenant_that_is_erased_is_thrown_away",
    ),
    Mutant(
        "who-is-erased-is-buried", "9 people", "engine/flush.py",
        "if len(part) == 1 and isinstance(error, TenantGone):", "if False:",
        ENGINE + "test_who_is_erased_is_told_so_and_not_to_try_again",
    ),
    Mutant(
        "who-is-gone-has-no-quota", "9 people", "storage/queries.py",
        "return Quota(suspended=True) if row", "return Quota() if row",
        "tests/amqp/test_forget.py::test_what_comes_of_a_tenant_that_is_erased_is_thrown_away",
    ),
    Mutant(
        "shards-counted-by-their-queues", "3 restart, 6 one fold", "amqp/topology.py",
        "await channel.declare_exchange(shard_name(count), passive=True)",
        "await channel.declare_queue(shard_name(count), passive=True)",
        "tests/amqp/test_commands.py::test_a_shard_that_was_deleted_is_named_and_made_anew",
    ),
    Mutant(
        "a-paused-process-keeps-the-lease", "1 durable", "storage/commit.py",
        "SELECT pg_terminate_backend(pid, 2000) FROM", "SELECT pid FROM",
        "tests/storage/test_postgres.py::"
        "test_the_lease_is_taken_from_a_process_that_is_paused_in_the_middle_of_its_rows",
    ),
    Mutant(
        "a-topic-that-is-no-text-ends-all", "4 apart", "amqp/lenient.py",
        '"shortstr": _short_text, ', "",
        "tests/amqp/test_mqtt.py::test_a_topic_that_is_no_text_stops_nobody",
    ),
    Mutant(
        "letters-one-at-a-time", "4 apart", "amqp/letters.py",
        "AT_ONCE = 256", "AT_ONCE = 1",
        "tests/amqp/test_mqtt.py::test_one_devices_poison_holds_up_no_other",
    ),
    Mutant(
        "who-stops-sending-gets-nothing", "1 durable", "http/asgi.py",
        "        if path not in LONG_ANSWERS:\n", "        if False:\n",
        "tests/http/test_connections.py::test_whoever_has_only_stopped_sending_gets_the_answer",
    ),
    Mutant(
        "who-is-erased-is-visited", "9 people", "http/auth.py",
        "if await self.sessions.people.erasure(tenant_id) is not None:", "if False:",
        ERASURE + "test_nobody_visits_who_is_being_erased",
    ),
    Mutant(
        "a-key-is-replaced-again", "9 people", "storage/keys.py",
        '    if was["replaced_at"] is not None:', "    if False:",
        "tests/http/test_api_keys.py::test_a_key_is_replaced_once",
    ),
    Mutant(
        "nobody-looks-after-all", "9 people", "storage/users.py",
        "    if user.platform and user.user_id in admins and not any(others.values()):",
        "    if False:",
        "tests/http/test_users.py::test_somebody_looks_after_all",
    ),
    Mutant(
        "a-link-for-the-disabled", "9 people", "storage/users.py",
        "    if user.disabled_at is not None:\n        raise", "    if False:\n        raise",
        "tests/http/test_users.py::test_who_is_disabled_is_sent_no_link",
    ),
    Mutant(
        "nobody-is-left-above", "9 people", "storage/users.py",
        "        if not platform:\n            _check_not_last(admins, user)\n", "",
        PLATFORM + "test_several_look_after_all_tenants",
    ),
    Mutant(
        "a-former-session-looks-after-all", "9 people", "storage/users.py",
        "        await end_access_aio(connection, user.user_id)\n", "",
        PLATFORM + "test_several_look_after_all_tenants",
    ),
    Mutant(
        "anybody-looks-after-all", "9 people", "storage/users.py",
        "if platform and user.user_id not in admins:", "if False:",
        PLATFORM + "test_who_may_not_look_after_all_tenants",
    ),
    Mutant(
        "another-tenants-user-looks-after-all", "9 people", "storage/users.py",
        'if rows[0]["tenant_id"] != tenant_no:', "if False:",
        PLATFORM + "test_who_may_not_look_after_all_tenants",
    ),
    Mutant(
        "another-tenants-mail-is-wiped", "9 people", "storage/sessions.py",
        "WHERE (tenant_id, recipient) = (SELECT tenant_id, email FROM",
        "WHERE recipient = (SELECT email FROM",
        PLATFORM + "test_who_may_not_look_after_all_tenants",
    ),
    Mutant(
        "nobody-gets-the-invitation", "9 people", "http/users.py",
        "if not email.isascii():", "if False:",
        "tests/http/test_users.py::test_an_address_that_no_mail_reaches_is_refused",
    ),
    Mutant(
        "a-mistyped-filter-seems-to-work", TOLD, "http/app.py",
        "            check_asked(request.method, request.url_rule.rule)\n", "",
        ASKED + "test_a_parameter_that_there_is_not_is_refused_at_every_route",
    ),
    Mutant(
        "a-mistyped-precision-is-milliseconds", TOLD, "http/faces.py",
        "        check_known(asked, JSON_PARAMETERS)\n", "",
        ASKED + "test_what_there_is_goes_on",
    ),
    Mutant(
        "a-key-acts-as-somebody", "9 people", "storage/audit.py",
        " AND actor LIKE 'user:%'", "",
        "tests/http/test_audit.py::test_it_is_searched",
    ),
    Mutant(
        "fields-that-there-are-not-told", TOLD, "http/bodies.py",
        "; there are: {known}", "",
        "tests/http/test_bodies.py"
        "::test_a_field_that_nobody_knows_is_refused_with_those_that_there_are",
    ),
    Mutant(
        "a-user-for-nobodys-devices", "9 people", "cli/broker.py",
        "    if not known:\n", "    if False:\n",
        "tests/amqp/test_commands.py::test_a_user_for_nobodys_devices_is_not_made",
    ),
    Mutant(
        "mails-without-bound", "5 bounded", "storage/users.py",
        "    if to_one >= MAILS_TO_ONE or to_all >= MAILS_TO_ALL:", "    if False:",
        "tests/http/test_users.py::test_mails_to_an_address_are_few",
    ),
    Mutant(
        "a-password-of-the-visited", "9 people", "http/login.py",
        "            login.tenant_no, login.user_id,",
        "            principal.tenant_no, login.user_id,",
        "tests/http/test_passwords.py::"
        "test_who_visits_another_tenant_changes_the_own_password",
    ),
    Mutant(
        "mails-first-come", "4 apart", "storage/migrations/0023_mails.expand.sql",
        "ORDER BY q.turn, o.next_try_at", "ORDER BY o.next_try_at",
        MAILS + "test_tenants_take_turns",
    ),
    Mutant(
        "frames-without-end", "4 apart", "http/frames.py",
        "        return self._spare >= 0", "        return True",
        "tests/http/test_ingest_socket.py::test_a_flood_of_frames_that_say_nothing_is_cut_off",
    ),
    Mutant(
        "pinged-when-gone", "4 apart", "http/frames.py",
        "                scope.cancel()",
        "                pass",
        "tests/http/test_ingest_socket.py::test_a_client_that_left_holds_up_no_end",
    ),
    Mutant(
        "told-to-leave-and-stays", "5 bounded", "http/frames.py",
        "                    self.task_group.spawn(self._let_go)\n", "",
        "tests/http/test_ingest_socket.py::test_who_is_told_to_leave_does_not_stay",
    ),
    Mutant(
        "frames-without-turns", "4 apart", "http/frames.py",
        "            if number % TURN_FRAMES == 0:\n", "            if False:\n",
        "tests/http/test_ingest_socket.py::test_frames_give_others_their_turn",
    ),
    Mutant(
        "tiny-chunks-without-end", "4 apart", "http/incoming.py",
        "if self._parts > FREE_PARTS and", "if False and",
        "tests/http/test_stalls.py::test_a_body_of_tiny_chunks_is_refused",
    ),
    Mutant(
        "many-names-in-the-loop", "4 apart", "wire/line_protocol.py",
        "    check_hurry(hurried, reading.name_bytes(fields), MOST_NAME_BYTES)\n", "",
        "tests/engine/test_parsers.py::test_a_body_that_takes_long_is_read_beside_the_event_loop",
    ),
    Mutant(
        "a-large-body-in-the-loop", "4 apart", "wire/formats.py",
        "    check_hurry(hurried, len(body), AT_ONCE_BYTES)\n", "",
        "tests/engine/test_parsers.py::test_a_body_that_takes_long_is_read_beside_the_event_loop",
    ),
    Mutant(
        "endless-names-unescaped", "4 apart", "wire/lines.py",
        "        if len(text) > _MOST_KEY_BYTES:", "        if False:",
        "tests/wire/test_line_protocol.py::test_a_key_beyond_its_length_is_not_looked_at",
    ),
    Mutant(
        "others-headers-kept", "1 durable", "amqp/wiring.py",
        "for name, value in message.headers.items() if _is_ours(name, value)",
        "for name, value in message.headers.items()",
        "tests/amqp/test_forged.py::test_headers_of_others_hold_up_no_letter",
    ),
    Mutant(
        "given-back-while-it-delivers", "3 restart, 6 one fold", "amqp/fetched.py",
        "        for tag in list(self._open):\n            self._gone(tag)\n"
        "        await self.channel.close()\n",
        "        tags = list(self._open)\n"
        "        for tag in tags:\n            self._gone(tag)\n"
        "        driver = await self.channel.get_underlay_channel()\n"
        "        for consumer in list(driver.consumers):\n"
        "            await driver.basic_cancel(consumer)\n"
        "        for tag in tags:\n"
        "            await driver.basic_nack(tag, requeue=True, wait=False)\n",
        "tests/amqp/test_quotas.py::"
        "test_what_is_fetched_and_given_back_again_and_again_stays_in_order",
    ),
    Mutant(
        "fetched-without-a-bound-of-bytes", "5 bounded", "amqp/fetched.py",
        "return not self.held or (fits and self.held + size <= self.limit)", "return True",
        "tests/amqp/test_quotas.py::test_what_is_fetched_is_bounded_over_all_tenants",
    ),
    Mutant(
        "another-consumes-and-ready", "1 durable", "amqp/watch.py",
        "for name in now - starved:", "for name in ():",
        "tests/amqp/test_faults.py::test_a_queue_that_another_consumes_is_named",
    ),
    Mutant(
        "no-turn-and-ready", "1 durable", "amqp/turn.py",
        "    session.complain(TURN, TROUBLE)\n", "",
        "tests/amqp/test_faults.py::test_an_engine_that_waits_for_its_turn_says_so",
    ),
    Mutant(
        "a-removed-sensor-keeps-its-alerts", "6 one fold", "engine/registrar.py",
        "        closings = state.rules.forsake(slot, arrived=arrived, reason=\"sensor_deleted\")",
        "        closings = ()",
        "tests/http/test_registry.py::"
        "test_a_deleted_sensor_keeps_its_history_and_frees_its_name",
    ),
    Mutant(
        "a-removed-sensor-is-not-forgotten", "3 restart", "engine/tenant.py",
        "                    await self.registrar.remove(state, message)\n"
        "                    return None\n",
        "                    await self.registrar.remove(state, message)\n",
        "tests/http/test_registry.py::"
        "test_a_deleted_sensor_keeps_its_history_and_frees_its_name",
    ),
    Mutant(
        "deleted-sensors-fill-the-quota", "4 apart", "storage/registry.py",
        " FROM sensors WHERE deleted_at IS NULL) FROM tenants", " FROM sensors) FROM tenants",
        "tests/http/test_registry.py::test_deleted_sensors_are_no_part_of_the_quota",
    ),
    Mutant(
        "many-tags-weighed-one-by-one", "5 bounded", "rules/foresight.py",
        "            tags = retagged.get(slot)\n",
        "            tags = retagged.get(slot) if slot == 0 else None\n",
        MEMORY + "test_tags_of_many_sensors_are_weighed_together",
    ),
    Mutant(
        "a-profile-speaks-for-everybody", "4 apart", "http/profiles.py",
        "            _check_selector(rule.spec, name)\n", "            pass\n",
        "tests/http/test_registry.py::test_a_profile_speaks_for_its_own",
    ),
    Mutant(
        "seconds-are-stored-in-1970", "2 stored once", "wire/times.py",
        "EARLIEST_US = 31_536_000_000_000", "EARLIEST_US = 0",
        "tests/wire/test_readings.py::"
        "test_a_time_in_a_coarser_unit_than_said_is_refused_on_every_wire",
    ),
    Mutant(
        "lines-of-seconds-are-stored-in-1970", "2 stored once", "wire/line_protocol.py",
        "bad = (ts < EARLIEST_US)", "bad = (ts < 0)",
        "tests/wire/test_readings.py::"
        "test_a_time_in_a_coarser_unit_than_said_is_refused_on_every_wire",
    ),
    Mutant(
        "a-tag-apart-is-a-duplicate", "2 stored once", "wire/line_protocol.py",
        "if not self._names.mixed:", "if True:",
        "tests/wire/test_line_protocol.py::"
        "test_only_a_tag_between_two_readings_is_a_fault_and_not_a_duplicate",
    ),
    Mutant(
        "tags-come-after-the-first-reading", "6 one fold", "engine/admission.py",
        "self.tenant_no, unknown, self.clock.now_us(), batch.tags",
        "self.tenant_no, unknown, self.clock.now_us()",
        INFLUX + "test_rules_watch_a_sensor_by_its_tags_from_its_first_reading",
    ),
    Mutant(
        "what-may-come-later-is-dropped", "1 durable", "http/influx.py",
        'if any(reject.code == "retry_later"', 'if any(reject.code == "never"',
        INFLUX + "test_telegraf_rule_lines_that_may_come_later_are_not_dropped",
    ),
    Mutant(
        "a-socket-outlives-its-key", "4 apart", "http/sockets.py",
        "self._end(KEY_REVOKED, error.code)", "pass",
        "tests/http/test_ingest_socket.py::test_it_ends_when_its_key_no_longer_may",
    ),
    Mutant(
        "a-message-without-end-is-held", "5 bounded", "http/connection.py",
        "if self.length + len(event.data) > self.max_length:", "if False:",
        "tests/http/test_ingest_socket.py::"
        "test_a_message_beyond_the_size_is_refused_and_not_held",
    ),
    Mutant(
        "closed-by-default-forgotten", "4 apart", "http/access.py",
        '        raise Forbidden("Nobody may do this: it is not said who may.")', "        return",
        ACCESS + "test_a_route_that_says_nothing_is_closed",
    ),
    Mutant(
        "roles-not-asked", "4 apart", "http/access.py",
        "    elif not person.is_at_least(access.role):", "    elif False:",
        ACCESS + "test_each_role_and_each_scope_opens_what_the_table_says",
    ),
    Mutant(
        "header-of-a-token-is-read", "4 apart", "security/tokens.py",
        'key = self._by_header.get(token.partition(".")[0])',
        "key = next(iter(self._by_header.values()))",
        TOKENS + "test_another_header_is_never_acted_on",
    ),
    Mutant(
        "claims-not-asked", "4 apart", "security/tokens.py",
        "            registry.validate(claims)\n", "",
        TOKENS + "test_claims_that_do_not_hold_are_nobodys",
    ),
    Mutant(
        "nobodys-password-is-quick", "4 apart", "security/passwords.py",
        "    text = password.encode()\n    try:",
        "    text = password.encode()\n    if stored is None:\n        return False\n    try:",
        "tests/security/test_passwords.py::test_nobodys_password_is_compared_as_well",
    ),
    Mutant(
        "former-credentials-hold", "4 apart", "http/sessions.py",
        "            claims.version,\n        ):", "            record.version,\n        ):",
        LOGIN + "test_a_token_of_former_credentials_opens_nothing",
    ),
    Mutant(
        "a-stolen-refresh-token-works", "4 apart", "storage/sessions.py",
        "    elif not await _is_asked_again_aio(connection, token_hash, next_hash):",
        "    elif False:",
        LOGIN + "test_a_refresh_token_is_used_once",
    ),
    Mutant(
        "a-face-signs-others-people-out", "9 people", "storage/token_secrets.py",
        "if not agrees and not replace:", "if False:",
        SECRET + "test_a_face_with_another_secret_does_not_start",
    ),
    Mutant(
        "a-changed-secret-shares-none", "9 people", "storage/token_secrets.py",
        "bool(known & key_ids)", "known == key_ids",
        SECRET + "test_a_face_with_another_secret_does_not_start",
    ),
    Mutant(
        "a-new-secret-is-not-known", "9 people", "storage/token_secrets.py",
        "if known != key_ids:", "if agrees:",
        SECRET + "test_who_lost_the_data_directory_goes_on",
    ),
    Mutant(
        "asked-again-after-use", "4 apart", "storage/sessions.py",
        " AND next.used_at IS NULL", "",
        LOGIN + "test_a_lost_answer_makes_nobody_a_thief",
    ),
    Mutant(
        "a-line-of-hashing-without-end", "5 bounded", "http/hashing.py",
        "        if self._inside >= AT_ONCE + MOST_WAITING:", "        if False:",
        "tests/http/test_hashing.py::test_hashing_has_a_line_of_its_own_and_an_end",
    ),
    Mutant(
        "strangers-send-much", "5 bounded", "http/asgi.py",
        "self._read_in_time(incoming, STRANGERS_BODY_BYTES)",
        "self._read_in_time(incoming, self.max_body_bytes)",
        LOGIN + "test_strangers_send_little",
    ),
    Mutant(
        "guesses-are-quick", "4 apart", "http/throttle.py",
        "        if (wait := max(waits, default=0.0)) > 0:",
        "        if (wait := max(waits, default=0.0)) > 1e9:",
        THROTTLE + "test_guesses_get_slower",
    ),
    Mutant(
        "an-owner-is-kept-out", "4 apart", "http/throttle.py",
        "        if (account, network) not in self._used:\n            keys +=",
        "        if True:\n            keys +=",
        THROTTLE + "test_who_guesses_keeps_nobody_out",
    ),
    Mutant(
        "a-secret-of-an-example", "4 apart", "app.py",
        "    if any(is_weak(secret.encode()) for secret in secrets):", "    if False:",
        "tests/test_token_secret.py::test_one_that_could_be_guessed_is_refused",
    ),
    Mutant(
        "who-looks-after-all-is-taken-over", "4 apart", "http/users.py",
        "    if user.platform and not (", "    if False and not (",
        "tests/http/test_users.py::test_who_looks_after_all_is_not_taken_over",
    ),
    Mutant(
        "no-administrator-left", "4 apart", "storage/users.py",
        "    if user.user_id in admins and not others:", "    if False:",
        "tests/http/test_users.py::test_the_last_administrator_stays",
    ),
    Mutant(
        "a-key-without-end", "4 apart", "storage/migrations/0010_people.expand.sql",
        "\n    AND (k.expires_at IS NULL OR k.expires_at > now())", "",
        "tests/http/test_api_keys.py::test_a_key_ends",
    ),
    Mutant(
        "a-suspended-key-works", "4 apart", "http/auth.py",
        "        if record.suspended:", "        if False:",
        TENANTS + "test_a_suspended_tenant_is_out",
    ),
    Mutant(
        "anybody-visits", "4 apart", "http/auth.py",
        "        if person is None or not person.platform or self.sessions is None:",
        "        if self.sessions is None:",
        TENANTS + "test_a_visit_is_written_down_where_it_was",
    ),
    Mutant(
        "a-visit-unseen", "4 apart", "http/auth.py",
        "        await self.sessions.people.record(tenant_no, entry)\n", "",
        TENANTS + "test_a_visit_is_written_down_where_it_was",
    ),
    Mutant(
        "policy-of-people-dropped", "4 apart", "storage/migrations/0010_people.expand.sql",
        "      USING (tenant_id = (SELECT nullif(",
        "      USING (true OR tenant_id = (SELECT nullif(",
        WALLS + "test_without_the_applications_filter_the_database_shows_nothing",
    ),
    Mutant(
        "rows-for-others", "4 apart", "storage/migrations/0010_people.expand.sql",
        "      WITH CHECK (tenant_id = (SELECT nullif(",
        "      WITH CHECK (true OR tenant_id = (SELECT nullif(",
        WALLS + "test_a_row_for_another_tenant_is_refused",
    ),
    Mutant(
        "edits-leave-no-row", "4 apart", "storage/commit.py",
        "    await write_audit_aio(connection, items)\n", "",
        "tests/http/test_audit.py::test_each_change_is_written_down_with_whoever_made_it",
    ),
    Mutant(
        "a-changed-row-is-sound", "4 apart", "storage/audit.py",
        "            if chain_hash(tenant_id, row, before) != row.hash:", "            if False:",
        AUDIT + "test_a_row_that_was_changed_taken_out_or_moved_is_found",
    ),
    Mutant(
        "the-audit-is-rewritten", "4 apart", "storage/migrations/0011_audit.expand.sql",
        "GRANT SELECT, INSERT (tenant_id, actor, actor_name, action, target, detail) ON audit TO"
        " atalaia_app;",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON audit TO atalaia_app;",
        "tests/http/test_audit.py::test_the_application_only_adds",
    ),
    Mutant(
        "a-suspended-flood-is-stored", "4 apart", "amqp/lane.py",
        "            if quota.suspended and not delivery.paid:", "            if False:",
        "tests/amqp/test_quotas.py::test_a_suspended_tenants_messages_are_thrown_away",
    ),
    Mutant(
        "stale-cells-believed", "7 rollups", "buckets/plan.py",
        'fit = [part[~self._is_stale(part["at"], level)] for part in kept]', "fit = kept",
        "tests/buckets/test_cells.py::test_stored_cells_answer_as_readings_do",
    ),
    Mutant(
        "late-readings-not-noted", "7 rollups", "storage/commit.py",
        "    await write_notes_aio(connection, items, late)\n", "",
        ROLLUPS + "test_a_late_reading_is_seen_at_once_and_then_rolled_up",
    ),
    Mutant(
        "days-not-made-anew", "7 rollups", "storage/rolling.py",
        "touched[1] + PACKS_US[level] <= until", "touched[1] + PACKS_US[level] == until",
        ROLLUPS + "test_a_late_reading_is_seen_at_once_and_then_rolled_up",
    ),
    Mutant(
        "a-leap-over-the-end-of-a-day", "7 rollups", "storage/rolling.py",
        "if begin % pack_us:", "if False:",
        ROLLUPS + "test_long_silence_is_leapt_over_and_no_day_with_it",
    ),
    Mutant(
        "hours-made-of-what-is-left", "7 rollups", "storage/rolling.py",
        "gone = (both & 0xFFFFFFFF) < complete_from // HOUR_US", "gone = both < 0",
        EXPIRY + "test_what_comes_for_deleted_days_goes_and_changes_no_sum",
    ),
    Mutant(
        "deleted-by-one-clock", "1 durable", "storage/migrations/0018_tenant_retention.expand.sql",
        "IF days IS NULL OR until > now() - days * interval '1 day' THEN", "IF days IS NULL THEN",
        EXPIRY + "test_a_clock_that_leaps_forward_deletes_nothing",
    ),
    Mutant(
        "deletes-anybodys-readings", "4 apart",
        "storage/migrations/0018_tenant_retention.expand.sql",
        "WHERE r.tenant_id = tenant AND r.series_id = ANY(wanted)",
        "WHERE r.series_id = ANY(wanted)",
        EXPIRY + "test_no_series_of_another_tenant_is_deleted",
    ),
    Mutant(
        "an-export-of-many-moments", "8 questions", "http/export.py",
        "arrived=arrived,", "arrived=None,",
        "tests/http/test_export.py::test_an_export_is_of_one_moment",
    ),
    Mutant(
        "formulas-in-csv", "8 questions", "http/formats.py",
        "text = f\"'{text}\"", "pass",
        "tests/http/test_export.py::test_no_name_is_a_formula_or_breaks_a_line",
    ),
    Mutant(
        "pages-move", "8 questions", "http/sensors.py",
        "low, high = Micros(place[0]), Micros(place[1])", "low = Micros(place[0])",
        "tests/http/test_series.py::test_pages_are_of_one_and_the_same_set",
    ),
    Mutant(
        "buckets-after-the-last-date", "8 questions", "http/series.py",
        "min(self.until, Micros(LATEST_US - 1))", "self.until",
        CORPUS,
    ),
    Mutant(
        "buckets-before-the-first-reading", "8 questions", "http/series.py",
        "        if self.fill == \"none\":\n            until = min(until, newest)\n",
        "        if self.fill == \"none\":\n            until = min(until, newest)\n"
        "        until = max(until, Micros(0))\n",
        "tests/http/test_series.py::test_a_range_goes_no_further_than_readings_can",
    ),
    Mutant(
        "all-that-a-sensor-measures-at-once", "5 bounded", "http/sensors.py",
        "wanted = names[place : place + count]", "wanted = names[place:]",
        "tests/http/test_pages.py::test_the_latest_readings_of_many_metrics_come_in_pages",
    ),
    Mutant(
        "questions-without-bound", "5 bounded", "engine/turns.py",
        "if self.spent + rows > self.most:", "if False:",
        "tests/http/test_series.py::test_a_query_is_bounded_in_series_points_and_readings",
    ),
    Mutant(
        "told-before-the-commit", "1 durable", "engine/flush.py",
        "                late = await self.outcomes.commit(group_id, items)",
        "                self.broadcast.tell(items, [0] * len(items))\n"
        "                late = await self.outcomes.commit(group_id, items)",
        "tests/engine/test_broadcast.py::test_nobody_is_told_of_what_is_not_committed",
    ),
    Mutant(
        "followers-without-bound", "5 bounded", "engine/broadcast.py",
        "if self._rows > MOST_ROWS or len(self._parts) > MOST_PARTS:", "if False:",
        "tests/engine/test_broadcast.py::test_who_does_not_keep_up_is_dropped_and_holds_nothing",
    ),
    Mutant(
        "a-step-of-an-alert-twice", "8 questions", "storage/alerts.py",
        "(e.arrival, e.ordinal) > ($1, $2)", "(e.arrival, e.ordinal) >= ($1, $2)",
        "tests/http/test_stream.py::test_alerts_go_on_where_the_client_left",
    ),
    Mutant(
        "who-was-away-hears-what-comes-alone", "8 questions", "http/stream.py",
        "was_away = follower.readings and told.readings < newest", "was_away = False",
        RESUME + "test_what_came_while_the_client_was_away_comes_first",
    ),
    Mutant(
        "late-readings-are-in-no-note", "8 questions", "storage/arrivals.py",
        "    if with_old:\n", "    if False:\n",
        RESUME + "test_late_readings_are_sent_again_and_repeats_are_not",
    ),
    Mutant(
        "half-a-commit-is-taken-for-seen", "8 questions", "http/streamed_readings.py",
        "whole = whole[whole < found.received[end]]", "pass",
        RESUME + "test_a_commit_that_breaks_off_comes_again_whole",
    ),
    Mutant(
        "sent-again-and-live-too", "8 questions", "http/streamed_readings.py",
        "if part.received_at <= self._told.readings:", "if False:",
        RESUME + "test_a_commit_that_nobody_was_told_of_comes_with_the_next",
    ),
    Mutant(
        "a-gap-that-nobody-is-told-of", "8 questions", "http/streamed_readings.py",
        "if since > after:", "if False:",
        RESUME + "test_beyond_a_bound_it_is_said_what_is_left_out",
    ),
    Mutant(
        "notes-end-without-a-trace", "8 questions", "storage/arrivals.py",
        "received_at < (SELECT\"\n"
        '                " max(received_at) FROM arrivals WHERE tenant_id = $1'
        ' AND received_at < $2)",',
        'received_at < $2",',
        RESUME + "test_who_was_away_for_too_long_is_told_so",
    ),
    Mutant(
        "looking-back-without-a-rest", "5 bounded", "http/missed.py",
        "self._free_at[tenant_no] = now + REST * (now - began)", "self._free_at[tenant_no] = now",
        RESUME + "test_a_tenant_looks_back_in_turns",
    ),
    Mutant(
        "looking-back-without-bound", "5 bounded", "model/stored.py",
        "over = np.flatnonzero(back > most)", "over = np.flatnonzero(back > 10**9)",
        RESUME + "test_beyond_a_bound_it_is_said_what_is_left_out",
    ),
    Mutant(
        "looking-back-over-everything", "5 bounded", "storage/arrivals.py",
        " AND ts >= w.low AND ts <= w.high", "",
        "tests/storage/test_arrivals.py::test_looking_back_reads_no_more_than_came",
    ),
    Mutant(
        "given-up-and-forgotten", "8 questions", "engine/flush.py",
        "self.broadcast.lose(work.item for work in left)", "pass",
        "tests/engine/test_broadcast.py::"
        "test_after_a_commit_that_was_given_up_the_next_is_not_taken_to_follow",
    ),
    Mutant(
        "a-client-that-reads-nothing-stays", "5 bounded", "http/patience.py",
        "        deadline = trio.current_time() + self.stall_s\n",
        "        deadline = trio.current_time() + 1e9\n",
        STALLS + "test_whoever_reads_nothing_is_cut_off",
    ),
    Mutant(
        "a-client-that-reads-nothing-holds-the-end-up", "5 bounded", "http/server.py",
        "            patience.hurry()\n", "            pass\n",
        "tests/process/test_leaving.py::test_nobody_connected_holds_up_the_end",
    ),
    Mutant(
        "a-file-goes-on-without-its-key", "9 people", "http/downloads.py",
        "                    await _ask(ask)\n", "                    pass\n",
        "tests/http/test_downloads.py::test_it_breaks_off_when_its_key_no_longer_may",
    ),
    Mutant(
        "a-file-ends-with-its-token", "9 people", "http/sessions.py",
        "claims = self.keys.read(token, now_s=self._now_s(), begun=begun)",
        "claims = self.keys.read(token, now_s=self._now_s())",
        "tests/http/test_downloads.py::test_it_lasts_as_long_as_the_session_and_not_the_token",
    ),
    Mutant(
        "a-visit-is-many", "9 people", "http/auth.py",
        "self._visit(principal, wanted, asking)", "self._visit(principal, wanted, scope)",
        "tests/http/test_downloads.py::test_a_visit_is_one_however_long_it_lasts",
    ),
    Mutant(
        "a-new-key-without-bounds", "9 people", "storage/keys.py",
        """quota = was["readings_per_s"], was["bytes_per_s"]""",
        """quota = was["readings_per_s"], None""",
        "tests/http/test_api_keys.py::test_a_key_is_replaced_without_a_gap",
    ),
    Mutant(
        "an-invitation-is-revived", "9 people", "storage/migrations/0027_addresses.expand.sql",
        " AND u.password_hash IS NOT NULL AND", " AND",
        "tests/http/test_passwords.py::test_an_invitation_that_ended_is_not_revived",
    ),
    Mutant(
        "a-guess-costs-a-query", "9 people", "http/auth.py",
        "            self.may_look(asking)\n", "            pass\n",
        RATES + "test_guesses_cost_few_queries",
    ),
    Mutant(
        "a-lost-grant-buries-readings", "1 ack = commit", "storage/database.py",
        "(_AS_WRITER,), work, DATA)", "(_AS_WRITER,), work)",
        "tests/storage/test_outage.py::test_what_is_no_reading_s_fault_buries_none",
    ),
    Mutant(
        "deleting-leaves-no-trace", "9 people", "storage/settings.py",
        "    await write_entry_aio(connection, tenant_no, entry)\n", "    del entry\n",
        "tests/http/test_audit.py::test_each_change_is_written_down_with_whoever_made_it",
    ),
    Mutant(
        "a-key-outlives-its-end-in-an-outage", "9 people", "http/auth.py",
        "return None if ended else record", "return record",
        "tests/http/test_auth.py::test_a_key_is_believed_no_longer_than_it_holds",
    ),
    Mutant(
        "a-dump-holds-up-a-start", "5 bounded", "storage/token_secrets.py",
        "LOCK TABLE token_secrets IN SHARE ROW EXCLUSIVE MODE", "LOCK TABLE token_secrets",
        "tests/storage/test_postgres.py::test_a_dump_holds_up_neither_a_start_nor_a_probe",
    ),
    Mutant(
        "settings-lock-what-keys-look-for", "5 bounded", "storage/settings.py",
        "FOR NO KEY UPDATE", "FOR UPDATE",
        "tests/storage/test_postgres.py::test_a_dump_holds_up_neither_a_start_nor_a_probe",
    ),
    Mutant(
        "a-probe-waits-for-a-dump", "5 bounded", "storage/commit.py",
        "suppress(asyncpg.LockNotAvailableError)", "suppress(ZeroDivisionError)",
        "tests/storage/test_postgres.py::test_a_dump_holds_up_neither_a_start_nor_a_probe",
    ),
    Mutant(
        "the-last-head-is-believed", "9 people", "storage/audit.py",
        "known[head.tenant_id][head.seq].add(head.hash)",
        "known[head.tenant_id][head.seq] = {head.hash}",
        "tests/storage/test_audit.py::test_a_rewritten_chain_that_was_told_of_is_found_all_the_same",
    ),
    Mutant(
        "an-invitation-keeps-an-address", "9 people",
        "storage/migrations/0027_addresses.expand.sql",
        "(email) WHERE password_hash IS NOT NULL", "(email)",
        "tests/http/test_users.py::test_an_address_stands_for_who_chose_a_password",
    ),
    Mutant(
        "a-mailed-link-is-shown", "9 people", "http/users.py",
        """{} if mailed else {"token": link.text}""", """{"token": link.text}""",
        "tests/http/test_users.py::test_links_that_are_mailed_are_not_shown",
    ),
    Mutant(
        "our-fault-counts-as-a-guess", "9 people", "http/sessions.py",
        "            self.throttle.not_tried(email, address)\n", "",
        "tests/http/test_throttle.py::test_what_we_could_not_look_at_does_not_count",
    ),
    Mutant(
        "a-name-brings-headers", "9 people", "notify/letters.py",
        """subject.replace("=?", "= ?")""", "subject",
        "tests/notify/test_smtp.py::test_a_tenants_name_is_words_and_nothing_else",
    ),
    Mutant(
        "who-is-out-gets-a-link", "9 people", "storage/sessions.py",
        """ AND outcome IS NULL",
        user_id,
    )
""", """ AND false",
        user_id,
    )
""",
        "tests/http/test_users.py::test_who_is_out_gets_no_link",
    ),
    Mutant(
        "an-export-looks-before-its-turn", "5 bounded", "http/export.py",
        "    with turns.one(tenant_no):\n        series, scan = await look()\n",
        "    series, scan = await look()\n    with turns.one(tenant_no):\n",
        "tests/http/test_export.py::test_a_tenant_has_few_exports_under_way",
    ),
    Mutant(
        "a-file-by-drops-keeps-its-place", "5 bounded", "http/downloads.py",
        "size < waited_s * LEAST_BYTES_PER_S", "size < 0",
        "tests/http/test_downloads.py::test_whoever_takes_it_by_drops_gives_its_place_back",
    ),
    Mutant(
        "a-broken-connection-stays", "5 bounded", "http/connection.py",
        "        self._end_within(0)  #", "        await self.protocol.handle(Closed())  #",
        STALLS + "test_whoever_leaves_without_reading_leaves_nothing",
    ),
    Mutant(
        "told-although-it-does-not-listen", "5 bounded", "http/http1.py",
        "            with trio.move_on_after(DISCONNECT_S):\n", "            if True:\n",
        STALLS + "test_whoever_never_stops_sending_is_cut_off",
    ),
    Mutant(
        "room-held-by-unread-answers", "5 bounded", "http/asgi.py",
        "                if not kept:", "                if False:",
        STALLS + "test_an_answer_that_is_not_read_holds_no_room",
    ),
    Mutant(
        "answers-without-room", "5 bounded", "http/asgi.py",
        "                outgoing.begin(scope, event[\"status\"], event[\"headers\"])\n", "",
        OUTGOING + "test_answers_that_are_not_read_are_bounded",
    ),
    Mutant(
        "answers-that-were-taken-keep-their-room", "5 bounded", "http/asgi.py",
        "            outgoing.end()\n", "",
        OUTGOING + "test_answers_that_are_not_read_are_bounded",
    ),
    Mutant(
        "large-answers-by-drops", "5 bounded", "http/connection.py",
        "self.patience.held(latest)", "self.patience.held()",
        OUTGOING + "test_a_large_answer_is_taken_at_a_fair_pace",
    ),
    Mutant(
        "done-and-said-to-be-refused", TOLD, "http/outgoing.py",
        "_done(error) if _is_done(scope, status) else error", "error",
        OUTGOING + "test_what_was_done_is_told_in_short",
    ),
    Mutant(
        "http2-is-served", "5 bounded", "http/connection.py",
        "    hypercorn.protocol.H11Protocol = Http1  # type: ignore\n", "",
        "tests/http/test_http1.py::test_http2_by_prior_knowledge_is_refused",
    ),
    Mutant(
        "it-leaves-unsaid", "1 durable", "http/asgi.py",
        "        if self.sockets.leaving.is_set():\n            raise Closing\n", "",
        "tests/process/test_leaving.py::test_whoever_asks_while_it_leaves_is_told",
    ),
    Mutant(
        "bad-rows-in-the-loop", "4 apart", "wire/rows.py",
        "    if hurried and size > most:\n", "    if False:\n",
        PARSERS + "test_a_body_that_takes_long_is_read_beside_the_event_loop",
    ),
    Mutant(
        "who-sends-most-is-read-first", "4 apart", "engine/parsers.py",
        "self._lines.setdefault(tenant_no, trio.Lock())", "trio.Lock()",
        PARSERS + "test_tenants_take_turns",
    ),
    Mutant(
        "short-messages-overtake-long-ones", "2 stored once", "http/sockets.py",
        "            await parsed.wait()\n", "            await trio.lowlevel.checkpoint()\n",
        "tests/http/test_ingest_socket.py::test_a_message_that_takes_long_is_not_overtaken",
    ),
    Mutant(
        "large-pages-in-the-loop", "4 apart", "http/pages.py",
        "        if len(points) <= LARGE:\n", "        if True:\n",
        "tests/http/test_pages.py::test_a_large_page_is_written_beside_the_event_loop",
    ),
    Mutant(
        "done-twice", "9 requests", "storage/repeats.py",
        " WHERE k.claimed_at < clock_timestamp() - interval '24 hours'\"",
        " WHERE k.claimed_at < clock_timestamp()\"",
        ONCE + "test_the_same_request_again_is_the_same_answer",
    ),
    Mutant(
        "a-key-stuck-for-a-day", "9 requests", "storage/repeats.py",
        "(k.answer IS NULL AND k.fingerprint", "(false AND k.fingerprint",
        ONCE + "test_a_crash_midway_leaves_no_key_stuck",
    ),
    Mutant(
        "another-request-is-taken-for-the-same", "9 requests", "http/once.py",
        "if found.fingerprint != claim.fingerprint:", "if False:",
        ONCE + "test_another_request_under_the_same_key_is_refused",
    ),
    Mutant(
        "answers-lie-in-clear", "4 apart", "security/sealing.py",
        "return jwe.encrypt_compact(_HEADER, data, self._keys[0]).encode()", "return data",
        ONCE + "test_nobody_reads_the_answer_in_the_database",
    ),
    Mutant(
        "answers-for-another-credential", "4 apart", "http/once.py",
        'f"{principal.subject}\\n{key}"', "key",
        ONCE + "test_a_key_is_its_senders_alone",
    ),
    Mutant(
        "answers-for-whoever-may-not", "4 apart", "http/once.py",
        '            check_access(principal, "POST", route)\n', "",
        ONCE + "test_a_key_is_its_senders_alone",
    ),
    Mutant(
        "whoever-leaves-cuts-it-off", "9 requests", "http/once.py",
        "return pending.pop() if pending else await trio.sleep_forever()",
        'return pending.pop() if pending else {"type": "http.disconnect"}',
        ONCE + "test_the_same_request_again_is_the_same_answer",
    ),
    Mutant(
        "idempotency-keys-without-bound", "5 bounded", "storage/repeats.py",
        "        MOST_KEPT,\n    )", "        1 << 31,\n    )",
        ONCE + "test_a_tenant_keeps_so_many_and_no_more",
    ),
    Mutant(
        "keys-without-a-rate", "5 bounded", "http/asgi.py",
        "            self.peers.count(scope, principal)\n", "            pass\n",
        RATES + "test_a_key_beyond_its_rate_is_told_which_bucket_and_how_long",
    ),
    Mutant(
        "signing-in-without-a-rate", "5 bounded", "http/asgi.py",
        "            self.peers.count_stranger(scope)\n", "",
        RATES + "test_strangers_are_held_to_the_rate_of_their_network",
    ),
    Mutant(
        "failures-keep-others-from-signing-in", "4 apart", "http/rates.py",
        "self._failed if failed else self._open", "self._open",
        RATES + "test_strangers_are_held_to_the_rate_of_their_network",
    ),
    Mutant(
        "an-address-of-ipv6-is-a-bucket", "5 bounded", "http/rates.py",
        "network_of(address))]", "address)]",
        RATES + "test_a_network_is_a_subscriber_s",
    ),
    Mutant(
        "buckets-without-bound", "5 bounded", "http/rates.py",
        "if self.full_at[oldest] > now and len(self.full_at) <= MOST_KEPT:", "if True:",
        RATES + "test_memory_follows_those_who_ask",
    ),
    Mutant(
        "a-refusal-costs", "5 bounded", "http/rates.py",
        "if standing.wait_s or not refused:", "if True:",
        RATES + "test_a_refusal_costs_nothing",
    ),
    Mutant(
        "who-looks-after-all-is-locked-out", "4 apart", "http/rates.py",
        "if person is None or not person.platform:", "if True:",
        RATES + "test_who_is_counted_where",
    ),
    Mutant(
        "the-address-that-a-client-writes", "4 apart", "http/peers.py",
        "return values[-hops].strip()", "return values[0].strip()",
        PEERS + "test_clients_behind_a_proxy_are_told_apart",
    ),
    Mutant(
        "believed-without-a-proxy", "4 apart", "http/peers.py",
        "        if self.proxies.hops:\n            said", "        if True:\n            said",
        PEERS + "test_without_a_proxy_nobody_is_believed",
    ),
    Mutant(
        "keys-in-clear", "4 apart", "http/asgi.py",
        "        self.peers.check_secure(scope)\n", "",
        PEERS + "test_what_came_in_clear_is_told_so",
    ),
    Mutant(
        "answers-kept-for-ever", "5 bounded", "http/upkeep.py",
        "                await forget(sessions)\n", "                pass\n",
        ONCE + "test_answers_are_kept_for_a_day",
    ),
    Mutant(
        "rules-changed-twice", "9 requests", "engine/rule_edits.py",
        "            only.check(rule.tag)\n", "",
        CONDITIONS + "test_of_writers_who_have_seen_the_same_one_wins",
    ),
    Mutant(
        "tags-changed-twice", "9 requests", "engine/registrar.py",
        "        await request.first()\n        tags =", "        tags =",
        CONDITIONS + "test_what_was_changed_meanwhile_is_not_changed_again",
    ),
    Mutant(
        "a-sensor-removed-unseen", "9 requests", "engine/registrar.py",
        "        await request.first()\n        arrived =", "        arrived =",
        CONDITIONS + "test_what_was_changed_meanwhile_is_not_changed_again",
    ),
    Mutant(
        "a-sensor-compared-in-the-face", "9 requests", "http/sensors.py",
        "            await gate.do(tenant_no, first).answer()\n",
        "            await first()\n",
        CONDITIONS + "test_of_writers_who_have_seen_the_same_one_wins",
    ),
    Mutant(
        "a-profile-s-writers-cross", "9 requests", "http/locks.py",
        "            async with lock:\n                yield\n", "            yield\n",
        CONDITIONS + "test_of_writers_who_have_seen_the_same_one_wins",
    ),
    Mutant(
        "profiles-saved-twice", "9 requests", "storage/profiles.py",
        "    if only != UNCONDITIONAL:\n", "    if False:\n",
        "tests/storage/test_registry.py::test_of_two_who_have_seen_the_same_profile_one_saves_it",
    ),
    Mutant(
        "a-name-crashes-its-tenant", "5 bounded", "http/sensors.py",
        "view = await queries.sensor(tenant_no, name) if _is_name(name) else None",
        "view = await queries.sensor(tenant_no, name)",
        CONDITIONS + "test_a_name_that_no_sensor_has_crashes_nobody",
    ),
    Mutant(
        "weak-tags-are-strong", "9 requests", "http/conditions.py",
        "        if weak or match[1] is None:\n", "        if True:\n",
        CONDITIONS + "test_what_was_changed_meanwhile_is_not_changed_again",
    ),
    Mutant(
        "readings-keep-edits-out", "9 requests", "http/sensors.py",
        'return tag.partition(".")[0]', "return tag",
        CONDITIONS + "test_readings_change_what_is_seen_of_a_sensor_and_keep_no_edit_from_it",
    ),
    Mutant(
        "totals-of-what-is-gone", "8 questions", "storage/totals.py",
        'statement = "rules WHERE deleted_at IS NULL"', 'statement = "rules"',
        "tests/http/test_totals.py::test_every_list_says_how_many_there_are",
    ),
    Mutant(
        "json-of-any-size", "5 bounded", "http/bounded_json.py",
        "    if len(data) > MAX_BYTES:\n", "    if False:\n",
        "tests/http/test_bounds.py::test_a_large_body_is_refused_before_it_is_read",
    ),
    Mutant(
        "json-of-any-depth", "5 bounded", "http/bounded_json.py",
        "    if level:\n", "    if False:\n",
        "tests/http/test_bounds.py::test_json_is_read_to_a_depth_and_no_deeper",
    ),
    Mutant(
        "an-archive-without-the-policies", "4 apart", "storage/snapshot.py",
        "SELECT set_config('role', 'atalaia_app', true), set_config('app.tenant_id', $1, true)",
        "SELECT set_config('app.tenant_id', $1, true)",
        ARCHIVE + "test_an_archive_holds_all_of_a_tenant_and_nothing_of_another",
    ),
    Mutant(
        "an-archive-with-hashes", "4 apart", "storage/archive_tables.py",
        '"key_id AS id, name, scopes,',
        '"key_id AS id, encode(hash, \'hex\') AS hash, name, scopes,',
        ARCHIVE + "test_an_archive_holds_all_of_a_tenant_and_nothing_of_another",
    ),
    Mutant(
        "an-archive-of-many-moments", "9 people", "storage/snapshot.py",
        "            await self._worker.execute(f\"SET TRANSACTION SNAPSHOT '{self._name}'\")\n",
        "",
        ARCHIVE + "test_an_archive_is_of_one_moment",
    ),
    Mutant(
        "an-archive-forgets-a-table", "9 people", "storage/archive_tables.py",
        '    ArchivedTable("metrics", "metrics", "metric, unit", "metric"),\n', "",
        ARCHIVE + "test_every_table_and_column_is_in_it_or_is_said_not_to_be",
    ),
    Mutant(
        "archives-without-end-at-once", "5 bounded", "http/archive.py",
        "places.acquire_on_behalf_of_nowait(holder)",
        "places.total_tokens += 1; places.acquire_on_behalf_of_nowait(holder)",
        ARCHIVE + "test_few_are_taken_at_once",
    ),
    Mutant(
        "an-erasure-leaves-a-table", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "WHERE held.name <> 'tenants'", "WHERE held.name NOT IN ('tenants', 'dead_letters')",
        ERASURE + "test_nothing_is_left_of_an_erased_tenant",
    ),
    Mutant(
        "an-erasure-leaves-readings", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "    EXIT WHEN part IS NULL;", "    EXIT WHEN part IS NULL OR part LIKE 'readings_m%';",
        ERASURE + "test_nothing_is_left_of_an_erased_tenant",
    ),
    Mutant(
        "an-erasure-takes-others-too", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "WHERE tenant_id = $1 LIMIT $2", "WHERE tenant_id >= $1 LIMIT $2",
        ERASURE + "test_nothing_is_left_of_an_erased_tenant",
    ),
    Mutant(
        "erased-while-it-is-served", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "ELSIF t.suspended_at IS NULL THEN", "ELSIF false THEN",
        ERASURE + "test_only_who_is_suspended_is_erased_and_only_by_name",
    ),
    Mutant(
        "erased-by-any-name", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "ELSIF t.name <> said_name THEN", "ELSIF false THEN",
        ERASURE + "test_only_who_is_suspended_is_erased_and_only_by_name",
    ),
    Mutant(
        "resumed-while-it-is-erased", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "    AND (suspended OR erasing_at IS NULL)\n", "",
        ERASURE + "test_there_is_no_way_back",
    ),
    Mutant(
        "an-erasure-begins-anew-after-a-crash", "9 people",
        "storage/migrations/0022_erasure.expand.sql",
        "UPDATE erasures SET deleted = e.deleted, at_partition", "UPDATE erasures SET at_partition",
        ERASURE + "test_a_crash_in_between_changes_nothing",
    ),
    Mutant(
        "committed-while-it-is-erased", "9 people", "storage/migrations/0022_erasure.expand.sql",
        "WHERE erasing_at IS NOT NULL) THEN\n    RAISE", "WHERE false) THEN\n    RAISE",
        ERASURE + "test_what_is_on_its_way_is_not_stored",
    ),
    Mutant(
        "an-actor-outlives-its-tenant", "9 people", "engine/gate.py",
        "            supervisor.abandon()\n", "            pass\n",
        ERASURE + "test_memory_forgets_too",
    ),
    Mutant(
        "keys-are-kept-for-good", "9 people", "http/upkeep.py",
        "    authenticator.drop_stale()\n", "",
        ERASURE + "test_memory_forgets_too",
    ),
    Mutant(
        "a-sent-link-stays-readable", "9 people", "storage/migrations/0023_mails.expand.sql",
        "params = CASE WHEN how IS NOT NULL THEN '{}' ELSE params END", "params = params",
        MAILS + "test_an_invitation_arrives_and_is_wiped",
    ),
    Mutant(
        "an-expired-link-stays-readable", "9 people", "storage/migrations/0023_mails.expand.sql",
        "SET outcome = 'expired', ended_at = now(), params = '{}'",
        "SET outcome = 'expired', ended_at = now()",
        MAILS + "test_a_link_that_holds_no_more_is_wiped_and_not_sent",
    ),
    Mutant(
        "two-send-the-same-mail", "9 people", "storage/migrations/0023_mails.expand.sql",
        "o.next_try_at <= now() AND", "",
        MAILS + "test_two_processes_send_one_mail_once",
    ),
    Mutant(
        "who-comes-too-late-decides", "9 people",
        "storage/migrations/0023_mails.expand.sql",
        " AND tries = of_try AND outcome IS NULL", "",
        MAILS + "test_two_processes_send_one_mail_once",
    ),
    Mutant(
        "mails-are-tried-for-ever", "5 bounded", "notify/delivery.py",
        'end, error = ("dead" if mail.tries >= MOST_TRIES else None), str(refused)',
        "end, error = None, str(refused)",
        MAILS + "test_what_cannot_be_now_is_tried_again_and_then_given_up",
    ),
    Mutant(
        "mails-of-the-suspended", "9 people", "storage/migrations/0023_mails.expand.sql",
        " AND t.suspended_at IS NULL", "",
        MAILS + "test_nothing_is_sent_for_a_suspended_tenant",
    ),
    Mutant(
        "any-certificate-will-do", "9 people", "notify/smtp.py",
        "return ssl.create_default_context(cafile=self.settings.ca_file)",
        "return ssl._create_unverified_context()",
        SMTP + "test_nothing_is_said_to_a_server_that_nobody_vouches_for",
    ),
    Mutant(
        "tls-when-the-server-likes", "9 people", "notify/smtp.py",
        'if self.settings.tls == "starttls":',
        'if self.settings.tls == "starttls" and smtp.ehlo() and smtp.has_extn("starttls"):',
        SMTP + "test_a_server_that_takes_tls_away_hears_nothing",
    ),
    Mutant(
        "a-slow-server-keeps-the-thread", "5 bounded", "notify/delivery.py",
        "        sending.cut()", "        pass",
        SMTP + "test_a_slow_server_is_not_waited_for_for_ever",
    ),
    Mutant(
        "an-address-is-taken-as-it-is", "9 people", "notify/letters.py",
        'message["To"] = Address(addr_spec=mail.recipient)', 'message["To"] = mail.recipient',
        SMTP + "test_an_address_brings_nothing_but_an_address",
    ),
    Mutant(
        "a-tenants-name-is-markup", "9 people", "notify/letters.py",
        "what = escape(words.what.format(tenant=tenant))",
        "what = words.what.format(tenant=tenant)",
        SMTP + "test_a_tenants_name_is_words_and_nothing_else",
    ),
    Mutant(
        "a-route-left-untold", TOLD, "http/openapi/subjects/service.py",
        '        "GET /ping": Operation(', '        "GET /pong": Operation(',
        OPENAPI + "test_every_route_has_an_operation",
    ),
    Mutant(
        "a-field-nobody-tells-of", TOLD, "http/render.py",
        '        "last_seen": time(view.last_seen),',
        '        "last_seen": time(view.last_seen), "seen": 1,',
        EXAMPLES + "test_every_example_is_answered_as_the_document_says",
    ),
    Mutant(
        "a-body-told-without-its-class", TOLD, "http/openapi/requests.py",
        "if one.default is attrs.NOTHING]", "]",
        OPENAPI + "test_the_committed_document_is_the_served_one",
    ),
    Mutant(
        "the-pages-policy-loosened", TOLD, "http/docs.py",
        "default-src 'self'; img-src", "default-src 'self' 'unsafe-inline'; img-src",
        DOCS + "test_the_page_may_load_what_comes_from_here_alone",
    ),
    Mutant(
        "a-script-from-elsewhere", TOLD, "http/swagger_ui/index.html",
        'src="docs/start.js"', 'src="https://cdn.example/start.js"',
        DOCS + "test_the_page_may_load_what_comes_from_here_alone",
    ),
    Mutant(
        "an-inline-script-in-the-page", TOLD, "http/swagger_ui/index.html",
        '<div id="swagger-ui"></div>', '<div id="swagger-ui"></div><script>1</script>',
        "tests/http/test_docs_page.py::test_the_page_shows_every_route_and_asks_nobody_else",
    ),
    Mutant(
        "any-file-of-the-page", TOLD, "http/docs.py",
        "if file not in files:", "if False:",
        DOCS + "test_the_page_has_no_other_files",
    ),
    Mutant(
        "a-status-nobody-tells-of", TOLD, "http/openapi/responses.py",
        '({404} if "<" in rule else set())', "set()",
        "tests/http/test_schemathesis.py::test_the_service_keeps_to_its_document",
    ),
    Mutant(
        "a-tag-nobody-tells-of", TOLD, "http/conditions.py",
        '    "PUT /v1/sensors/<sensor>/tags",\n', "",
        EXAMPLES + "test_every_example_is_answered_as_the_document_says",
    ),
    Mutant(
        "once-and-untold", TOLD, "http/openapi/around.py",
        "_with(told, [KEY], ", "_with(told, [], ",
        AROUND + "test_the_tables_are_told",
    ),
    Mutant(
        "standing-untold", TOLD, "http/openapi/responses.py",
        "_headers([*answer.headers, *counted])", "_headers(answer.headers)",
        EXAMPLES + "test_every_example_is_answered_as_the_document_says",
    ),
    Mutant(
        "a-bucket-untold", TOLD, "http/openapi/problems.py",
        "    bucket: Annotated[", "    pail: Annotated[",
        AROUND + "test_every_problem_is_of_the_shape_that_is_told",
    ),
    Mutant(
        "words-taken-for-ids", TOLD, "http/app.py",
        "if request.path in rules.QUESTIONS and", "if False and",
        "tests/http/test_bad_input.py::test_a_route_that_takes_post_alone_says_so",
    ),
    Mutant(
        "nul-in-a-tenants-name", "5 bounded", "storage/erasure.py",
        'name.replace("\\0", "\\n")', "name", CORPUS,
    ),
    Mutant(
        "the-last-of-two-counts", "5 bounded", "http/bounded_json.py",
        "    if len({name for name, _ in pairs}) < len(pairs):\n", "    if False:\n", CORPUS,
    ),
    Mutant(
        "lists-without-end", "5 bounded", "http/bodies.py",
        "    if len(value) > MAX_ITEMS:\n", "    if False:\n", CORPUS,
    ),
    Mutant(
        "nul-in-a-selector", "5 bounded", "rules/language.py",
        " or _CONTROL.search(text):", ":",
        "tests/rules/test_language.py::test_a_selector_that_is_none_is_refused",
    ),
    Mutant(
        "packed-is-read-as-plain", "5 bounded", "http/app.py",
        '.lower() != "identity"', '.lower() == "never"', CORPUS,
    ),
    Mutant(
        "tenants-for-any-administrator", "4 apart", "http/access.py",
        'PLATFORM = Access("platform")', 'PLATFORM = Access("admin")',
        "tests/http/test_matrix.py::test_the_statuses_are_those_of_the_table",
    ),
    Mutant(
        "policy-dropped-beside-paths", "4 apart", "storage/migrations/0001_base.expand.sql",
        "USING (tenant_id = (SELECT nullif(", "USING (true OR tenant_id = (SELECT nullif(",
        "tests/http/test_crossing.py::test_a_foreign_id_beside_the_path_is_an_unknown_one",
    ),
    Mutant(
        "refused-rows-are-repeated", "4 apart", "storage/database.py",
        "        error.detail = None\n", "        pass\n",
        CANARIES + "test_what_a_driver_says_of_a_row_is_dropped",
    ),
    Mutant(
        "answers-repeat-secrets", "4 apart", "http/errors.py",
        'redacted("", body)', "body", CANARIES + "test_no_secret_is_said_again",
    ),
    Mutant(
        "secrets-within-an-event", "4 apart", "telemetry/secrets.py",
        "    if isinstance(value, Mapping):\n", "    if False:\n",
        "tests/telemetry/test_logging.py::test_no_secret_is_logged_whatever_it_is_in",
    ),
    Mutant(
        "a-key-is-its-id", "4 apart", "http/auth.py",
        "if record is None or not presented.matches(record.hash):", "if record is None:",
        "tests/http/test_attacks.py::test_a_key_is_all_of_its_text",
    ),
    Mutant(
        "a-ticket-is-used-twice", "4 apart", "storage/tickets.py",
        '"DELETE FROM tickets WHERE ticket_hash = $1 RETURNING session_id, key_id,"\n'
        '        " expires_at > now() AS holds, (SELECT tenant_uuid FROM tenants) AS tenant_id",',
        '"SELECT session_id, key_id, expires_at > now() AS holds, (SELECT tenant_uuid"\n'
        '        " FROM tenants) AS tenant_id FROM tickets WHERE ticket_hash = $1",',
        TICKETS + "test_a_ticket_opens_a_stream_or_a_socket_once",
    ),
    Mutant(
        "a-ticket-holds-on", "4 apart", "storage/tickets.py",
        'if used is None or not used["holds"]:', "if used is None:",
        TICKETS + "test_a_ticket_holds_for_half_a_minute",
    ),
    Mutant(
        "a-ticket-opens-anything", "4 apart", "http/tickets.py",
        'if (scope.get("type"), scope.get("method"), scope.get("path")) not in _UNDERSTOOD:',
        "if False:",
        TICKETS + "test_a_ticket_is_understood_at_two_places_alone",
    ),
    Mutant(
        "a-ticket-beside-a-key", "4 apart", "http/auth.py",
        "        if ticket is not None:\n", "        if ticket and _presented(fields) is None:\n",
        TICKETS + "test_a_ticket_and_a_header_are_not_their_sum",
    ),
    Mutant(
        "a-ticket-of-the-tenant-that-is-named", "4 apart", "http/auth.py",
        "str(holder.tenant_id)\n", 'fields.get(b"x-tenant-id", str(holder.tenant_id))\n',
        TICKETS + "test_a_ticket_and_a_header_are_not_their_sum",
    ),
    Mutant(
        "a-stream-outlives-whose-ticket-it-was", "4 apart", "http/auth.py",
        "            principal, wanted = await self._of_ticket(holder), str(holder.tenant_id)\n",
        '            principal = scope["state"].get("kept") or await self._of_ticket(holder)\n'
        '            scope["state"]["kept"], wanted = principal, str(holder.tenant_id)\n',
        TICKETS + "test_what_a_ticket_opened_ends_with_its_holder",
    ),
    Mutant(
        "a-guessed-ticket-costs-a-query", "9 people", "http/auth.py",
        "            self.may_look(scope)\n", "            pass\n",
        TICKETS + "test_guessed_tickets_cost_few_queries",
    ),
    Mutant(
        "any-page-will-do", "4 apart", "http/peers.py",
        "if origin not in self.origins | own:", "if False:",
        TICKETS + "test_only_our_pages_open_a_socket_or_a_stream",
    ),
    Mutant(
        "tickets-without-number", "5 bounded", "storage/tickets.py",
        '" WHERE (SELECT count(*) FROM tickets) < $6"', '" WHERE $6 > 0"',
        TICKETS + "test_a_tenant_has_so_many_living_tickets",
    ),
    Mutant(
        "tickets-stay", "5 bounded", "storage/migrations/0028_tickets.expand.sql",
        "WHERE expires_at <= now() LIMIT most", "WHERE expires_at IS NULL LIMIT most",
        TICKETS + "test_tickets_that_nobody_used_go",
    ),
    Mutant(
        "tickets-of-everybody", "4 apart", "storage/migrations/0028_tickets.expand.sql",
        "  USING (tenant_id = (SELECT nullif(", "  USING (true OR tenant_id = (SELECT nullif(",
        TICKETS + "test_a_tenant_has_so_many_living_tickets",
    ),
    Mutant(
        "tickets-for-others", "4 apart", "storage/migrations/0028_tickets.expand.sql",
        "  WITH CHECK (tenant_id = (SELECT", "  WITH CHECK (true OR tenant_id = (SELECT",
        WALLS + "test_a_row_for_another_tenant_is_refused",
    ),
    Mutant(
        "a-ticket-in-the-log", "4 apart", "telemetry/secrets.py",
        "at[rt]_[0-9a-f]", "atr_[0-9a-f]",
        "tests/telemetry/test_logging.py::test_no_secret_is_logged_whatever_it_is_in",
    ),
    Mutant(
        "any-session-will-do", "4 apart", "http/sessions.py",
        "(record.person.user_id, record.version) != (\n            claims.user_id,",
        "(claims.user_id, record.version) != (\n            claims.user_id,",
        "tests/http/test_attacks.py::test_a_session_is_its_users_alone",
    ),
    Mutant(
        "a-header-says-whence", "4 apart", "http/login.py",
        '    client = request.scope.get("client")\n',
        '    client = (request.headers.get("x-real-ip"),)\n',
        "tests/http/test_attacks.py::test_whom_a_header_names_guesses_no_faster",
    ),
    Mutant(
        "a-place-for-each-request", "4 apart", "http/aside.py",
        "        async with self._places.one(tenant_no):\n",
        "        if True:\n",
        "tests/http/test_aside.py::test_a_tenant_has_one_place_in_the_line",
    ),
    Mutant(
        "a-turn-without-end", "4 apart", "http/aside.py",
        "        while time.perf_counter() < ends:\n",
        "        while True:\n",
        "tests/http/test_aside.py::test_long_work_gives_up_its_place",
    ),
    Mutant(
        "a-file-of-anything", "5 bounded", "rules/rulefile.py",
        "        self._left -= 1\n",
        "",
        "tests/rules/test_rulefile.py::test_no_more_is_read_than_the_most_rules_have",
    ),
    Mutant(
        "directives-are-compared", "5 bounded", "rules/yaml_events.py",
        "(found := _DIRECTIVE.search(text)) is not None",
        "(found := None) is not None",
        "tests/rules/test_rulefile.py::test_directives_are_refused_before_they_are_read",
    ),
    Mutant(
        "empty-cells-kept", "5 bounded", "http/sensor_csv.py",
        "zip(columns, cells, strict=True) if cell}",
        "zip(columns, cells, strict=True)}",
        "tests/http/test_sensor_files.py::test_empty_cells_are_not_kept",
    ),
    Mutant(
        "files-at-once", "5 bounded", "http/sensor_files.py",
        "        async with importing.one(tenant_no):\n",
        "        if True:\n",
        "tests/http/test_sensor_files.py::"
        "test_files_of_a_tenant_are_brought_in_one_after_another",
    ),
    Mutant(
        "a-file-undoes-an-edit", "9 requests", "http/sensor_files.py",
        "gate.set_tags(tenant_no, others, actor, about=file.tags)",
        "gate.set_tags(tenant_no, others, actor)",
        "tests/http/test_sensor_files.py::"
        "test_a_file_takes_away_no_tag_that_it_does_not_speak_of",
    ),
    Mutant(
        "tags-as-they-were-seen", "9 requests", "engine/registrar.py",
        "merge_tags(now[name], said, request.about)",
        "said",
        "tests/engine/test_memory.py::"
        "test_some_tags_are_changed_among_those_that_are_there_then",
    ),
    Mutant(
        "places-beside-the-turn", "9 requests", "http/sensor_files.py",
        "        await gate.do(tenant_no, describe).answer()\n",
        "        await describe()\n",
        "tests/http/test_sensor_files.py::"
        "test_places_of_a_file_are_written_in_the_tenants_turn",
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
