-- What an alert was opened on. Written with the alert and never again: nobody may update or delete.
-- record: the rule's text, aggregates, comparisons, and of each metric its window and count, as
-- JSON text just as it was made; samples: their points one after the other, ts int8 and value
-- float8, little-endian; late: per metric, late readings in its window that had arrived.
CREATE TABLE alert_evidence (
  tenant_id int4 NOT NULL,
  alert_id  uuid NOT NULL,
  record    json NOT NULL,
  samples   bytea NOT NULL,
  late      int4[] NOT NULL,
  PRIMARY KEY (tenant_id, alert_id),
  FOREIGN KEY (tenant_id, alert_id) REFERENCES alerts (tenant_id, alert_id)
);
ALTER TABLE alert_evidence ENABLE ROW LEVEL SECURITY;
ALTER TABLE alert_evidence FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON alert_evidence TO atalaia_app
  USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
  WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4));
CREATE POLICY writer ON alert_evidence TO atalaia_writer USING (true) WITH CHECK (true);
CREATE POLICY migrate ON alert_evidence TO atalaia_migrate USING (true) WITH CHECK (true);
GRANT SELECT ON alert_evidence TO atalaia_app;
GRANT INSERT ON alert_evidence TO atalaia_writer;

-- Late readings are few: to count them must not cost a look at the others.
CREATE INDEX readings_late ON readings (series_id, ts) WHERE late;
GRANT SELECT ON series TO atalaia_writer;
