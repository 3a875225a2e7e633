-- Tags say which rules watch a sensor: they are committed with the alerts that this closes, in the
-- same group and under the same lease, and so by the writer alone.
GRANT UPDATE (tags) ON sensors TO atalaia_writer;
REVOKE UPDATE (tags) ON sensors FROM atalaia_app;
