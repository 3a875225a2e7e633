-- Tenants as those see them who look after all. A role of its own, which sees no table: it may call
-- these functions, and each does one thing.
CREATE FUNCTION list_tenants(beyond int4, most int4)
RETURNS TABLE (tenant_id int4, tenant_uuid uuid, name text, created_at timestamptz,
  suspended_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT t.tenant_id, t.tenant_uuid, t.name, t.created_at, t.suspended_at
  FROM tenants t WHERE t.tenant_id > beyond ORDER BY t.tenant_id LIMIT most
$$;

CREATE FUNCTION show_tenant(wanted uuid)
RETURNS TABLE (tenant_id int4, tenant_uuid uuid, name text, created_at timestamptz,
  suspended_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT t.tenant_id, t.tenant_uuid, t.name, t.created_at, t.suspended_at
  FROM tenants t WHERE t.tenant_uuid = wanted
$$;

CREATE FUNCTION make_tenant(new_uuid uuid, new_name text) RETURNS int4
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO tenants (tenant_uuid, name) VALUES (new_uuid, new_name) RETURNING tenant_id
$$;

-- The tenant's number where something changed. The tenant of those who look after all is never
-- suspended: nobody would be left to resume it.
CREATE FUNCTION suspend_tenant(wanted uuid, suspended bool) RETURNS int4
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE tenants t SET suspended_at = CASE WHEN suspended THEN now() END
  WHERE tenant_uuid = wanted AND (suspended_at IS NOT NULL) <> suspended
    AND NOT (suspended AND EXISTS (
      SELECT FROM users u WHERE u.tenant_id = t.tenant_id AND u.platform))
  RETURNING tenant_id
$$;

REVOKE ALL ON FUNCTION list_tenants, show_tenant, make_tenant, suspend_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_tenants, show_tenant, make_tenant, suspend_tenant
  TO atalaia_platform;
