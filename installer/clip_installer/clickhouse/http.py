"""Plain HTTP requests to a server, for what its handlers answer."""

from __future__ import annotations

from collections.abc import Mapping

from clip_installer.clickhouse.address import Address
from clip_installer.clickhouse.credentials import with_credentials

_SECONDS = 10


def response_headers(address: Address, path: str) -> Mapping[str, str]:
    """The headers of the response to a GET of ``path`` as the user of ``address``; none if there is no such page."""
    from clickhouse_connect.driver.httputil import get_pool_manager
    from urllib3.exceptions import HTTPError
    from urllib3.util import make_headers

    address = with_credentials(address)
    tls = address.tls.arguments(mutual=not address.password)
    tls.pop("tls_mode", None)
    login = make_headers(basic_auth=f"{address.user or 'default'}:{address.password}")
    verify = address.settings.get("verify", "").lower() not in ("false", "0", "no")
    pool = get_pool_manager(verify=verify, **tls)
    try:
        response = pool.request("GET", f"{address}{path}", headers=login, timeout=_SECONDS, retries=False)
    except HTTPError:
        return {}
    finally:
        pool.clear()
    return response.headers if response.status == 200 else {}
