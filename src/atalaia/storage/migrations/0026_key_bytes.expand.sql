-- A key that replaces another one is held to the same quota of bytes.
GRANT INSERT (bytes_per_s) ON api_keys TO atalaia_app;
