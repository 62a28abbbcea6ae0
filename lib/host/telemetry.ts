/** The attributes of a span. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** An operation in a trace, while it runs. */
export interface Span {
  /** `TRACEPARENT`, and `TRACESTATE` if there is one, for programs that belong to the operation. Source: W3C Trace Context. */
  readonly environment: Readonly<Record<string, string>>;
  /** Adds attributes that became known while the operation ran. */
  note(attributes: SpanAttributes): void;
}

/** Records operations; one that starts inside another one becomes its child. */
export interface Tracer {
  /**
   * Returns, or throws, what the body does. `caller` is the `traceparent` of an operation of another process that has caused this
   * one: then it is the parent, if it is recorded.
   */
  span<T>(
    name: string,
    attributes: SpanAttributes,
    body: (span: Span) => Promise<T>,
    caller?: string,
  ): Promise<T>;
}

/** The trace that this process belongs to. */
export interface TracerOptions {
  /** The variable `TRACEPARENT`: the span in which the process was started. @default {none} */
  readonly traceparent?: string | undefined;
  /** The variable `TRACESTATE`. @default {none} */
  readonly tracestate?: string | undefined;
}

interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

// The part that is used. Source: OpenTelemetry API for JavaScript, version 1.
interface OtelSpan {
  spanContext(): SpanContext & { readonly isRemote?: boolean };
  setAttributes(attributes: SpanAttributes): unknown;
  setStatus(status: { code: number; message?: string | undefined }): unknown;
  end(): void;
}
interface OtelContext {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): OtelContext;
}
interface OtelTracer {
  startActiveSpan<T>(
    name: string,
    options: { attributes: SpanAttributes },
    context: OtelContext,
    body: (span: OtelSpan) => T,
  ): T;
}

/** Under this name the API finds what was registered with it; Deno registers itself only where tracing is on. */
const REGISTRY = Symbol.for("opentelemetry.js.api.1");
const SPAN_KEY = Symbol.for("OpenTelemetry Context Key SPAN");
const STATUS_ERROR = 2;
const TRACEPARENT = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/;

/**
 * Records spans with the OpenTelemetry that is part of Deno, if that is on: the environment has `OTEL_DENO=true` when the
 * process starts, and the receiver in `OTEL_EXPORTER_OTLP_ENDPOINT`. Else there is no tracer, and no cost; the same if the
 * trace of the caller is not recorded.
 *
 * Permissions: none.
 *
 * Source: W3C Trace Context, level 1.
 *
 * @example
 * ```ts
 * import { processTracer } from "./telemetry.ts";
 *
 * const tracer = processTracer();
 * await tracer?.span("wait", {}, () => Promise.resolve());
 * ```
 */
export function processTracer({ traceparent = "", tracestate = "" }: TracerOptions = {}): Tracer | undefined {
  const registered = (globalThis as { [REGISTRY]?: { trace?: unknown } })[REGISTRY];
  if (registered?.trace === undefined) return undefined;
  const { tracerProvider, contextManager } = Deno.telemetry;
  const parent = parseTraceparent(traceparent);
  if (parent !== undefined && !isRecorded(parent)) return undefined;
  const tracer: OtelTracer = tracerProvider.getTracer("podwire");
  return {
    async span<T>(
      name: string,
      attributes: SpanAttributes,
      body: (span: Span) => Promise<T>,
      caller = "",
    ): Promise<T> {
      const active: OtelContext = contextManager.active();
      const called = parseTraceparent(caller);
      const isInside = active.getValue(SPAN_KEY) !== undefined;
      const outer = called !== undefined && isRecorded(called) ? called : isInside ? undefined : parent;
      const context = outer === undefined ? active : active.setValue(SPAN_KEY, remoteSpan(outer));
      return await tracer.startActiveSpan(name, { attributes }, context, async (span) => {
        const { traceId, spanId, traceFlags } = span.spanContext();
        const flags = traceFlags.toString(16).padStart(2, "0");
        const state = tracestate !== "" && traceId === parent?.traceId ? { TRACESTATE: tracestate } : {};
        const environment = { TRACEPARENT: `00-${traceId}-${spanId}-${flags}`, ...state };
        try {
          return await body({ environment, note: (more) => void span.setAttributes(more) });
        } catch (error) {
          span.setStatus({
            code: STATUS_ERROR,
            message: error instanceof Error ? error.message : String(error),
          });
          throw error;
        } finally {
          span.end();
        }
      });
    },
  };
}

function isRecorded({ traceFlags }: SpanContext): boolean {
  return (traceFlags & 1) === 1;
}

function remoteSpan(context: SpanContext): Pick<OtelSpan, "spanContext"> {
  return { spanContext: () => ({ ...context, isRemote: true }) };
}

/** Reads the span that the variable names; a malformed variable is ignored. */
function parseTraceparent(text: string): SpanContext | undefined {
  const [, version, traceId = "", spanId = "", flags = "", more] = TRACEPARENT.exec(text) ?? [];
  // A later version may have more fields; the first one has none.
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) };
}
