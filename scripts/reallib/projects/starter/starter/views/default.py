import hashlib
import logging

from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.response import Response
from pyramid.view import view_config

log = logging.getLogger(__name__)


@view_config(route_name='home', renderer='starter:templates/home.jinja2')
def home(request):
    return {'project': 'Starter', 'notes': request.session.get('notes', {})}


@view_config(route_name='notes', request_method='POST')
def add_note(request):
    """Notes are kept in the session, which is a cookie: any worker may answer the next request."""
    notes = dict(request.session.get('notes', {}))
    notes[request.POST['title']] = request.POST['text']
    request.session['notes'] = notes
    request.session.flash('added')
    log.debug('a note was added')
    return HTTPSeeOther(request.route_path('home'))


@view_config(route_name='note', renderer='json')
def note(request):
    title = request.matchdict['title']
    notes = request.session.get('notes', {})
    if title not in notes:
        raise HTTPNotFound(title)
    return {'title': title, 'text': notes[title]}


@view_config(route_name='upload', request_method='POST', require_csrf=False, renderer='json')
def upload(request):
    field = request.POST['file']
    content = field.file.read()
    return {'name': field.filename, 'size': len(content), 'digest': hashlib.sha256(content).hexdigest()}


@view_config(route_name='environ', renderer='json')
def environ(request):
    return {name: value for name, value in request.environ.items() if isinstance(value, str | bool | int)}


@view_config(route_name='stream')
def stream(request):
    return Response(app_iter=(b'%d\n' % number for number in range(10_000)), content_type='text/plain')


@view_config(route_name='broken')
def broken(request):
    raise RuntimeError('as it was meant to')
