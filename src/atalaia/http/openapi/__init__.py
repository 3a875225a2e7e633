"""The HTTP face as OpenAPI 3.1: an operation for each route, and the shapes of what is sent.

A module per subject says what a user needs to know of its routes; `document` adds what the code
says itself: who may call them (`access`), what bodies are read (`bodies`), what errors look like
(`errors`).
"""
