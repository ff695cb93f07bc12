from pyramid.config import Configurator
from pyramid.session import SignedCookieSessionFactory


def main(global_config, **settings):
    """Return a Pyramid WSGI application."""
    with Configurator(settings=settings) as config:
        config.set_session_factory(SignedCookieSessionFactory(settings['starter.session_secret']))
        config.set_default_csrf_options(require_csrf=True)
        config.include('pyramid_jinja2')
        config.include('.routes')
        config.scan('.views')
    return config.make_wsgi_app()
