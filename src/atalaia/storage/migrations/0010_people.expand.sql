-- People sign in, and keys come and go. Sessions, refresh tokens and links hold hashes alone.
-- token_version: counts what ends every session of a user (another password, another role).
-- platform: looks after all tenants. password_hash NULL: invited, and has not chosen one yet.
ALTER TABLE users
  ALTER COLUMN password_hash DROP NOT NULL,
  ADD COLUMN token_version int4 NOT NULL DEFAULT 1,
  ADD COLUMN platform      bool NOT NULL DEFAULT false,
  ADD COLUMN disabled_at   timestamptz,
  ADD COLUMN last_login_at timestamptz;
-- The first start has always made this one, with the first tenant.
UPDATE users SET platform = true WHERE email = 'admin@atalaia.local';

ALTER TABLE tenants ADD COLUMN suspended_at timestamptz;

ALTER TABLE api_keys
  ADD COLUMN expires_at   timestamptz,
  ADD COLUMN last_used_at timestamptz;

CREATE TABLE sessions (
  tenant_id   int4 NOT NULL,
  session_id  uuid NOT NULL UNIQUE,
  user_id     uuid NOT NULL,
  began_at    timestamptz NOT NULL DEFAULT now(),
  ends_at     timestamptz NOT NULL,
  revoked_at  timestamptz,
  PRIMARY KEY (tenant_id, session_id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX sessions_of_user ON sessions (tenant_id, user_id);

-- A token is used once: next_hash is then what followed it.
CREATE TABLE refresh_tokens (
  tenant_id  int4 NOT NULL,
  token_hash bytea NOT NULL UNIQUE,
  session_id uuid NOT NULL,
  issued_at  timestamptz NOT NULL DEFAULT now(),
  used_at    timestamptz,
  next_hash  bytea,
  PRIMARY KEY (tenant_id, token_hash),
  FOREIGN KEY (tenant_id, session_id) REFERENCES sessions ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (tenant_id, session_id);

-- What lets somebody choose a password, once.
CREATE TABLE user_links (
  tenant_id  int4 NOT NULL,
  link_hash  bytea NOT NULL UNIQUE,
  user_id    uuid NOT NULL,
  purpose    text NOT NULL CHECK (purpose IN ('invitation', 'reset')),
  made_at    timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, link_hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX user_links_of_user ON user_links (tenant_id, user_id);

-- Mails to be sent. The application writes them and cannot read them: they hold links.
CREATE TABLE outbox_mails (
  tenant_id  int4 NOT NULL REFERENCES tenants,
  mail_id    uuid NOT NULL,
  kind       text NOT NULL,
  recipient  text NOT NULL,
  params     jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, mail_id)
);

-- Before any tenant is known. Beside find_key_with_quota, which the release before still calls.
CREATE FUNCTION find_credential(wanted text)
RETURNS TABLE (tenant_id int4, tenant_uuid uuid, hash bytea, name text, scopes text[],
  readings_per_s int4, bytes_per_s int8, max_rules int4, key_readings_per_s int4, suspended bool)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT k.tenant_id, t.tenant_uuid, k.hash, k.name, k.scopes, t.readings_per_s, t.bytes_per_s,
    t.max_rules, k.readings_per_s, t.suspended_at IS NOT NULL
  FROM api_keys k JOIN tenants t USING (tenant_id)
  WHERE k.key_id = wanted AND k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

CREATE FUNCTION find_login(wanted text)
RETURNS TABLE (tenant_id int4, user_id uuid, password_hash text, token_version int4, suspended bool)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT u.tenant_id, u.user_id, u.password_hash, u.token_version, t.suspended_at IS NOT NULL
  FROM users u JOIN tenants t USING (tenant_id)
  WHERE u.email = wanted AND u.disabled_at IS NULL
$$;

CREATE FUNCTION find_session(wanted uuid)
RETURNS TABLE (tenant_id int4, tenant_uuid uuid, user_id uuid, email text, role text, platform bool,
  token_version int4, readings_per_s int4, bytes_per_s int8, max_rules int4, suspended bool)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT u.tenant_id, t.tenant_uuid, u.user_id, u.email, u.role, u.platform, u.token_version,
    t.readings_per_s, t.bytes_per_s, t.max_rules, t.suspended_at IS NOT NULL
  FROM sessions s JOIN users u USING (tenant_id, user_id) JOIN tenants t USING (tenant_id)
  WHERE s.session_id = wanted AND s.revoked_at IS NULL AND s.ends_at > now()
    AND u.disabled_at IS NULL
$$;

CREATE FUNCTION find_refresh_token(wanted bytea) RETURNS int4
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM refresh_tokens WHERE token_hash = wanted
$$;

CREATE FUNCTION find_link(wanted bytea) RETURNS int4
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM user_links WHERE link_hash = wanted
$$;

-- When keys of any tenants were used last, in one go.
CREATE FUNCTION touch_keys(keys text[], times timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, used.at)
  FROM unnest(keys, times) AS used (key_id, at) WHERE k.key_id = used.key_id
$$;

DO $$
DECLARE
  tab text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['sessions', 'refresh_tokens', 'user_links', 'outbox_mails'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tab);
    EXECUTE format($p$CREATE POLICY app ON %I TO atalaia_app
      USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
      WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))$p$, tab);
    EXECUTE format('CREATE POLICY writer ON %I TO atalaia_writer USING (true) WITH CHECK (true)', tab);
    EXECUTE format('CREATE POLICY migrate ON %I TO atalaia_migrate USING (true) WITH CHECK (true)', tab);
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION find_credential, find_login, find_session, find_refresh_token, find_link,
  touch_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_credential, find_login, find_session, find_refresh_token, find_link,
  touch_keys TO atalaia_app;

GRANT INSERT (tenant_id, user_id, email, role), DELETE ON users TO atalaia_app;
GRANT UPDATE (password_hash, role, token_version, disabled_at, last_login_at) ON users TO atalaia_app;
GRANT INSERT (tenant_id, key_id, hash, name, scopes, expires_at, readings_per_s) ON api_keys
  TO atalaia_app;
GRANT UPDATE (revoked_at, expires_at) ON api_keys TO atalaia_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, user_links TO atalaia_app;
GRANT SELECT, INSERT, UPDATE ON refresh_tokens TO atalaia_app;
GRANT INSERT ON outbox_mails TO atalaia_app;
