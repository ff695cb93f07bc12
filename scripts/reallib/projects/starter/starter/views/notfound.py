from pyramid.view import exception_view_config, notfound_view_config


@notfound_view_config(renderer='starter:templates/404.jinja2')
def notfound(request):
    request.response.status = 404
    return {}


@exception_view_config(RuntimeError, renderer='json')
def failed(error, request):
    request.response.status = 500
    return {'error': str(error)}
