// What QEMU says over QMP, checked. docs/interop/qmp-spec.rst of QEMU.

import { z } from 'zod';

const timestamp = z.object({ seconds: z.number(), microseconds: z.number() });
const data = z.record(z.string(), z.unknown());

const greeting = z.object({
  QMP: z.object({
    version: z.object({ qemu: z.object({ major: z.int(), minor: z.int(), micro: z.int() }) }),
    capabilities: z.array(z.unknown()),
  }),
});
const event = z.object({ event: z.string().max(128), data: data.default({}), timestamp });
const success = z.object({ return: z.unknown(), id: z.int() });
/** Without an id: QEMU could not read what it was sent. */
const failure = z.object({
  error: z.object({ class: z.string().max(128), desc: z.string().max(4096) }),
  id: z.int().optional(),
});

export interface QmpVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: QmpVersion }
  | { readonly kind: 'event'; readonly event: string; readonly data: Readonly<Record<string, unknown>> }
  | { readonly kind: 'return'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | undefined; readonly class: string; readonly why: string };

/** `undefined` for what is no message of QMP. */
export function parseQmp(line: string): QmpMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  if ('event' in value) {
    const { success: ok, data: found } = event.safeParse(value);
    return ok ? { kind: 'event', event: found.event, data: found.data } : undefined;
  }
  if ('error' in value) {
    const { success: ok, data: found } = failure.safeParse(value);
    return ok ? { kind: 'error', id: found.id, class: found.error.class, why: found.error.desc } : undefined;
  }
  if ('QMP' in value) {
    const { success: ok, data: found } = greeting.safeParse(value);
    return ok ? { kind: 'greeting', version: found.QMP.version.qemu } : undefined;
  }
  const { success: ok, data: found } = success.safeParse(value);
  return ok && 'return' in value ? { kind: 'return', id: found.id, value: found.return } : undefined;
}
