"""What `ratchet local` prints once the service answers."""

from __future__ import annotations

from ratchet_cli.seed import ADA, APPLICATIONS, SECRETS

_TEXT = """
Ratchet is listening on {url}    (Ctrl-C stops it)

Applications, for local use only:
{applications}
User: {email}, password {password}, subject "{sub}"

Paste these into another terminal, in this order.

Sign in as Ada with her password:

  curl -s -d client_id=demo-native -d email={email} \\
      -d password={password} {url}/login; echo

Or start a session for her, as a backend that has signed her in:

  T=$(curl -s -u demo-backend:demo-backend-secret -d sub=ada -d client_id=demo-native \\
      -d scope="profile orders:read" {url}/sessions); echo "$T"

Refresh it; the refresh token moves one notch on:

  R=$(echo "$T" | sed 's/.*"refresh_token":"\\([^"]*\\)".*/\\1/')
  T2=$(curl -s -d client_id=demo-native -d refresh_token="$R" {url}/oauth/refresh); echo "$T2"

Look at her sessions, with the access token:

  A=$(echo "$T2" | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
  curl -s -H "Authorization: Bearer $A" {url}/sessions; echo

Call an API that accepts it, an example:

  curl -s -H "Authorization: Bearer $A" {url}/example/jwt; echo

End it. After that even the newest refresh token is refused, and the answer says why:

  R2=$(echo "$T2" | sed 's/.*"refresh_token":"\\([^"]*\\)".*/\\1/')
  curl -s -d client_id=demo-native -d token="$R2" {url}/oauth/revoke
  curl -s -d client_id=demo-native -d refresh_token="$R2" {url}/oauth/refresh; echo
"""


def banner(url: str) -> str:
    """Return the text to print, without a final newline. `url` has no trailing slash."""
    width = max(map(len, APPLICATIONS))
    applications = "\n".join(
        f"  {client_id:<{width}}  preset {described['preset']:<9}"
        + (f"  secret {SECRETS[client_id]}" if client_id in SECRETS else "  public")
        for client_id, described in APPLICATIONS.items()
    )
    return _TEXT.format(url=url, applications=applications, **ADA).rstrip("\n")
