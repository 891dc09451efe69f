// What a device process says of itself. It is behind a wall, so what it says is checked.

import { VIRTIO_DEVICES, type VirtioDeviceName } from '@runtime/sdk/virtio';
import { z } from 'zod';

const sizes = z.array(z.int().min(1).max(32_768)).max(256);

const loaded = z.object({
  type: z.enum(Object.keys(VIRTIO_DEVICES) as [VirtioDeviceName, ...VirtioDeviceName[]]),
  queueSizes: sizes.min(1),
  configSize: z.int().min(0).max(256),
});

export type Loaded = z.infer<typeof loaded>;

export function parseLoaded(value: unknown): Loaded {
  return loaded.parse(value);
}

const report = z.object({
  connected: z.boolean().default(false),
  device: z.record(z.string(), z.unknown()).nullish(),
  queueSizes: sizes.default([]),
  configSize: z.int().min(0).max(256).default(0),
  stats: z.record(z.string().max(64), z.number()).default({}),
  names: z.array(z.string().max(64)).max(64).default([]),
});

export interface DeviceReport extends Omit<z.infer<typeof report>, 'device'> {
  readonly device: Readonly<Record<string, unknown>> | undefined;
}

export function parseReport(value: unknown): DeviceReport {
  const { device, ...rest } = report.parse(value ?? {});
  return { ...rest, device: device ?? undefined };
}

const trace = z.object({
  records: z
    .array(
      z.object({
        us: z.number(),
        queue: z.int(),
        what: z.enum(['pop', 'push']),
        head: z.int(),
        readable: z.number(),
        writable: z.number(),
        tookUs: z.number().exactOptional(),
      }),
    )
    .max(1024),
  missed: z.int(),
});

export function parseTrace(value: unknown): z.infer<typeof trace> {
  return trace.parse(value);
}
