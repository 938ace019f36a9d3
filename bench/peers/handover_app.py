"""Handover as an application for any ASGI server, to compare servers."""

from infrastructure.container import build_container, load_settings
from interfaces.http.app import create_app

app = create_app(build_container(load_settings()))
