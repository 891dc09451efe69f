// What a template of a VM may say. The descriptions are those of the published JSON schema.

import { z } from 'zod';
import { parsePort } from './ports.ts';

/** Of memory. */
export const MIN_MIB = 128;
export const MAX_MIB = 1_048_576;
/** As parseSize() has it. */
const DISK_SIZE = /^[1-9][0-9]{0,14}[KMGT]?$/;
/** Of useradd(8) in Debian, and of maitred. */
const USER_NAME = /^[a-z][-a-z0-9_]{0,30}$/;
const MAX_SCRIPT = 64 * 1024;

const userName = z.string().regex(USER_NAME, 'must be 1 to 31 lower-case letters, digits, "-" or "_", a letter first');

const memory = z
  .union([
    z.int().min(MIN_MIB).max(MAX_MIB),
    z.string().regex(/^[1-9][0-9]{0,6}[MG]?$/, 'must be MiB as a number, or such as 512M or 2G'),
  ])
  .refine((size) => toMib(size) >= MIN_MIB && toMib(size) <= MAX_MIB, `must be ${MIN_MIB} MiB to ${MAX_MIB} MiB`);

export const resourcesSchema = z
  .strictObject({
    cpus: z.int().min(1).max(64).optional().describe('Virtual CPUs.'),
    mem: memory.optional().describe('Memory: MiB, or such as 2G.'),
    disk: z
      .string()
      .regex(DISK_SIZE, 'must be bytes, or such as 512M or 20G')
      .optional()
      .describe('Size of its disk, such as 20G, when it has none yet.'),
  })
  .describe('What it gets of this computer; default: as the configuration says.');

export const userSchema = z
  .strictObject({
    name: userName.describe('What the user is called.'),
    uid: z.int().min(1001).max(65_533).describe('Number of the user; 1000 is chronos, who is there already.'),
    groups: z.array(userName).max(64).optional().describe('Further groups, which are made where there are none.'),
  })
  .describe('A user of the guest, made at each start. With profile full the home lies on the disk of the VM.');

export const scriptSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$/, 'must be 1 to 64 letters, digits, " ", ".", "_" or "-"')
      .optional()
      .describe('What it is called in messages and logs; default: its number.'),
    run: z
      .string()
      .min(1)
      .max(MAX_SCRIPT)
      .refine((text) => !text.includes('\0'), 'must have no NUL character')
      .describe('For /bin/sh, which stops at the first command that fails (set -e) and has no input.'),
    when: z
      .enum(['once', 'each-boot'])
      .optional()
      .describe(
        'once: never again on the disk of this VM once it has ended well, until its text changes; needs profile full. Default each-boot.',
      ),
    user: userName.optional().describe('Who runs it; default root.'),
    timeout: z.int().min(1).max(86_400).optional().describe('Seconds that it may take; default 600.'),
  })
  .describe('What runs in the guest when it has started.');

const port = z
  .union([z.int().min(1).max(65_535), z.string()])
  .refine(
    (text) => parsePort(text) !== undefined,
    'must be [ADDRESS:]PORT[:PORT OF THE GUEST][/udp], such as 8080:80 or 0.0.0.0:5353:53/udp',
  );

export const templateSchema = z
  .strictObject({
    profile: z
      .enum(['full', 'fast'])
      .optional()
      .describe('Image: full has what containers need, and a disk; fast has neither. Default: as configured.'),
    resources: resourcesSchema.optional(),
    params: z
      .array(
        z
          .string()
          .max(2048)
          .regex(/^[!-~]+$/, 'must be one word'),
      )
      .max(64)
      .optional()
      .describe('More parameters of the kernel.'),
    users: z.array(userSchema).max(32).optional().describe('Users beside root and chronos.'),
    scripts: z
      .array(scriptSchema)
      .max(64)
      .optional()
      .describe('Run one after the other; the first that fails ends the start.'),
    ports: z
      .array(port)
      .max(32)
      .optional()
      .describe(
        'Ports of this computer that lead to the guest: 8080:80 from 127.0.0.1:8080 to port 80 of the guest, 0.0.0.0:8080:80 from all addresses.',
      ),
  })
  .describe('A template of a VM.');

export type Template = z.output<typeof templateSchema>;
export type TemplateScript = z.output<typeof scriptSchema>;
export type TemplateUser = z.output<typeof userSchema>;

/** Of a number, or of what the schema takes. */
export function toMib(size: number | string): number {
  if (typeof size === 'number') return size;
  const [, digits = '0', unit = ''] = /^(\d+)([MG]?)$/.exec(size) ?? [];
  return Number(digits) * (unit === 'G' ? 1024 : 1);
}
