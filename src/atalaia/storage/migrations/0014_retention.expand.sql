-- Drop one partition that ended more than age_us ago by this server's clock; false: not now.
-- Two clocks have to agree, the caller's and this one: a clock that leaps forward must not be
-- enough to lose a year. Whoever reads keeps the lock away for longer than the wait; then the
-- next time does it, since everybody else would wait behind us.
CREATE FUNCTION drop_partition(wanted text, age_us int8) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '250ms' AS $$
DECLARE
  until timestamptz;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('atalaia.ensure_partition'));
  SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz
    INTO until
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.readings'::regclass AND c.relname = wanted;
  IF NOT FOUND THEN
    RETURN true;  -- somebody else has
  END IF;
  IF until IS NULL OR until > now() - age_us * interval '1 microsecond' THEN
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE public.%I', wanted);
  RETURN true;
EXCEPTION WHEN lock_not_available THEN
  RETURN false;
END $$;
REVOKE ALL ON FUNCTION drop_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_partition TO atalaia_writer;
