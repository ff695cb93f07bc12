import os

import pytest
import webtest
from pyramid.paster import get_appsettings
from starter import main


def pytest_addoption(parser):
    parser.addoption('--ini', action='store', metavar='INI_FILE')


@pytest.fixture(scope='session')
def ini_file(request):
    # potentially grab this path from a pytest option
    return os.path.abspath(request.config.option.ini or 'testing.ini')


@pytest.fixture(scope='session')
def app_settings(ini_file):
    return get_appsettings(ini_file)


@pytest.fixture(scope='session')
def app(app_settings, ini_file):
    return main({'__file__': ini_file, 'here': os.path.dirname(ini_file)}, **app_settings)


@pytest.fixture
def testapp(app):
    """WebTest asks the application, or the server that WEBTEST_TARGET_URL names."""
    return webtest.TestApp(app)
