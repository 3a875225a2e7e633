-- What a metric is measured in. It is asked for when a rule is saved and never judges anything, so
-- it goes by itself and not through the engine's commits.
CREATE TABLE metrics (
  tenant_id  int4 NOT NULL REFERENCES tenants,
  metric     text COLLATE "C" NOT NULL,
  unit       text NOT NULL,
  PRIMARY KEY (tenant_id, metric)
);

ALTER TABLE metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON metrics TO atalaia_app
  USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
  WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4));
CREATE POLICY writer ON metrics TO atalaia_writer USING (true) WITH CHECK (true);
CREATE POLICY migrate ON metrics TO atalaia_migrate USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON metrics TO atalaia_app;
