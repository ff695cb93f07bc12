"""A router, an application and a filter made with the toolkit: a catalogue that can be read as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefork.toolkit import Application, Mapper, Middleware, Request, Response, Router, wsgify

if TYPE_CHECKING:
    from typing import Self

TITLES = {
    '1': 'The Mysterious Affair at Styles',
    '2': 'The Murder on the Links',
}


class Catalogue(Application):
    """Answers for all books and for one; ``action`` and ``id`` come from the route."""

    @wsgify
    def __call__(self, req: Request) -> Response | None:
        if req.urlvars['action'] == 'index':
            return Response(json=TITLES)
        title = TITLES.get(req.urlvars['id'])
        if title is None:
            req.response = Response(json={'error': 'no such book'}, status=404)
            return None
        return Response(json={'title': title})


class Books(Router):
    """``/books`` and ``/books/1``."""

    @classmethod
    def factory(cls, global_config: dict[str, str]) -> Self:
        return cls()

    def __init__(self) -> None:
        mapper = Mapper()
        catalogue = Catalogue()
        read = {'method': ['GET', 'HEAD']}
        mapper.connect(None, '/books', controller=catalogue, action='index', conditions=read)
        mapper.connect(None, '/books/{id}', controller=catalogue, action='show', conditions=read)
        super().__init__(mapper)


class MaxAge(Middleware):
    """Lets caches keep successful responses for ``seconds``, an option of its section."""

    def __init__(self, application: Application, seconds: str = '60') -> None:
        super().__init__(application)
        self.seconds = int(seconds)

    def process_response(self, response: Response) -> Response:
        if response.status_int == 200:
            response.cache_control.max_age = self.seconds
        return response
