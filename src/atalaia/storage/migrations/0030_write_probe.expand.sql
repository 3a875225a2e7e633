-- What is written to find out whether a commit could be stored. Emptied before, which gives it a new
-- file: on a full disk the files that are there have room for a while.
CREATE TABLE write_probe (at timestamptz NOT NULL);
GRANT INSERT, TRUNCATE ON write_probe TO atalaia_writer;
