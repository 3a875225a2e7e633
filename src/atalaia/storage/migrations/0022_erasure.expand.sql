-- A tenant that is being erased: from here on nothing is committed for it, and it is never resumed.
ALTER TABLE tenants ADD COLUMN erasing_at timestamptz;

-- What is known of an erasure. It outlives the tenant, and so says nothing of whom it was about: a
-- number, when, by whom, and how many rows of each table. at_partition, at_series: readings up to
-- there are deleted. audit_seq, audit_hash: where the tenant's own chain ended.
CREATE TABLE erasures (
  tenant_uuid  uuid PRIMARY KEY,
  tenant_no    int4 NOT NULL UNIQUE,
  actor        text NOT NULL,
  actor_name   text NOT NULL,
  began_at     timestamptz NOT NULL DEFAULT now(),
  finished_at  timestamptz,
  deleted      jsonb NOT NULL DEFAULT '{}',
  at_partition text COLLATE "C" NOT NULL DEFAULT '',
  at_series    int4 NOT NULL DEFAULT 0,
  audit_seq    int8,
  audit_hash   bytea
);

-- Every commit of a tenant's brings a state, and that it brings one holds the tenant's row against
-- whoever begins an erasure. So there is no commit that began before it and lands after it.
CREATE FUNCTION refuse_erased() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM brought JOIN tenants USING (tenant_id) WHERE erasing_at IS NOT NULL) THEN
    RAISE EXCEPTION 'this tenant is being erased' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION refuse_erased FROM PUBLIC;
CREATE TRIGGER refuse_erased AFTER INSERT ON tenant_state
  REFERENCING NEW TABLE AS brought FOR EACH STATEMENT EXECUTE FUNCTION refuse_erased();

-- Who is being erased is not resumed.
CREATE OR REPLACE FUNCTION suspend_tenant(wanted uuid, suspended bool) RETURNS int4
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE tenants t SET suspended_at = CASE WHEN suspended THEN now() END
  WHERE tenant_uuid = wanted AND (suspended_at IS NOT NULL) <> suspended
    AND (suspended OR erasing_at IS NULL)
    AND NOT (suspended AND EXISTS (
      SELECT FROM users u WHERE u.tenant_id = t.tenant_id AND u.platform))
  RETURNING tenant_id
$$;

-- What is written down of it goes to the audit of those who look after all tenants.
CREATE FUNCTION audit_erasure(e erasures, what text, detail json) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO audit (tenant_id, actor, actor_name, action, target, detail)
  SELECT min(tenant_id), e.actor, e.actor_name, what, e.tenant_uuid, detail
  FROM users WHERE platform HAVING min(tenant_id) IS NOT NULL
$$;

