"""The things that examples are about. Whoever executes an example puts what there really is in
the place of ids, keys and tokens, which the service gives out itself.
"""

RULE_ID = "019c13a8-5800-7000-8000-000000000001"
ALERT_ID = "4ac3a3c6-7a0f-5b0e-9a53-000000000002"
USER_ID = "019c13a8-5800-7000-8000-000000000003"
TENANT_ID = "019c13a8-5800-7000-8000-000000000004"
LEAVING_ID, LEAVING_NAME = "019c13a8-5800-7000-8000-000000000005", "Lavanderia"
KEY_ID = "0123456789abcdef"
API_KEY = f"atl_{KEY_ID}_a-secret-that-is-shown-once"
REFRESH_TOKEN = "the-refresh-token-of-a-sign-in"  # noqa: S105 an example
TICKET = "att_a-ticket-that-is-used-once"
LINK_TOKEN = "the-token-of-a-link-from-a-mail"  # noqa: S105 an example
SENSOR, METRIC, PROFILE = "boiler-1", "temperature", "boiler"
