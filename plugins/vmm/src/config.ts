// The settings of the plugin.

import { z } from 'zod';
import { QEMU_PROGRAM } from './machine/qemu/programs.ts';
import { STOP_TIMES } from './machine/qemu/qemu-vm.ts';

const ms = z.int().min(0).max(600_000);

export const vmmConfig = z.strictObject({
  qemu: z.string().min(1).default(QEMU_PROGRAM).describe('QEMU: a path, or a name on PATH.'),
  accel: z.enum(['auto', 'kvm', 'tcg']).default('auto').describe('For VMs that do not say.'),
  stop: z
    .strictObject({
      powerdownMs: ms
        .default(STOP_TIMES.powerdownMs)
        .describe('Time for a guest that was asked to switch itself off, ms.'),
      quitMs: ms.default(STOP_TIMES.quitMs).describe('Then for QEMU that was asked to quit, ms.'),
      termMs: ms.default(STOP_TIMES.termMs).describe('Then for QEMU after SIGTERM, ms.'),
      killMs: ms.default(STOP_TIMES.killMs).describe('Then for QEMU after SIGKILL, ms.'),
    })
    .prefault({}),
});
