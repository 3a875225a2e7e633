-- What is known of a sensor beside its tags, and what the sensors of a profile share. None of it
-- judges anything, so it goes by itself and not through the engine's commits. Groups and profiles
-- of sensors are their tags of these names.
ALTER TABLE sensors
  ADD COLUMN latitude    float8 CHECK (latitude BETWEEN -90 AND 90),
  ADD COLUMN longitude   float8 CHECK (longitude BETWEEN -180 AND 180),
  ADD COLUMN place       text,
  ADD COLUMN expected_us int8 CHECK (expected_us > 0);
GRANT UPDATE (latitude, longitude, place, expected_us) ON sensors TO atalaia_app;

-- The end of a sensor is committed with that of its alerts, and so by the writer alone.
GRANT UPDATE (deleted_at) ON sensors TO atalaia_writer;

CREATE TABLE profiles (
  tenant_id   int4 NOT NULL REFERENCES tenants,
  name        text COLLATE "C" NOT NULL,
  description text NOT NULL,
  expected_us int8 CHECK (expected_us > 0),
  rules       text NOT NULL,
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON profiles TO atalaia_app
  USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4))
  WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::int4));
CREATE POLICY writer ON profiles TO atalaia_writer USING (true) WITH CHECK (true);
CREATE POLICY migrate ON profiles TO atalaia_migrate USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON profiles TO atalaia_app;
