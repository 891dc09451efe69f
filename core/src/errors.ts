// Structured errors. One table per package is the single source of the typed constructors, the reference page and the
// mapping to gRPC, D-Bus and exit codes.

/** Registered symbol: survives hot reload and a second copy of the core, which class identity does not. */
const BRAND = Symbol.for('runtime.error/v1');

/** gRPC status numbers, https://grpc.io/docs/guides/status-codes/ */
export const GrpcStatus = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;
export type GrpcStatus = (typeof GrpcStatus)[keyof typeof GrpcStatus];

/** One row of an error table. In both templates `{name}` is replaced from the error's `details`. */
export interface ErrorSpec {
  /** What was tried and why it failed. */
  readonly message: string;
  /** What the reader can do about it. */
  readonly remedy: string;
  /** Defaults to `unknown`. */
  readonly grpc?: GrpcStatus;
  /** Suffix of the D-Bus error name; by default derived from the code (`CORE_ERR_LEASE_TAKEN` → `LeaseTaken`). */
  readonly dbus?: string;
  /** Exit code of a command that ends with this error, 1–124; default 1. (125–127 are the runtime's, from 128 signals.) */
  readonly exit?: number;
  /** The caller may send the same request again, unchanged. */
  readonly retryable?: boolean;
}

export interface ErrorOptions {
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
  /** Plugin to which the failure belongs. */
  readonly plugin?: string;
}

function fill(template: string, details: Readonly<Record<string, unknown>>): string {
  return template.replace(/\{(\w+)\}/g, (whole, key: string) => (key in details ? String(details[key]) : whole));
}

function dbusName(code: string): string {
  const words = code.replace(/^.*?ERR_/, '').split('_');
  return words.map((w) => w.charAt(0) + w.slice(1).toLowerCase()).join('');
}

/** An error with a stable code. Test for it with {@link isRuntimeError}, never with `instanceof`. */
export class RuntimeError<C extends string = string> extends Error {
  override readonly name: string = 'RuntimeError';
  readonly code: C;
  readonly details: Readonly<Record<string, unknown>>;
  readonly remedy: string;
  readonly grpc: GrpcStatus;
  readonly dbus: string;
  readonly exit: number;
  readonly retryable: boolean;
  readonly plugin: string | undefined;

  constructor(code: C, spec: ErrorSpec, options: ErrorOptions = {}) {
    const details = options.details ?? {};
    super(fill(spec.message, details), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = details;
    this.remedy = fill(spec.remedy, details);
    this.grpc = spec.grpc ?? GrpcStatus.unknown;
    this.dbus = spec.dbus ?? dbusName(code);
    this.exit = spec.exit ?? 1;
    this.retryable = spec.retryable ?? false;
    this.plugin = options.plugin;
    Object.defineProperty(this, BRAND, { value: true });
  }

  override toString(): string {
    return `${this.code}: ${this.message}`;
  }
}

/** True for an error made by any copy of the core; with `code`, only for that one. */
export function isRuntimeError<C extends string = string>(e: unknown, code?: C): e is RuntimeError<C> {
  return (
    typeof e === 'object' &&
    e !== null &&
    (e as Record<symbol, unknown>)[BRAND] === true &&
    (code === undefined || (e as RuntimeError).code === code)
  );
}

export type ErrorCode = `${Uppercase<string>}_ERR_${Uppercase<string>}`;
export type ErrorTable = Readonly<Record<ErrorCode, ErrorSpec>>;
export type ErrorConstructors<T extends ErrorTable> = {
  readonly [C in keyof T & string]: (options?: ErrorOptions) => RuntimeError<C>;
};

/** Refuses keys that are no error codes, which an index signature alone would let through. */
type OnlyCodes<T> = { readonly [C in keyof T]: C extends ErrorCode ? unknown : never };

/** `defineErrors(table).X_ERR_Y({ details })` returns the error; the caller throws it. */
export function defineErrors<const T extends ErrorTable>(table: T & OnlyCodes<T>): ErrorConstructors<T> {
  const out: Record<string, (options?: ErrorOptions) => RuntimeError> = {};
  for (const [code, spec] of Object.entries<ErrorSpec>(table)) {
    out[code] = (options) => new RuntimeError(code, spec, options);
  }
  return Object.freeze(out) as ErrorConstructors<T>;
}

/** What crosses a process border: plain data, no stack, causes at most {@link MAX_CAUSES} deep. */
export interface ErrorRecord {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
  readonly plugin?: string;
  readonly grpc?: number;
  readonly exit?: number;
  readonly retryable?: boolean;
  readonly cause?: ErrorRecord;
  readonly errors?: readonly ErrorRecord[];
}

const MAX_CAUSES = 8;
const MAX_AGGREGATED = 32;

/** Code given to errors that carry none of ours. */
export const UNCODED = 'ERR_UNCODED';

export function toErrorRecord(e: unknown, depth: number = 0): ErrorRecord {
  const nested = depth < MAX_CAUSES;
  const cause =
    nested && e instanceof Error && e.cause !== undefined ? { cause: toErrorRecord(e.cause, depth + 1) } : {};
  const errors =
    nested && e instanceof AggregateError
      ? { errors: e.errors.slice(0, MAX_AGGREGATED).map((inner: unknown) => toErrorRecord(inner, depth + 1)) }
      : {};
  if (isRuntimeError(e)) {
    const { code, message, remedy, grpc, exit, retryable } = e;
    const plugin = e.plugin === undefined ? {} : { plugin: e.plugin };
    return { code, message, remedy, grpc, exit, retryable, ...plugin, ...cause, ...errors };
  }
  if (e instanceof Error) {
    const code = (e as NodeJS.ErrnoException).code;
    return { code: typeof code === 'string' ? code : UNCODED, message: e.message, ...cause, ...errors };
  }
  return { code: UNCODED, message: describe(e) };
}

/** Anything may be thrown, also what has no toString. */
function describe(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return Object.prototype.toString.call(thrown);
  }
}

export function fromErrorRecord(record: ErrorRecord): Error {
  const cause = record.cause === undefined ? undefined : fromErrorRecord(record.cause);
  if (record.errors !== undefined && !record.code.includes('_ERR_')) {
    return new AggregateError(record.errors.map(fromErrorRecord), record.message, cause === undefined ? {} : { cause });
  }
  const spec: ErrorSpec = {
    message: record.message,
    remedy: record.remedy ?? '',
    grpc: (record.grpc ?? GrpcStatus.unknown) as GrpcStatus,
    exit: record.exit ?? 1,
    retryable: record.retryable ?? false,
  };
  return new RuntimeError(record.code, spec, {
    ...(cause === undefined ? {} : { cause }),
    ...(record.plugin === undefined ? {} : { plugin: record.plugin }),
  });
}
