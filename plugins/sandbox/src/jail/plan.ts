// A jail, as data: what a process is given, and what it is held to. Written by hand as JSON, or read from minijail0's flags.

import { z } from 'zod';
import { errors } from '../errors.ts';

const absolute = z
  .string()
  .regex(/^\/[^\0]*$/, 'must be an absolute path')
  .max(4096);
const id = z.int().min(0).max(4_294_967_294);
const count = z.union([z.int().min(0), z.literal('unlimited')]);

/** What the process has of each kind: that of whoever starts it, one of its own, or that of a file of /proc/PID/ns. */
const namespace = z.union([z.enum(['host', 'new']), z.strictObject({ enter: absolute })]);
const ownNamespace = z.enum(['host', 'new']);

export const MOUNT_KINDS = ['bind', 'tmpfs', 'proc', 'dev', 'mqueue', 'dir', 'symlink'] as const;

const mount = z.strictObject({
  kind: z.enum(MOUNT_KINDS),
  target: absolute,
  /** Of a bind mount, and what a symbolic link says. */
  source: z.string().min(1).max(4096).optional(),
  writable: z.boolean().default(false),
  /** Device nodes on it work. */
  devices: z.boolean().default(false),
  /** Passed over where the source does not exist. */
  optional: z.boolean().default(false),
  /** Of a tmpfs, in bytes. */
  size: z.int().min(1).optional(),
  /** Of a tmpfs or a folder; octal, as chmod(1) has it. */
  mode: z
    .string()
    .regex(/^[0-7]{3,4}$/)
    .optional(),
});

const idMap = z.strictObject({ inside: id, outside: id, count: z.int().min(1) });

const strength = z.enum(['required', 'best-effort']);

/** Guarantees of which a plan says whether it does without. */
export const GUARANTEES = ['namespaces', 'capabilities', 'seccomp', 'landlock', 'rlimits', 'cgroup'] as const;
export type Guarantee = (typeof GUARANTEES)[number];

export const jailPlanSchema = z.strictObject({
  namespaces: z
    .strictObject({
      mount: namespace.default('host'),
      pid: ownNamespace.default('host'),
      user: ownNamespace.default('host'),
      net: namespace.default('host'),
      ipc: ownNamespace.default('host'),
      uts: ownNamespace.default('host'),
      cgroup: ownNamespace.default('host'),
    })
    .prefault({}),
  hostname: z.string().min(1).max(64).optional(),
  /** What `/` is: that of the host, nothing, or a folder (by pivot_root, or by chroot). */
  root: z
    .union([
      z.enum(['host', 'empty']),
      z.strictObject({ path: absolute, by: z.enum(['pivot_root', 'chroot']).default('pivot_root') }),
    ])
    .default('host'),
  /** In this order. */
  mounts: z.array(mount).max(1024).default([]),
  /** Left out: as whoever starts it. */
  uid: id.optional(),
  gid: id.optional(),
  /** Supplementary groups: none, those it has, those of the user `uid`, or these. */
  groups: z.union([z.enum(['none', 'keep', 'of-user']), z.array(id).max(65_536)]).optional(),
  idMaps: z.strictObject({ uid: z.array(idMap).max(340), gid: z.array(idMap).max(340) }).optional(),
  /** Names as in capabilities(7), lower case; left out: those it has. */
  capabilities: z.array(z.string().regex(/^cap_[a-z_]+$/)).optional(),
  ambient: z.boolean().default(false),
  noNewPrivileges: z.boolean().default(false),
  sessionKeyring: z.boolean().default(false),
  rlimits: z.array(z.strictObject({ resource: z.string(), soft: count, hard: count })).default([]),
  /** Folders of cgroups; the process is written to cgroup.procs of each. */
  cgroups: z.array(absolute).max(10).default([]),
  seccomp: z
    .union([
      z.strictObject({
        policy: absolute,
        dialect: z.enum(['c', 'python']),
        log: z.boolean().default(false),
      }),
      z.strictObject({ program: absolute }),
    ])
    .optional(),
  landlock: z
    .strictObject({
      abi: z.int().min(1).max(5).default(2),
      rules: z.array(z.strictObject({ path: absolute, access: z.enum(['ro', 'rx', 'rw', 'advanced-rw']) })),
    })
    .optional(),
  environment: z
    .strictObject({ inherit: z.boolean().default(true), set: z.record(z.string(), z.string()).default({}) })
    .prefault({}),
  /** Descriptors that it has beside 0, 1 and 2. */
  fds: z.array(z.int().min(3).max(1023)).max(256).default([]),
  /** Of a pid namespace: who is 1 in it. */
  init: z.enum(['reaper', 'program']).default('reaper'),
  newSession: z.boolean().default(false),
  background: z.boolean().default(false),
  forwardSignals: z.boolean().default(true),
  pidFile: absolute.optional(),
  /** What is left out is required. */
  strength: z.partialRecord(z.enum(GUARANTEES), strength).default({}),
});

export type JailPlan = Readonly<z.infer<typeof jailPlanSchema>>;
export type JailPlanInput = z.input<typeof jailPlanSchema>;
export type JailMount = JailPlan['mounts'][number];
export type IdMap = z.infer<typeof idMap>;

/** @param origin for errors: a file, or who made it @throws SANDBOX_ERR_JAIL */
export function parsePlan(value: unknown, origin: string): JailPlan {
  const parsed = jailPlanSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const why = `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it is no plan'}`.replace(/^: /, '');
  throw errors.SANDBOX_ERR_JAIL({ details: { origin, why } });
}

export const isRequired = (plan: JailPlan, guarantee: Guarantee): boolean =>
  (plan.strength[guarantee] ?? 'required') === 'required';
