-- The first schema. Run as atalaia_migrate, who owns everything here.
-- Every table that holds a tenant's data carries tenant_id first in its key (foreign keys and
-- unique indexes do not see row-level security) and has policies forced from its first minute:
--   atalaia_app      sees the tenant named by app.tenant_id, in this transaction, and no other;
--   atalaia_writer   commits groups of many tenants: the flusher alone uses it;
--   atalaia_migrate  is the owner; under FORCE it too needs a policy to see rows.

CREATE TABLE tenants (
  tenant_id   int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_uuid uuid NOT NULL UNIQUE,
  name        text NOT NULL,
  max_series  int4 NOT NULL DEFAULT 100000,
  created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
  tenant_id     int4 NOT NULL REFERENCES tenants,
  user_id       uuid NOT NULL,
  email         text NOT NULL UNIQUE,
  password_hash text NOT NULL,
  role          text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE api_keys (
  tenant_id  int4 NOT NULL REFERENCES tenants,
  key_id     text NOT NULL UNIQUE,
  hash       bytea NOT NULL,
  name       text NOT NULL,
  scopes     text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, key_id)
);

CREATE TABLE sensors (
  tenant_id     int4 NOT NULL REFERENCES tenants,
  sensor_id     int4 GENERATED ALWAYS AS IDENTITY,
  sensor_uuid   uuid NOT NULL,
  name          text COLLATE "C" NOT NULL,
  tags          jsonb NOT NULL DEFAULT '{}',
  registered_at timestamptz NOT NULL,
  deleted_at    timestamptz,
  PRIMARY KEY (tenant_id, sensor_id),
  UNIQUE (tenant_id, sensor_uuid)
);
CREATE UNIQUE INDEX sensors_name ON sensors (tenant_id, name) WHERE deleted_at IS NULL;

CREATE TABLE series (
  tenant_id int4 NOT NULL,
  series_id int4 GENERATED ALWAYS AS IDENTITY,
  sensor_id int4 NOT NULL,
  metric    text COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant_id, series_id),
  UNIQUE (tenant_id, sensor_id, metric),
  FOREIGN KEY (tenant_id, sensor_id) REFERENCES sensors (tenant_id, sensor_id)
);

-- No foreign key and no default partition: the actor registers series before it commits rows,
-- and rows in a default partition would block making the real one.
-- received_at is strictly increasing per tenant and batch, so it is also the arrival sequence.
CREATE TABLE readings (
  tenant_id   int4 NOT NULL,
  series_id   int4 NOT NULL,
  ts          timestamptz NOT NULL,
  value       float8 NOT NULL,
  received_at timestamptz NOT NULL,
  late        bool NOT NULL,
  PRIMARY KEY (series_id, ts)
) PARTITION BY RANGE (ts);

CREATE TABLE rules (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  rule_no     int4 NOT NULL,
  rule_id     uuid NOT NULL,
  name        text COLLATE "C" NOT NULL,
  text        text NOT NULL,
  version     int4 NOT NULL,
  revision    int4 NOT NULL,
  enabled     bool NOT NULL,
  active_from timestamptz NOT NULL,
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL,
  deleted_at  timestamptz,
  PRIMARY KEY (tenant_id, rule_no),
  UNIQUE (tenant_id, rule_id)
);
CREATE UNIQUE INDEX rules_name ON rules (tenant_id, name) WHERE deleted_at IS NULL;

-- What each version said and from which arrival it judged: what an alert refers to.
CREATE TABLE rule_versions (
  tenant_id   int4 NOT NULL,
  rule_no     int4 NOT NULL,
  version     int4 NOT NULL,
  text        text NOT NULL,
  active_from timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, rule_no, version),
  FOREIGN KEY (tenant_id, rule_no) REFERENCES rules (tenant_id, rule_no)
);

-- opened_at, cleared_at: event time; opened_arrival, cleared_arrival: received_at of the batch.
CREATE TABLE alerts (
  tenant_id       int4 NOT NULL,
  alert_id        uuid NOT NULL,
  rule_no         int4 NOT NULL,
  rule_version    int4 NOT NULL,
  sensor_id       int4 NOT NULL,
  severity        text NOT NULL,
  state           text NOT NULL CHECK (state IN ('open', 'cleared')),
  opened_at       timestamptz NOT NULL,
  opened_arrival  timestamptz NOT NULL,
  opened_value    float8,
  evidence        jsonb NOT NULL,
  cleared_at      timestamptz,
  cleared_arrival timestamptz,
  cleared_value   float8,
  clear_reason    text,
  PRIMARY KEY (tenant_id, alert_id),
  FOREIGN KEY (tenant_id, rule_no) REFERENCES rules (tenant_id, rule_no),
  FOREIGN KEY (tenant_id, sensor_id) REFERENCES sensors (tenant_id, sensor_id)
);
CREATE INDEX alerts_by_time ON alerts (tenant_id, opened_at DESC, alert_id);
CREATE UNIQUE INDEX alerts_one_open ON alerts (tenant_id, rule_no, sensor_id) WHERE state = 'open';

-- Every step of an alert, in the order it was judged.
CREATE TABLE alert_events (
  tenant_id int4 NOT NULL,
  alert_id  uuid NOT NULL,
  arrival   timestamptz NOT NULL,
  ordinal   int4 NOT NULL,
  kind      text NOT NULL CHECK (kind IN ('opened', 'raised', 'lowered', 'cleared')),
  at        timestamptz NOT NULL,
  severity  text NOT NULL,
  value     float8,
  PRIMARY KEY (tenant_id, alert_id, arrival, ordinal),
  FOREIGN KEY (tenant_id, alert_id) REFERENCES alerts (tenant_id, alert_id)
);

