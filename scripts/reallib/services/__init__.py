"""The table of services that are tried, in the order of how long they take."""

from __future__ import annotations

from reallib.services import glance, keystone, kinto, placement, pyramid

BY_NAME = {
    service.name: service
    for service in (pyramid.SERVICE, placement.SERVICE, keystone.SERVICE, glance.SERVICE, kinto.SERVICE)
}
