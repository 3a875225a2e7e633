-- Rules that open alerts without a reading: their tenants are awake from the start.
ALTER TABLE rules ADD COLUMN waits bool NOT NULL DEFAULT false;
CREATE INDEX rules_waiting ON rules (tenant_id) WHERE waits AND enabled AND deleted_at IS NULL;
