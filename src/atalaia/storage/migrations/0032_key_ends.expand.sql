-- How many seconds a key has left; NULL: it has no end. Beside find_credential, which the release
-- before still calls without it: while the database is away nobody else says when a key ends.
CREATE FUNCTION find_key_left(key text) RETURNS float8
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT extract(epoch FROM expires_at - now())::float8 FROM api_keys WHERE key_id = key
$$;
REVOKE ALL ON FUNCTION find_key_left FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_key_left TO atalaia_app;
