import hashlib

import pytest


def test_root(testapp):
    response = testapp.get('/', status=200)
    assert response.content_type == 'text/html'
    assert '<h1>Starter</h1>' in response


def test_notfound(testapp):
    response = testapp.get('/badurl', status=404)
    assert '404 Page Not Found' in response


def test_head(testapp):
    response = testapp.head('/', status=200)
    assert response.body == b''


@pytest.mark.parametrize('title', ['shopping', 'Grüße & more', 'a/b?c=d', '日本'])
def test_a_form_is_filled_in_and_remembered(testapp, title):
    form = testapp.get('/').forms[0]
    form['title'] = title
    form['text'] = 'milk'
    response = form.submit(status=303).follow(status=200)
    assert '<p class="flash">added</p>' in response
    assert 'milk' in response
    assert 'class="flash"' not in testapp.get('/')


def test_a_note_by_its_name(testapp):
    form = testapp.get('/').forms[0]
    form['title'] = 'Grüße'
    form['text'] = 'aus Köln'
    response = form.submit().follow().click('Grüße', href='/notes/')
    assert response.json == {'title': 'Grüße', 'text': 'aus Köln'}


def test_a_form_without_its_token_is_refused(testapp):
    testapp.post('/notes', {'title': 'a', 'text': 'b'}, status=400)


@pytest.mark.parametrize('size', [0, 1, 70_000, 3_000_000])
def test_an_upload(testapp, size):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    response = testapp.post('/upload', upload_files=[('file', 'data.bin', content)], status=200)
    assert response.json == {'name': 'data.bin', 'size': size, 'digest': hashlib.sha256(content).hexdigest()}


def test_static_files_are_cached(testapp):
    response = testapp.get('/static/theme.css', status=200)
    assert response.content_type == 'text/css'
    assert response.cache_control.max_age == 3600
    response = testapp.get('/static/theme.css', headers={'If-Modified-Since': response.headers['Last-Modified']})
    assert response.status_int == 304
    assert response.body == b''


def test_a_response_of_unknown_length(testapp):
    response = testapp.get('/stream', status=200)
    assert response.body == b''.join(b'%d\n' % number for number in range(10_000))


def test_an_error_of_the_application(testapp):
    response = testapp.get('/broken', status=500)
    assert response.json == {'error': 'as it was meant to'}


def test_the_query_arrives_as_it_was_sent(testapp):
    environ = testapp.get('/environ.json?a=%2F&b=%C3%BC&a=+').json
    assert environ['QUERY_STRING'] == 'a=%2F&b=%C3%BC&a=+'
    assert environ['PATH_INFO'] == '/environ.json'
    assert environ['REQUEST_METHOD'] == 'GET'
