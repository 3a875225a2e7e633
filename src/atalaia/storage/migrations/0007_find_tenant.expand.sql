-- Messages name their tenant by its public id, before any tenant is known.
CREATE FUNCTION find_tenant(wanted uuid) RETURNS int4
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM tenants WHERE tenant_uuid = wanted
$$;
REVOKE ALL ON FUNCTION find_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_tenant TO atalaia_app;
