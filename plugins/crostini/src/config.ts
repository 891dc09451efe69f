// The settings of the plugin.

import { z } from 'zod';

const NETWORK_MODES = ['auto', 'passt', 'tap'] as const;

export type NetworkMode = (typeof NETWORK_MODES)[number];

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
  verity: z
    .enum(['auto', 'on', 'off'])
    .default('auto')
    .describe(
      'Whether a guest compares each block of its image with its hash when it reads it (dm-verity). auto: with KVM; an emulated CPU takes seconds for it at each start.',
    ),
  diskGib: z
    .int()
    .min(1)
    .max(65_536)
    .default(32)
    .describe('Size of the disk that a VM of profile full gets, GiB. Only what is written takes room.'),
  startSeconds: seconds.default(60).describe('How long a guest may take until it calls, with KVM.'),
  startSecondsTcg: seconds.default(180).describe('The same without KVM.'),
  network: z
    .enum(NETWORK_MODES)
    .default('auto')
    .describe(
      'What leads VMs to the network. passt: without root. tap: interfaces of this computer, with rules of nftables and dnsmasq for names; the runtime has to be root. auto: passt. A VM keeps what it started with.',
    ),
  snapshots: z
    .enum(['auto', 'on', 'off'])
    .default('off')
    .describe(
      'Whether a VM goes on from a snapshot of a guest that has booted: the next of its kind (auto: the snapshot is made beside the first), or each (on: the first waits for the snapshot).',
    ),
  dbus: z
    .string()
    .min(1)
    .max(4096)
    .default('auto')
    .describe(
      'Where org.chromium.VmConcierge is: auto (the bus of the session, when there is one), session, system, off, or an address.',
    ),
  scopes: z
    .string()
    .min(1)
    .max(4096)
    .default('auto')
    .describe(
      'Whether each VM gets a scope of systemd, runtime-vm-<name>.scope: auto (when this computer was booted with systemd), off, session, system, or the address of the bus of a systemd.',
    ),
  balloon: z
    .strictObject({
      policy: z
        .enum(['auto', 'off'])
        .default('auto')
        .describe('auto: while this computer is short of memory, guests give back what they do not need.'),
      minMib: z.int().min(64).max(1_048_576).default(256).describe('What a guest keeps in any case, MiB.'),
    })
    .prefault({})
    .describe('Memory of VMs that run.'),
  logs: z
    .strictObject({
      maxMib: z.int().min(1).max(16).default(2).describe('Size at which the file of a log is put aside, MiB.'),
      files: z.int().min(1).max(10).default(4).describe('Files of the log of one VM; the oldest one goes.'),
      vms: z
        .int()
        .min(1)
        .max(10_000)
        .default(100)
        .describe('VMs of one owner whose logs are kept when they have ended.'),
    })
    .prefault({})
    .describe('What VMs log, and write to their consoles: runtime logs.'),
  stop: z
    .strictObject({
      askSeconds: seconds.default(30).describe('How long a guest may take to answer that it shuts down.'),
      endSeconds: seconds.default(10).describe('How long its machine may then take to end, before it is ended.'),
    })
    .prefault({}),
});

export type CrostiniConfig = z.output<typeof crostiniConfig>;
