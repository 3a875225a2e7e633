-- Where the readings of a commit lie, for whoever was away when they came: packed little-endian
-- arrays of int4 series, the int8 times (UTC epoch µs) of the oldest and the newest of each, and how
-- many there are (storage/arrivals.py). Kept for minutes. A late reading stands for itself.
-- series NULL: what came until then is not known.
CREATE TABLE arrivals (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  received_at int8 NOT NULL,
  series      bytea,
  oldest      bytea NOT NULL,
  newest      bytea NOT NULL,
  counts      bytea NOT NULL,
  PRIMARY KEY (tenant_id, received_at)
);

ALTER TABLE arrivals ENABLE ROW LEVEL SECURITY;
ALTER TABLE arrivals FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON arrivals TO atalaia_app
  USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
  WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4));
CREATE POLICY writer ON arrivals TO atalaia_writer USING (true) WITH CHECK (true);
CREATE POLICY migrate ON arrivals TO atalaia_migrate USING (true) WITH CHECK (true);

GRANT SELECT ON arrivals TO atalaia_app;
GRANT SELECT, INSERT, DELETE ON arrivals TO atalaia_writer;

INSERT INTO arrivals
  SELECT tenant_id, max(received_at), NULL, '', '', '' FROM tenant_state GROUP BY tenant_id;