-- What came of it: began, erasing, erased, unknown, platform, not_suspended, or other_name.
CREATE FUNCTION begin_erasure(wanted uuid, said_name text, by_actor text, by_name text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  t tenants;
  e erasures;
BEGIN
  SELECT * INTO t FROM tenants WHERE tenant_uuid = wanted FOR UPDATE;
  IF NOT FOUND THEN
    RETURN CASE WHEN EXISTS (SELECT FROM erasures WHERE tenant_uuid = wanted)
      THEN 'erased' ELSE 'unknown' END;
  ELSIF EXISTS (SELECT FROM users u WHERE u.tenant_id = t.tenant_id AND u.platform) THEN
    RETURN 'platform';
  ELSIF t.name <> said_name THEN
    RETURN 'other_name';
  ELSIF t.erasing_at IS NOT NULL THEN
    RETURN 'erasing';
  ELSIF t.suspended_at IS NULL THEN
    RETURN 'not_suspended';
  END IF;
  UPDATE tenants SET erasing_at = now() WHERE tenant_id = t.tenant_id;
  INSERT INTO erasures (tenant_uuid, tenant_no, actor, actor_name, audit_seq, audit_hash)
    SELECT wanted, t.tenant_id, by_actor, by_name, max(seq), (array_agg(hash))[1]
    FROM audit_heads WHERE tenant_id = t.tenant_id
    RETURNING * INTO e;
  PERFORM audit_erasure(e, 'tenant.erasure_began', '{}');
  RETURN 'began';
END $$;

-- Tables that hold something of tenants, those first that refer to others: read from the catalogue,
-- so that none that is added later can be forgotten. Readings are deleted in a way of their own.
CREATE FUNCTION tables_of_tenants() RETURNS TABLE (name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH RECURSIVE held AS (
    SELECT c.oid, c.relname::text AS name
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
      AND NOT a.attisdropped
  ), ranked AS (
    SELECT oid, 0 AS rank FROM held
    UNION
    SELECT f.conrelid, r.rank + 1 FROM ranked r JOIN pg_constraint f
      ON f.contype = 'f' AND f.confrelid = r.oid AND f.conrelid <> f.confrelid
  )
  SELECT held.name FROM held JOIN ranked USING (oid) WHERE held.name <> 'tenants'
  GROUP BY 1 ORDER BY max(rank) DESC, 1
$$;

-- Delete the next part of a tenant that is being erased, `most` rows of a table at a time and not
-- for much longer than a fifth of a second. True: nothing of it is left, and that is written down.
CREATE FUNCTION erase_some(wanted uuid, most int4) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  e erasures;
  members int4[];
  part text;
  tab text;
  gone int8;
  left_over bool := false;
BEGIN
  SELECT * INTO e FROM erasures WHERE tenant_uuid = wanted AND finished_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN EXISTS (SELECT FROM erasures WHERE tenant_uuid = wanted);
  END IF;
  LOOP
    SELECT min(l.name COLLATE "C") INTO part FROM list_partitions() l
      WHERE l.name COLLATE "C" > e.at_partition;
    EXIT WHEN part IS NULL;
    SELECT array_agg(s.series_id ORDER BY s.series_id) INTO members FROM (
      SELECT series_id FROM series WHERE tenant_id = e.tenant_no AND series_id > e.at_series
      ORDER BY series_id LIMIT 500) s;
    gone := 0;
    IF members IS NOT NULL THEN
      EXECUTE format(
        -- By place and not by key: a planner that has not counted the rows joins each with each.
        'DELETE FROM public.%1$I WHERE tenant_id = $1 AND ctid = ANY (ARRAY('
        ' SELECT r.place FROM unnest($2) AS s (id) CROSS JOIN LATERAL ('
        '  SELECT p.ctid AS place FROM public.%1$I p WHERE p.series_id = s.id LIMIT $3) r'
        ' LIMIT $3))', part) USING e.tenant_no, members, most;
      GET DIAGNOSTICS gone = ROW_COUNT;
      e.deleted := count_up(e.deleted, 'readings', gone);
    END IF;
    IF gone >= most THEN
      NULL;  -- there may be more of these
    ELSIF members IS NULL OR cardinality(members) < 500 THEN
      e.at_partition := part;
      e.at_series := 0;
    ELSE
      e.at_series := members[cardinality(members)];
    END IF;
    IF clock_timestamp() > statement_timestamp() + interval '200 ms' THEN
      left_over := true;
      EXIT;
    END IF;
  END LOOP;
  IF NOT left_over THEN
    FOR tab IN SELECT t.name FROM tables_of_tenants() t LOOP
      EXECUTE format('DELETE FROM public.%1$I WHERE ctid = ANY (ARRAY('
        'SELECT ctid FROM public.%1$I WHERE tenant_id = $1 LIMIT $2))', tab)
        USING e.tenant_no, most;
      GET DIAGNOSTICS gone = ROW_COUNT;
      e.deleted := count_up(e.deleted, tab, gone);
      IF gone >= most OR clock_timestamp() > statement_timestamp() + interval '200 ms' THEN
        left_over := true;
        EXIT;
      END IF;
    END LOOP;
  END IF;
  IF NOT left_over THEN
    BEGIN
      DELETE FROM tenants WHERE tenant_id = e.tenant_no AND erasing_at IS NOT NULL;
      e.finished_at := now();
    EXCEPTION WHEN foreign_key_violation THEN
      NULL;  -- something has come meanwhile: it goes the next time
    END;
  END IF;
  UPDATE erasures SET deleted = e.deleted, at_partition = e.at_partition, at_series = e.at_series,
    audit_seq = e.audit_seq, audit_hash = e.audit_hash, finished_at = e.finished_at
    WHERE tenant_uuid = wanted;
  IF e.finished_at IS NOT NULL THEN
    PERFORM audit_erasure(e, 'tenant.erased', json_build_object('deleted', e.deleted,
      'audit', json_build_object('seq', coalesce(e.audit_seq, 0),
        'hash', encode(coalesce(e.audit_hash, ''), 'hex'))));
  END IF;
  RETURN e.finished_at IS NOT NULL;
END $$;

CREATE FUNCTION count_up(counts jsonb, what text, more int8) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN more = 0 THEN counts
    ELSE counts || jsonb_build_object(what, coalesce((counts ->> what)::int8, 0) + more) END
$$;

-- Erasures that are under way, and those that ended within the last hour.
CREATE FUNCTION list_erasures() RETURNS SETOF erasures
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT * FROM erasures WHERE finished_at IS NULL OR finished_at > now() - interval '1 hour'
  ORDER BY began_at
$$;

CREATE FUNCTION show_erasure(wanted uuid) RETURNS SETOF erasures
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT * FROM erasures WHERE tenant_uuid = wanted
$$;

REVOKE ALL ON FUNCTION audit_erasure, begin_erasure, tables_of_tenants, erase_some, count_up,
  list_erasures, show_erasure FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_erasure, erase_some, list_erasures, show_erasure
  TO atalaia_platform;

-- Whoever takes a tenant's archive reads what is of that tenant alone, under its policies: also what
-- could not be stored, and which mails were written, but for what is in them.
GRANT SELECT ON dead_letters TO atalaia_app;
GRANT SELECT (tenant_id, mail_id, kind, recipient, created_at) ON outbox_mails TO atalaia_app;
