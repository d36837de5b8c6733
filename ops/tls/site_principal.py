"""Which transport certificate is a site's: its registry name as a principal."""

from hashlib import sha256

from ops.tls.principal import Principal, Role
from pipeline.core.names import SiteName

# 64 bits: whoever gets a site certificate has its city named by the authority, not by himself.
_CITY_DIGITS = 16


def site_principal(site: SiteName) -> Principal:
    """Return the principal of a site's certificate: country, site identifier (hex) and a digest of the city.

    City names have characters that a principal can't have, and more of them; the digest stands for one.
    """
    city = sha256(site.city.encode()).hexdigest()[:_CITY_DIGITS]
    return Principal(Role.SITE, f"{site.country}.{site.site_id.hex()}.{city}")
