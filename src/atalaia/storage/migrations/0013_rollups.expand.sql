-- Cells of readings by the minute, hour and day, packed by the hour, the day and 32 days
-- (buckets/cells.py). They follow from the readings and are made by a task of the engine, as the
-- application's role: the writer's one connection is for commits.
CREATE TABLE rollups (
  tenant_id int4 NOT NULL REFERENCES tenants,
  level     int2 NOT NULL,
  series_id int4 NOT NULL,
  at        timestamptz NOT NULL,
  cells     bytea NOT NULL,
  PRIMARY KEY (tenant_id, level, series_id, at)
);

-- Up to when a tenant's readings are rolled up, by full hours; of the hour that begins there those
-- of series up to `done` are.
CREATE TABLE rollup_marks (
  tenant_id int4 NOT NULL REFERENCES tenants,
  until     timestamptz NOT NULL,
  done      int4 NOT NULL,
  PRIMARY KEY (tenant_id)
);

-- Hours that a commit has touched which were over when it came: packed int4 series and int4 hours
-- since 1970. What arrives within its own hour is not noted: the hour is rolled up when it is over
-- by arrival, which never goes back within a tenant.
CREATE TABLE rollup_notes (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  received_at timestamptz NOT NULL,
  series      bytea NOT NULL,
  hours       bytea NOT NULL,
  PRIMARY KEY (tenant_id, received_at)
);

DO $$
DECLARE
  tab text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['rollups', 'rollup_marks', 'rollup_notes'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tab);
    EXECUTE format($p$CREATE POLICY app ON %I TO atalaia_app
      USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
      WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))$p$, tab);
    EXECUTE format('CREATE POLICY writer ON %I TO atalaia_writer USING (true) WITH CHECK (true)', tab);
    EXECUTE format('CREATE POLICY migrate ON %I TO atalaia_migrate USING (true) WITH CHECK (true)', tab);
  END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON rollups TO atalaia_app;
GRANT SELECT, INSERT, UPDATE ON rollup_marks TO atalaia_app;
GRANT SELECT, DELETE ON rollup_notes TO atalaia_app;
GRANT SELECT ON rollup_marks TO atalaia_writer;
GRANT SELECT, INSERT ON rollup_notes TO atalaia_writer;
