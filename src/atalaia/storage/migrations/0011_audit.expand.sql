-- Who did what. Rows are added and never changed; each holds the hash of itself and of the one
-- before it in its tenant, so that a row that was changed, taken out or moved is found
-- (`atalaia audit verify`). audit_heads holds where each chain ends, so that its end cannot be cut.
CREATE TABLE audit (
  tenant_id  int4 NOT NULL REFERENCES tenants,
  seq        int8 NOT NULL,
  at         timestamptz NOT NULL,
  actor      text NOT NULL,
  actor_name text NOT NULL,
  action     text NOT NULL,
  target     text NOT NULL,
  detail     json NOT NULL,
  hash       bytea NOT NULL,
  PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX audit_by_time ON audit (tenant_id, at);

CREATE TABLE audit_heads (
  tenant_id int4 PRIMARY KEY REFERENCES tenants,
  seq       int8 NOT NULL,
  hash      bytea NOT NULL
);

-- The place in the chain, the time and the hash are the database's own: whoever inserts says the
-- rest. The head's row is locked until the end of the transaction, so that there are no gaps.
-- Fields are hashed as length:text, so that none can run into the next one.
CREATE FUNCTION chain_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  head audit_heads;
  fields text[];
BEGIN
  INSERT INTO audit_heads VALUES (NEW.tenant_id, 0, '') ON CONFLICT DO NOTHING;
  SELECT * INTO STRICT head FROM audit_heads WHERE tenant_id = NEW.tenant_id FOR UPDATE;
  NEW.seq := head.seq + 1;
  NEW.at := clock_timestamp();
  fields := ARRAY[
    (SELECT tenant_uuid::text FROM tenants WHERE tenant_id = NEW.tenant_id),
    NEW.seq::text,
    (extract(epoch FROM NEW.at) * 1000000)::int8::text,
    NEW.actor, NEW.actor_name, NEW.action, NEW.target, NEW.detail::text
  ];
  NEW.hash := sha256(head.hash || convert_to((
    SELECT string_agg(octet_length(convert_to(field, 'UTF8')) || ':' || field, ',' ORDER BY nr)
    FROM unnest(fields) WITH ORDINALITY AS f (field, nr)), 'UTF8'));
  UPDATE audit_heads SET seq = NEW.seq, hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
  RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION chain_audit FROM PUBLIC;
CREATE TRIGGER chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit();

DO $$
DECLARE
  tab text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['audit', 'audit_heads'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tab);
    EXECUTE format($p$CREATE POLICY app ON %I TO atalaia_app
      USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
      WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))$p$, tab);
    EXECUTE format('CREATE POLICY writer ON %I TO atalaia_writer USING (true) WITH CHECK (true)', tab);
    EXECUTE format('CREATE POLICY migrate ON %I TO atalaia_migrate USING (true) WITH CHECK (true)', tab);
  END LOOP;
END $$;

GRANT SELECT, INSERT (tenant_id, actor, actor_name, action, target, detail) ON audit TO atalaia_app;
GRANT INSERT (tenant_id, actor, actor_name, action, target, detail) ON audit TO atalaia_writer;
