-- What requests with an Idempotency-Key were answered, sealed by the service, so that the same one
-- is not carried out twice. key_hash: of whose key it is and what it says. claim: who is at it, from
-- claimed_at on; answer NULL: it is not known yet what has come of it.
CREATE TABLE idempotency_keys (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  key_hash    bytea NOT NULL,
  fingerprint bytea NOT NULL,
  claim       uuid NOT NULL,
  claimed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  answer      bytea,
  PRIMARY KEY (tenant_id, key_hash)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (claimed_at);

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON idempotency_keys TO atalaia_app
  USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
  WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4));
CREATE POLICY writer ON idempotency_keys TO atalaia_writer USING (true) WITH CHECK (true);
CREATE POLICY migrate ON idempotency_keys TO atalaia_migrate USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO atalaia_app;

-- Some of any tenants' that are a day old; how many.
CREATE FUNCTION forget_answers(most int4) RETURNS int8
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH gone AS (
    DELETE FROM idempotency_keys WHERE (tenant_id, key_hash) IN (
      SELECT tenant_id, key_hash FROM idempotency_keys
      WHERE claimed_at < now() - interval '24 hours' LIMIT most FOR UPDATE SKIP LOCKED)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_answers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_answers TO atalaia_app;
