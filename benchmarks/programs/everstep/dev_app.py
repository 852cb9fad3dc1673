"""The project that `everstep dev` is measured with: POST / creates an instance, GET / answers."""

from everstep import Env, Request, Response, WorkerEntrypoint, Workflow, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class BenchEnv(Env):
    EMPTY: Workflow


class Empty(WorkflowEntrypoint[BenchEnv]):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        return None


class Default(WorkerEntrypoint[BenchEnv]):
    async def fetch(self, request: Request) -> Response:
        if request.method == "GET":
            return Response.json({"ready": True})
        instance = await self.env.EMPTY.create()
        return Response.json({"id": instance.id}, status=201)
