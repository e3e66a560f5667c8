"""Is the service in this container ready? Ends with 0, or with 1 and why not, as ``HEALTHCHECK`` asks.

It knows settings of the environment, not options of the command line.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request


def address() -> str:
    """Where ``/readyz`` is answered, from within."""
    host = os.environ.get("VEHICLE_SEARCH_HOST", "127.0.0.1")
    scheme = "https" if os.environ.get("VEHICLE_SEARCH_TLS_CERTIFICATE") else "http"
    near = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  # every address is meant
    return f"{scheme}://{near}:{os.environ.get('VEHICLE_SEARCH_PORT', '8000')}/readyz"


def main() -> int:
    """The exit code. The certificate is not looked at: it is of another name, and the way is within the container."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(address(), timeout=3, context=trust) as answer:  # noqa: S310  # ours
            sys.stdout.write(answer.read(4096).decode() + "\n")
            return 0
    except urllib.error.HTTPError as error:
        sys.stdout.write(f"{error.code} {error.read(4096).decode(errors='replace')}\n")
    except OSError as error:
        sys.stdout.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
