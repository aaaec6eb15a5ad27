"""OpenTelemetry spans of calls: a shard's span is a child of the router's, and that of the caller's, if it has one."""

from __future__ import annotations

import grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

from cdp_router.rpc.call import Call


class Traces:
    """An observer of calls; a call that is not sampled passes that decision on."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("cdp")
        self._propagator = TraceContextTextMapPropagator()
        self._provider = provider

    def began(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Begins the call's span and makes the calls it makes refer to it."""
        given = {key: value for key, value in metadata if isinstance(value, str)}
        span = self._tracer.start_span(
            f"{call.service}/{call.method}",
            context=self._propagator.extract(given),
            kind=trace.SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": call.service,
                "rpc.method": call.method,
                "cdp.request_id": call.request_id,
            },
        )
        carrier = dict[str, str]()
        self._propagator.inject(carrier, context=trace.set_span_in_context(span))
        call.passed_on, call.span = (*call.passed_on, *carrier.items()), span

    def ended(self, call: Call, seconds: float) -> None:
        """Ends the call's span."""
        span = call.span
        assert isinstance(span, trace.Span)
        span.set_attribute("rpc.grpc.status_code", call.code.value[0])
        if call.code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR, call.code.name))
        span.end()

    def close(self) -> None:
        """Sends the spans that wait."""
        self._provider.shutdown()


def configured(role: str) -> Traces:
    """Traces to the place in the standard OTEL_* variables of the environment, named cdp-router or cdp-shard-0."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"cdp-{role}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
