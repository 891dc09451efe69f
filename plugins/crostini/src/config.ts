// The settings of the plugin.

import { z } from 'zod';

const seconds = z.int().min(1).max(3_600);

export const crostiniConfig = z.strictObject({
  cpus: z.int().min(1).max(64).default(1).describe('Virtual CPUs of a VM that is started without --cpus.'),
  mem: z
    .strictObject({
      full: z.int().min(256).max(1_048_576).default(1024).describe('Of the image with containers, MiB.'),
      fast: z.int().min(128).max(1_048_576).default(512).describe('Of the image without, MiB.'),
    })
    .prefault({})
    .describe('Memory of a VM that is started without --mem.'),
  profile: z
    .enum(['full', 'fast'])
    .default('full')
    .describe('Image of a VM that is started without --profile: full has what containers need.'),
  diskGib: z
    .int()
    .min(1)
    .max(65_536)
    .default(32)
    .describe('Size of the disk that a VM of profile full gets, GiB. Only what is written takes room.'),
  startSeconds: seconds.default(60).describe('How long a guest may take until it calls, with KVM.'),
  startSecondsTcg: seconds.default(180).describe('The same without KVM.'),
  dbus: z
    .string()
    .min(1)
    .max(4096)
    .default('auto')
    .describe(
      'Where org.chromium.VmConcierge is: auto (the bus of the session, when there is one), session, system, off, or an address.',
    ),
  stop: z
    .strictObject({
      askSeconds: seconds.default(30).describe('How long a guest may take to answer that it shuts down.'),
      endSeconds: seconds.default(10).describe('How long its machine may then take to end, before it is ended.'),
    })
    .prefault({}),
});

export type CrostiniConfig = z.output<typeof crostiniConfig>;
