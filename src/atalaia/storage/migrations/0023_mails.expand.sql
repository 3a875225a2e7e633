-- How a mail fares: tried again until it is sent, dead (nobody takes it), or expired (its link holds
-- no more). What is in it is wiped then. A try holds a mail for a while and is known by its number:
-- whoever comes back too late changes nothing.
ALTER TABLE outbox_mails
  ADD COLUMN tries       int4 NOT NULL DEFAULT 0,
  ADD COLUMN next_try_at timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN outcome     text CHECK (outcome IN ('sent', 'dead', 'expired')),
  ADD COLUMN ended_at    timestamptz,
  ADD COLUMN last_error  text;
CREATE INDEX outbox_mails_due ON outbox_mails (next_try_at) WHERE outcome IS NULL;
CREATE INDEX outbox_mails_ended ON outbox_mails (ended_at) WHERE outcome IS NOT NULL;

-- Wipe mails the link of which holds no more; forget those that ended a month ago. How many expired.
CREATE FUNCTION expire_mails() RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  expired int8;
BEGIN
  UPDATE outbox_mails SET outcome = 'expired', ended_at = now(), params = '{}'
    WHERE outcome IS NULL
      AND created_at + (params ->> 'lives_s')::int8 * interval '1 second' < now();
  GET DIAGNOSTICS expired = ROW_COUNT;
  DELETE FROM outbox_mails WHERE outcome IS NOT NULL AND ended_at < now() - interval '30 days';
  RETURN expired;
END $$;

-- Take mails to send, none that somebody else has in hand, nor any of a suspended tenant.
CREATE FUNCTION claim_mails(most int4, hold_s int4)
RETURNS TABLE (tenant_id int4, mail_id uuid, kind text, recipient text, params jsonb, tries int4,
  tenant_name text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE outbox_mails m SET tries = m.tries + 1,
    next_try_at = now() + hold_s * interval '1 second'
  FROM (
    -- In turns: one tenant's thousand invitations do not stand before another one's only mail.
    SELECT o.tenant_id, o.mail_id, t.name FROM outbox_mails o JOIN tenants t USING (tenant_id)
      JOIN (SELECT w.mail_id, row_number() OVER (
        PARTITION BY w.tenant_id ORDER BY w.next_try_at) AS turn
        FROM outbox_mails w WHERE w.outcome IS NULL AND w.next_try_at <= now()) q USING (mail_id)
    WHERE o.outcome IS NULL AND o.next_try_at <= now() AND t.suspended_at IS NULL
    ORDER BY q.turn, o.next_try_at LIMIT most FOR UPDATE OF o SKIP LOCKED
  ) due
  WHERE m.tenant_id = due.tenant_id AND m.mail_id = due.mail_id
  RETURNING m.tenant_id, m.mail_id, m.kind, m.recipient, m.params, m.tries, due.name
$$;

-- What became of a try. how: sent, dead; NULL: it is tried again after wait_s.
CREATE FUNCTION end_mail_try(of_tenant int4, of_mail uuid, of_try int4, how text, wait_s int4,
  error text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE outbox_mails SET outcome = how, last_error = error,
    ended_at = CASE WHEN how IS NOT NULL THEN now() END,
    params = CASE WHEN how IS NOT NULL THEN '{}' ELSE params END,
    next_try_at = now() + wait_s * interval '1 second'
  WHERE tenant_id = of_tenant AND mail_id = of_mail AND tries = of_try AND outcome IS NULL
$$;

REVOKE ALL ON FUNCTION expire_mails, claim_mails, end_mail_try FROM PUBLIC;
GRANT EXECUTE ON FUNCTION expire_mails, claim_mails, end_mail_try TO atalaia_platform;

-- For the tenant's archive.
GRANT SELECT (tries, outcome, ended_at, last_error) ON outbox_mails TO atalaia_app;
