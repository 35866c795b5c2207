"""The Docker Engine API, for the `docker` command, docker-py and testcontainers.

    api.py          DockerApi: finds the function for a request, tells errors as Docker does; starts and stops what runs beside requests
    routing.py      @route and the table of routes; DockerRequest, what a route's function is given
    answers.py      JSON answers and streams of JSON lines
    errors.py       from the engine's errors to statuses
    parameters.py   the query string: booleans, numbers, times
    filters.py      the `filters` parameter
    bodies.py       JSON bodies into structs: as forgiving as Docker about case and null, refusing what nobody would act on
    events.py       what happened, for `docker events`: a ring of the last ones and those who listen
    model.py        the rows kept beside the engine's

A module with routes is named in `api.MODULES`. Its functions look like this:

    @route("GET", "/images/{name}/json")
    async def inspect_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
        return json_answer(describe(api.engine.images.resolve(request["name"])))
"""
