-- Quotas of bytes: of a key, and of a tenant's bodies that are not answered yet.
ALTER TABLE tenants ADD COLUMN waiting_bytes int8 CHECK (waiting_bytes > 0);
ALTER TABLE api_keys ADD COLUMN bytes_per_s int8 CHECK (bytes_per_s > 0);

-- Beside find_credential and find_session, which the release before still calls without it.
CREATE FUNCTION find_bounds(tenant int4, key text)
RETURNS TABLE (waiting_bytes int8, key_bytes_per_s int8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT t.waiting_bytes, (SELECT bytes_per_s FROM api_keys WHERE key_id = key)
  FROM tenants t WHERE t.tenant_id = tenant
$$;
REVOKE ALL ON FUNCTION find_bounds FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_bounds TO atalaia_app;
