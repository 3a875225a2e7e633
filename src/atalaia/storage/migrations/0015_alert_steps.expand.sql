-- The steps of a tenant's alerts in the order of their commits, for whoever follows them.
CREATE INDEX alert_events_in_order ON alert_events (tenant_id, arrival, ordinal);
