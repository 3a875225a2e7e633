-- What a browser shows where it can send no header: once, and soon. Of whoever asked for it, a session
-- or a key; tenant_id: where it opens something, which is another one than the session's when somebody
-- who looks after all tenants visits it. So a session or a key that is gone is found when it is used.
CREATE TABLE tickets (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  ticket_hash bytea NOT NULL UNIQUE,
  session_id  uuid,
  key_id      text,
  expires_at  timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, ticket_hash),
  CHECK ((session_id IS NULL) <> (key_id IS NULL))
);
CREATE INDEX tickets_by_time ON tickets (expires_at);

ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON tickets TO atalaia_app
  USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
  WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4));
CREATE POLICY writer ON tickets TO atalaia_writer USING (true) WITH CHECK (true);
CREATE POLICY migrate ON tickets TO atalaia_migrate USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON tickets TO atalaia_app;

-- Before any tenant is known.
CREATE FUNCTION find_ticket(wanted bytea) RETURNS int4
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM tickets WHERE ticket_hash = wanted
$$;

-- Some of any tenants' that nobody used in time; how many.
CREATE FUNCTION forget_tickets(most int4) RETURNS int8
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH gone AS (
    DELETE FROM tickets WHERE (tenant_id, ticket_hash) IN (
      SELECT tenant_id, ticket_hash FROM tickets
      WHERE expires_at <= now() LIMIT most FOR UPDATE SKIP LOCKED)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION find_ticket, forget_tickets FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_ticket, forget_tickets TO atalaia_app;
