-- An address stands for whoever chose a password by what was sent there. Until then any number of
-- tenants may invite it, and none of them learns of the others nor keeps it from them.
ALTER TABLE users DROP CONSTRAINT users_email_key;
CREATE UNIQUE INDEX users_of_tenant ON users (tenant_id, email);
CREATE UNIQUE INDEX users_who_sign_in ON users (email) WHERE password_hash IS NOT NULL;

CREATE OR REPLACE FUNCTION find_login(wanted text)
RETURNS TABLE (tenant_id int4, user_id uuid, password_hash text, token_version int4, suspended bool)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT u.tenant_id, u.user_id, u.password_hash, u.token_version, t.suspended_at IS NOT NULL
  FROM users u JOIN tenants t USING (tenant_id)
  WHERE u.email = wanted AND u.password_hash IS NOT NULL AND u.disabled_at IS NULL
$$;
