-- Where each tenant's audit ends is told once a day to whoever keeps the log.
GRANT SELECT ON audit_heads TO atalaia_writer;
