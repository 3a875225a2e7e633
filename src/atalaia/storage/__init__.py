"""The ports on Postgres. The only package that speaks SQL."""
