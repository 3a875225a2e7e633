"""Telling people: mails from the outbox to a server that delivers them."""
