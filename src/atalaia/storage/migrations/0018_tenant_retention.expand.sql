-- How long a tenant keeps its readings, where that is shorter than the service does.
ALTER TABLE tenants
  ADD COLUMN retention_days int4 CHECK (retention_days BETWEEN 1 AND 99999);
GRANT UPDATE (retention_days) ON tenants TO atalaia_app;

-- From when on a tenant's readings are complete; of the day before that those of series up to
-- `cleared` are deleted already, all of them when it is NULL.
ALTER TABLE rollup_marks
  ADD COLUMN complete_from timestamptz,
  ADD COLUMN cleared int4;

-- Delete some of the current tenant's readings that its retention no longer covers, by this
-- server's clock, whatever the caller says. The application may delete no reading otherwise.
CREATE FUNCTION delete_expired(wanted int4[], since timestamptz, until timestamptz, most int4)
RETURNS int8 LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  tenant int4 := nullif(current_setting('app.tenant_id', true), '')::int4;
  days int4;
  done int8;
BEGIN
  SELECT retention_days INTO days FROM tenants WHERE tenant_id = tenant;
  IF days IS NULL OR until > now() - days * interval '1 day' THEN
    RETURN NULL;
  END IF;
  DELETE FROM readings WHERE ts >= since AND ts < until AND (series_id, ts) IN (
    SELECT r.series_id, r.ts FROM readings r
    WHERE r.tenant_id = tenant AND r.series_id = ANY(wanted) AND r.ts >= since AND r.ts < until
    LIMIT most);
  GET DIAGNOSTICS done = ROW_COUNT;
  RETURN done;
END $$;
REVOKE ALL ON FUNCTION delete_expired FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_expired TO atalaia_app;
