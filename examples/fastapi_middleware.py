"""A service that logs each of its predictions to Holdfast, and tells its caller the id to label it by later.

pip install holdfast fastapi uvicorn
export HOLDFAST_URL=http://127.0.0.1:8501 HOLDFAST_TOKEN=…    # `holdfast token create shop producer` prints one
uvicorn --app-dir examples fastapi_middleware:app --port 8000
curl -i http://127.0.0.1:8000/predict --json '{"amount": 12.5, "age": 40, "balance": 900, "channel": "web"}'
"""

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from monitor.client import TraceLogger

VERSION = "v1"


class Payment(BaseModel):
    amount: float
    age: int
    balance: float
    channel: str


class Truth(BaseModel):
    trace_id: str
    fraud: bool


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One logger a process; what could not be sent at the end waits in the spool for the next start."""
    with TraceLogger(model="fraud", spool_dir=os.environ.get("SPOOL_DIR", "spool")) as app.state.logger:
        yield


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def log_prediction(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Log what a route left in `request.state.trace`; this takes microseconds and waits for nothing."""
    response = await call_next(request)
    trace = getattr(request.state, "trace", None)
    if trace is not None:
        response.headers["X-Trace-Id"] = app.state.logger.log(**trace)
    return response


@app.post("/predict")
def predict(payment: Payment, request: Request) -> dict[str, float]:
    logit = 2 * math.log(payment.amount / 33) - (payment.balance - 1_000) / 500 + 0.8 * (payment.channel == "web")
    score = 1 / (1 + math.exp(-logit))
    request.state.trace = {"features": payment.model_dump(), "score": score, "version": VERSION}
    return {"score": score}


@app.post("/truth")
def truth(told: Truth) -> None:
    """What turned out to be so, perhaps weeks later."""
    app.state.logger.label(told.trace_id, told.fraud)
