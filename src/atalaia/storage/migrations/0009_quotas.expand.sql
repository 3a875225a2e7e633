-- How much a tenant and a key may send; NULL: as the process says. max_series stands there since 0001.
ALTER TABLE tenants
  ADD COLUMN readings_per_s int4 CHECK (readings_per_s > 0),
  ADD COLUMN bytes_per_s int8 CHECK (bytes_per_s > 0),
  ADD COLUMN max_rules int4 CHECK (max_rules BETWEEN 0 AND 1000);
ALTER TABLE api_keys ADD COLUMN readings_per_s int4 CHECK (readings_per_s > 0);

-- Beside find_api_key, which processes of the release before still call.
CREATE FUNCTION find_key_with_quota(wanted text)
RETURNS TABLE (tenant_id int4, tenant_uuid uuid, hash bytea, scopes text[], readings_per_s int4,
  bytes_per_s int8, max_rules int4, key_readings_per_s int4)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT k.tenant_id, t.tenant_uuid, k.hash, k.scopes, t.readings_per_s, t.bytes_per_s, t.max_rules,
    k.readings_per_s
  FROM api_keys k JOIN tenants t USING (tenant_id)
  WHERE k.key_id = wanted AND k.revoked_at IS NULL
$$;
REVOKE ALL ON FUNCTION find_key_with_quota FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_key_with_quota TO atalaia_app;
