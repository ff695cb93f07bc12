def includeme(config):
    config.add_static_view('static', 'static', cache_max_age=3600)
    config.add_route('home', '/')
    config.add_route('notes', '/notes')
    config.add_route('note', '/notes/{title}')
    config.add_route('upload', '/upload')
    config.add_route('environ', '/environ.json')
    config.add_route('stream', '/stream')
    config.add_route('broken', '/broken')
