-- How far behind its sensor's newest reading one may come and still be judged in its place: the
-- sensor's own, else the tenant's. Committed with the readings that this lets out, and so by the
-- writer alone.
ALTER TABLE tenants ADD COLUMN lateness_us int8 NOT NULL DEFAULT 0 CHECK (lateness_us >= 0);
ALTER TABLE sensors ADD COLUMN lateness_us int8 CHECK (lateness_us >= 0);
GRANT UPDATE (lateness_us) ON tenants, sensors TO atalaia_writer;
-- The newest judged reading's time per series; empty when it is the newest reading's.
ALTER TABLE tenant_state ADD COLUMN judged bytea NOT NULL DEFAULT '';
