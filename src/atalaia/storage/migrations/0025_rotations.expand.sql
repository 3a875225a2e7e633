-- When a key was replaced by another one, which then is the one to be replaced.
ALTER TABLE api_keys ADD COLUMN replaced_at timestamptz;
GRANT UPDATE (replaced_at) ON api_keys TO atalaia_app;

-- Whoever sends a link anew wipes the mails that would bring the old one.
GRANT UPDATE (outcome, ended_at, params) ON outbox_mails TO atalaia_app;
