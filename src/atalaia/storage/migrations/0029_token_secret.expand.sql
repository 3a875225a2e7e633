-- Which secrets of access tokens the process that started last goes by: by the ids that stand in the
-- tokens' headers, which say nothing of the secrets. Processes that share none sign each other's
-- people out. Whoever starts reads and writes it as the owner.
CREATE TABLE token_secrets (key_id text PRIMARY KEY);