-- One packed row per tenant and commit: arrays of little-endian numbers (storage/state.py).
-- A snapshot replaces what came before it.
CREATE TABLE tenant_state (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  received_at int8 NOT NULL,
  snapshot    bool NOT NULL,
  series      bytea NOT NULL,
  newest      bytea NOT NULL,
  rule_states bytea NOT NULL,
  PRIMARY KEY (tenant_id, received_at)
);

-- The group id is inserted first in its transaction: a retry after an unknown outcome runs into
-- this key, waits for the old backend if need be, and reads the answer.
CREATE TABLE commit_groups (
  group_id     uuid PRIMARY KEY,
  committed_at timestamptz NOT NULL DEFAULT now(),
  late         int4[]
);
CREATE INDEX commit_groups_age ON commit_groups (committed_at);

-- One lease per engine shard; whoever holds the newest epoch may commit.
CREATE TABLE engine_lease (
  shard    int4 PRIMARY KEY,
  epoch    int8 NOT NULL,
  taken_at timestamptz NOT NULL
);
INSERT INTO engine_lease VALUES (0, 0, now());

CREATE TABLE dead_letters (
  tenant_id int4 NOT NULL REFERENCES tenants,
  letter_id int8 GENERATED ALWAYS AS IDENTITY,
  buried_at timestamptz NOT NULL DEFAULT now(),
  reason    text NOT NULL,
  rows      int4 NOT NULL,
  payload   bytea NOT NULL,
  PRIMARY KEY (tenant_id, letter_id)
);

-- Partitions: a day each for whatever may still fill up, a month each for the settled past
-- (months that ended more than 35 days ago and have no day of their own).
-- CREATE ... PARTITION OF would wait behind every open reader; LIKE + ATTACH does not.
CREATE FUNCTION ensure_partition(at timestamptz, now timestamptz)
RETURNS TABLE (name text, from_ts timestamptz, to_ts timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  month_start timestamptz := date_trunc('month', at);
  month_end   timestamptz := date_trunc('month', at) + interval '1 month';
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('atalaia.ensure_partition'));
  IF month_end < now - interval '35 days' AND NOT EXISTS (
    SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'readings'::regclass
      AND c.relname LIKE 'readings_d' || to_char(month_start, 'YYYYMM') || '%'
  ) THEN
    name := 'readings_m' || to_char(month_start, 'YYYYMM');
    from_ts := month_start;
    to_ts := month_end;
  ELSE
    from_ts := date_trunc('day', at);
    to_ts := from_ts + interval '1 day';
    name := 'readings_d' || to_char(from_ts, 'YYYYMMDD');
  END IF;
  IF to_regclass(format('public.%I', name)) IS NULL THEN
    EXECUTE format('CREATE TABLE public.%I (LIKE public.readings INCLUDING ALL)', name);
    EXECUTE format('GRANT SELECT, INSERT ON public.%I TO atalaia_writer', name);
    EXECUTE format('ALTER TABLE public.readings ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   name, from_ts, to_ts);
  END IF;
  RETURN NEXT;
END $$;

CREATE FUNCTION list_partitions() RETURNS TABLE (name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'readings'::regclass
$$;

-- Before any tenant is known: what a key's id stands for.
CREATE FUNCTION find_api_key(wanted text)
RETURNS TABLE (tenant_id int4, tenant_uuid uuid, hash bytea, scopes text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT k.tenant_id, t.tenant_uuid, k.hash, k.scopes
  FROM api_keys k JOIN tenants t USING (tenant_id)
  WHERE k.key_id = wanted AND k.revoked_at IS NULL
$$;

DO $$
DECLARE
  tab text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['tenants', 'users', 'api_keys', 'sensors', 'series', 'readings',
      'rules', 'rule_versions', 'alerts', 'alert_events', 'tenant_state', 'dead_letters'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tab);
    EXECUTE format($p$CREATE POLICY app ON %I TO atalaia_app
      USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
      WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))$p$, tab);
    EXECUTE format('CREATE POLICY writer ON %I TO atalaia_writer USING (true) WITH CHECK (true)', tab);
    EXECUTE format('CREATE POLICY migrate ON %I TO atalaia_migrate USING (true) WITH CHECK (true)', tab);
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION ensure_partition, list_partitions, find_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partition, list_partitions TO atalaia_writer;
GRANT EXECUTE ON FUNCTION find_api_key TO atalaia_app;

GRANT SELECT ON tenants, users, api_keys, sensors, series, readings, rules, rule_versions, alerts,
  alert_events, tenant_state TO atalaia_app;
GRANT INSERT ON sensors, series TO atalaia_app;
GRANT UPDATE (tags) ON sensors TO atalaia_app;

GRANT SELECT ON tenants, sensors TO atalaia_writer;
GRANT SELECT, INSERT, UPDATE ON rules, rule_versions, alerts, engine_lease TO atalaia_writer;
GRANT SELECT, INSERT ON alert_events, dead_letters TO atalaia_writer;
GRANT SELECT, INSERT, DELETE ON tenant_state TO atalaia_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON commit_groups TO atalaia_writer;
