// `runtime vmc`: what VMs are managed with on ChromeOS, with its sub-commands, arguments and output, for the scripts and the
// fingers that know them.

import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type CommandIo, type CommandRegistry, explainIssues, issuesToText } from '@runtime/sdk';
import { vmKey } from '../concierge/names.ts';
import type { StartTermina } from '../contract.ts';
import type { DiskInfo, DiskJob } from '../contract-disks.ts';
import { parseSize } from '../disks/sizes.ts';
import { errors } from '../errors.ts';
import { provision } from '../template/provision.ts';
import { type TemplateUser, userSchema } from '../template/schema.ts';
import { agrees } from './delete.ts';
import { follow } from './disk.ts';
import type { CommandParts } from './index.ts';
import { OWNER_OPTION, ownedBy } from './owner.ts';
import { pathOf } from './removable-media.ts';
import { startWithProgress, stayUntil, wholeNumber } from './start.ts';
import { addVmcContainer } from './vmc-container.ts';
import { runInGuest } from './vsh-commands.ts';

const NAME = { name: 'name', summary: 'of the VM', required: true } as const;
const FILE = { name: 'file', summary: 'a path', required: true } as const;
const REMOVABLE = { name: 'removable', summary: 'name of the removable medium that the file lies on' } as const;
/** Of every sub-command that is about VMs of somebody. */
const OWNED = { owner_id: OWNER_OPTION } as const;
const DONE = 'Operation completed successfully';
const NO_SHARES = 'folders cannot be shared with VMs yet';
const NO_PLUGIN_VMS = 'there are no VMs that an installation medium or a plugin could make';
const NO_USB = 'USB devices cannot be given to VMs yet';

const flag = (summary: string) => ({ type: 'boolean', summary }) as const;
const value = (summary: string) => ({ type: 'string', summary }) as const;
const namesOf = <T extends object>(table: T): (keyof T & string)[] => Object.keys(table) as (keyof T & string)[];
function each<N extends string, S>(names: readonly N[], spec: S): Record<N, S> {
  return Object.fromEntries(names.map((name) => [name, spec])) as Record<N, S>;
}

/** What is not here, and why. */
const LACKING: Readonly<Record<string, string>> = {
  ...each(['allow-all-io-devices', 'list-primary-io-devices', 'unset-primary-keyboard', 'unset-primary-mouse'], NO_USB),
  adjust: 'it is for the VMs of ChromeOS that have such operations',
  'inspect-backup': 'what a backup is of is told when it is imported',
  'key-attach': NO_USB,
  launch: 'the descriptors of it are those of ChromeOS',
  'set-crostini-vm-type': 'Crostini is made of Termina VMs here',
  share: NO_SHARES,
  unshare: NO_SHARES,
  'update-container-devices': 'devices cannot be given to containers yet',
  'usb-attach': NO_USB,
  'usb-detach': NO_USB,
  'usb-list': NO_USB,
};

/** Options of `vmc start` that a VM here cannot follow; without an argument, and with one. */
const NO_FLAGS = {
  'enable-dgpu-passthrough': 'VMs cannot be given a GPU of the host',
  'vtpm-proxy': 'VMs have no TPM',
  'writable-rootfs': 'the root file system of a VM can only be read',
} as const;
const NO_VALUES = {
  bios: 'VMs boot their kernel at once: there is no firmware',
  pflash: 'VMs boot their kernel at once: there is no firmware',
  'bios-dlc': 'VMs boot their kernel at once: there is no firmware',
  'oem-string': 'VMs have no OEM strings yet',
} as const;
/** What only says how a VM looks and sounds is passed over, as ChromeOS does where there is no GPU. */
const PASSED_OVER = [
  ...([
    'enable-gpu',
    'enable-big-gl',
    'enable-virtgpu-native-context',
    'enable-audio-capture',
    'no-start-lxd',
  ] as const),
] as const;
const PASSED_OVER_VALUES = ['dlc-id', 'tools-dlc'] as const;

const START = {
  ...each(namesOf(NO_FLAGS), flag('not here')),
  ...each(namesOf(NO_VALUES), value('not here')),
  'oem-string': { type: 'string', multiple: true, summary: 'not here' },
  ...each(PASSED_OVER, flag('passed over')),
  ...each(PASSED_OVER_VALUES, value('passed over')),
  'extra-disk': { type: 'string', multiple: true, summary: 'raw image, attached behind the disk of the VM' },
  'kernel-param': { type: 'string', multiple: true, summary: 'parameter of the kernel' },
  kernel: value('in the place of that of the image'),
  initrd: value('in the place of that of the image'),
  rootfs: value('in the place of that of the image'),
  'vm-type': value('only CROSTINI'),
  timeout: { type: 'number', summary: 'seconds that the guest may take until it calls' },
  'no-shell': flag('do not open a shell in it'),
  user: value('of the shell'),
  'user-uid': { type: 'number', summary: 'number of that user, who is made when there is none' },
  'user-groups': value('of that user, with commas between'),
  ...OWNED,
} as const;

export function addVmc(commands: CommandRegistry, parts: CommandParts): void {
  addStartAndStop(commands, parts);
  addDiskCommands(commands, parts);
  addJobs(commands, parts);
  addVmcContainer(commands, parts);
  for (const [name, why] of Object.entries(LACKING)) {
    commands.add(
      {
        name: `vmc ${name}`,
        summary: `not here: ${why}`,
        args: [{ name: 'argument', summary: 'any', variadic: true }],
      },
      () => {
        throw lacking(`vmc ${name}`, why);
      },
    );
  }
}

function addStartAndStop(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'vmc start',
      summary: 'start a VM, and open a shell in it',
      lasting: true,
      args: [NAME],
      options: START,
    },
    async ({ args: [name = ''], options, io, signal }) => {
      for (const [option, why] of Object.entries({ ...NO_FLAGS, ...NO_VALUES })) {
        const given: unknown = options[option as keyof typeof NO_FLAGS | keyof typeof NO_VALUES];
        if (given !== undefined && given !== false && !isEmpty(given)) throw lacking(option, why);
      }
      checkType(options['vm-type']);
      const user = userOf(options);
      const owned = ownedBy(options.owner_id);
      await startWithProgress(parts.manager, { ...startRequest(name, options, io), ...owned }, io, signal);
      if (user !== undefined) await makeUser(parts.manager, name, owned, user, signal);
      if (options['no-shell']) {
        if (parts.lastsOnlyHere) await stayUntil(parts.desk, name, signal, owned.owner);
        return 0;
      }
      const guest = { ...owned, user: options.user, tty: false, env: [], workdir: undefined };
      return await runInGuest(parts.manager, name, [], guest, io, signal);
    },
  );

  commands.add(
    { name: 'vmc stop', summary: 'stop a VM', args: [NAME], options: OWNED },
    async ({ args: [name = ''], options: { owner_id: owner } }) => await parts.manager.stopVm(name, ownedBy(owner)),
  );

  commands.add(
    {
      name: 'vmc logs',
      summary: 'show what a VM has logged, or write it into a file',
      args: [NAME, { name: 'file', summary: 'to write' }],
      options: OWNED,
    },
    async ({ args: [name = '', file], options: { owner_id: owner }, io }) => {
      const key = vmKey(name, ownedBy(owner).owner);
      if (!parts.logs.has(key)) throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: name } });
      const text = await parts.logs.text(key);
      if (file === undefined) return await io.out(text.trimEnd());
      const fd = openSync(resolve(io.cwd, file), 'wx', 0o600);
      try {
        writeFileSync(fd, text);
      } finally {
        closeSync(fd);
      }
    },
  );
}

const isEmpty = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

function lacking(option: string, why: string): Error {
  return errors.CROSTINI_ERR_USAGE({ details: { option, why } });
}

/** Here, Crostini is made of Termina VMs. @throws CROSTINI_ERR_USAGE */
function checkType(type: string | undefined): void {
  if (type === undefined || /^(crostini|termina)$/i.test(type)) return;
  const why = `there are no VMs of type ${JSON.stringify(type)}`;
  throw errors.CROSTINI_ERR_USAGE({ details: { option: 'vm-type', why } });
}

interface UserValues {
  readonly user: string | undefined;
  readonly 'user-uid': number | undefined;
  readonly 'user-groups': string | undefined;
}

/** Who is to be made; `undefined`: nobody. @throws CROSTINI_ERR_USAGE */
function userOf({ user, 'user-uid': uid, 'user-groups': groups }: UserValues): TemplateUser | undefined {
  if (uid === undefined && groups === undefined) return undefined;
  const given = { name: user, uid, ...(groups === undefined ? {} : { groups: groups.split(',') }) };
  const { success, data, error } = userSchema.safeParse(given);
  if (success) return data;
  const why = `it goes with --user and --user-uid: ${issuesToText(explainIssues(userSchema, error))}`;
  throw errors.CROSTINI_ERR_USAGE({ details: { option: uid === undefined ? 'user-groups' : 'user-uid', why } });
}

async function makeUser(
  manager: CommandParts['manager'],
  vm: string,
  owned: { readonly owner?: string },
  user: TemplateUser,
  signal: AbortSignal,
): Promise<void> {
  const [{ profile }, { directory }] = [await manager.getVm(vm, owned), await manager.endpoint(vm, owned)];
  const silent = (): void => {};
  await provision({ users: [user] }, { vm, profile, directory, signal, onLine: silent, onStage: silent });
}

interface StartValues {
  readonly 'extra-disk': readonly string[];
  readonly 'kernel-param': readonly string[];
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly rootfs: string | undefined;
  readonly timeout: number | undefined;
}

function startRequest(name: string, options: StartValues, { cwd }: CommandIo): StartTermina {
  const { kernel, initrd, rootfs, timeout } = options;
  const files = Object.fromEntries(
    Object.entries({ kernel, initrd, rootfs }).flatMap(([kind, path]) =>
      path === undefined ? [] : [[kind, resolve(cwd, path)]],
    ),
  );
  return {
    ...{ name, profile: 'full', kernelParams: options['kernel-param'] },
    disks: options['extra-disk'].map((path) => ({ path: resolve(cwd, path), readOnly: false })),
    ...(Object.keys(files).length === 0 ? {} : { files }),
    ...(timeout === undefined ? {} : { timeoutMs: wholeNumber('timeout', timeout, 1, 3_600) * 1_000 }),
  };
}

function addDiskCommands(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'vmc create',
      summary: 'make the disk of a VM',
      args: [NAME, { name: 'media', summary: 'not here', variadic: true }],
      options: {
        size: value('such as 20G; default: 90 % of what is free'),
        'vm-type': value('only termina'),
        pluginvm: { type: 'boolean', short: 'p', summary: 'not here' },
        source: value('not here'),
        ...OWNED,
      },
    },
    async ({ args: [vm = '', ...media], options, io }) => {
      const { size, 'vm-type': type, pluginvm, source, owner_id: owner } = options;
      checkType(type);
      if (pluginvm || media.length > 0) throw lacking(pluginvm ? 'pluginvm' : 'media', NO_PLUGIN_VMS);
      if (source !== undefined) throw lacking('source', 'only the VMs of other types are made from a file');
      const bytes = size === undefined ? 0 : parseSize(size);
      const { status } = await parts.disks.create({ vm, bytes, ...ownedBy(owner) });
      if (status === 'exists') throw errors.CROSTINI_ERR_DISK_EXISTS({ details: { vm } });
      await io.out(DONE);
    },
  );

  commands.add(
    {
      name: 'vmc create-extra-disk',
      summary: 'make a raw image for vmc start --extra-disk',
      args: [FILE, REMOVABLE],
      options: { size: { type: 'string', required: true, summary: 'such as 20G' } },
    },
    async ({ args: [file = '', medium], options: { size = '' }, io }) => {
      const bytes = parseSize(size);
      const path = pathOf(io.cwd, file, medium);
      const fd = openSync(path, 'wx', 0o600);
      try {
        ftruncateSync(fd, bytes);
      } finally {
        closeSync(fd);
      }
      await io.out(`A raw disk is created at ${path}.`);
    },
  );

  commands.add(
    {
      name: 'vmc destroy',
      summary: 'remove the disk of a VM, with all that is on it',
      args: [NAME],
      options: {
        yes: { type: 'boolean', short: 'y', env: 'VMC_NONINTERACTIVE', summary: 'do not ask' },
        ...OWNED,
      },
    },
    async ({ args: [vm = ''], options: { yes, owner_id }, io }) => {
      const owned = ownedBy(owner_id);
      if (!yes) {
        // Nobody is waited for who is not there.
        if (io.terminal.inputIsTTY !== true)
          throw lacking('yes', 'there is no terminal to ask at: say it with -y, or with VMC_NONINTERACTIVE=1');
        await io.out(`WARNING: this will delete all data stored in VM '${vm}'`);
        if (!(await agrees(io, 'Continue? (y/N) '))) return 1;
      }
      await parts.manager.stopVm(vm, { ...owned, reason: 'DESTROY_DISK_IMAGE_REQUESTED' });
      await parts.disks.destroy({ vm, ...owned });
      return 0;
    },
  );

  commands.add(
    { name: 'vmc list', summary: 'list the disks of VMs', options: OWNED },
    async ({ options: { owner_id: owner }, io }) => {
      const all = await parts.disks.list(ownedBy(owner));
      for (const disk of all) await io.out(listed(disk));
      await io.out(`Total Size (bytes): ${all.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0)}`);
    },
  );
}

/** As scripts read it. */
function listed({ vm, allocatedBytes, minBytes, userChosenSize }: DiskInfo): string {
  const least = minBytes === undefined ? '' : `, min shrinkable size ${minBytes} bytes`;
  return `${vm} (${allocatedBytes} bytes${least}, raw${userChosenSize ? '' : ', sparse'})`;
}

function addJobs(commands: CommandRegistry, parts: CommandParts): void {
  const finish = async (what: string, job: DiskJob, io: CommandIo, signal: AbortSignal): Promise<void> => {
    await io.out(`${what} in progress: ${job.uuid}`);
    await follow(parts.disks, job, false, io, signal);
    await io.out(DONE);
  };

  commands.add(
    {
      name: 'vmc export',
      summary: 'copy the disk of a VM into a file',
      args: [NAME, FILE, REMOVABLE],
      options: {
        ...OWNED,
        digest: { type: 'boolean', short: 'd', summary: 'write its SHA-256 into FILE.sha256.txt' },
        force: { type: 'boolean', short: 'f', summary: 'although the VM runs' },
      },
    },
    async ({ args: [vm = '', file = '', medium], options: { digest, force, owner_id: owner }, io, signal }) => {
      const to = pathOf(io.cwd, file, medium);
      const checksum = digest ? { digest: `${to}.sha256.txt` } : {};
      const job = await parts.disks.export({ vm, to, force, ...checksum, ...ownedBy(owner) });
      await finish('Export', job, io, signal);
    },
  );

  commands.add(
    {
      name: 'vmc import',
      summary: 'make the disk of a VM from what an export made',
      args: [NAME, FILE, REMOVABLE],
      options: {
        ...OWNED,
        'vm-type': { type: 'string', choices: ['termina', 'baguette'], summary: 'when the file does not tell it' },
      },
    },
    async ({ args: [vm = '', file = '', medium], options, io, signal }) => {
      const type = options['vm-type'] as 'termina' | 'baguette' | undefined;
      const from = pathOf(io.cwd, file, medium);
      const wanted = { vm, from, ...(type === undefined ? {} : { type }), ...ownedBy(options.owner_id) };
      await finish('Import', await parts.disks.import(wanted), io, signal);
    },
  );

  commands.add(
    {
      name: 'vmc resize',
      summary: 'change the size of the disk of a VM, also while it runs',
      args: [NAME, { name: 'size', summary: 'in bytes, or such as 20G', required: true }],
      options: OWNED,
    },
    async ({ args: [vm = '', size = ''], options: { owner_id: owner }, io, signal }) =>
      finish('Resize', await parts.disks.resize({ vm, bytes: parseSize(size), ...ownedBy(owner) }), io, signal),
  );

  commands.add(
    {
      name: 'vmc disk-op-status',
      summary: 'show how far an export, import or resize is',
      args: [{ name: 'uuid', summary: 'as it was printed', required: true }],
    },
    async ({ args: [uuid = ''], io }) => {
      const { state, percent } = await parts.disks.status(uuid);
      if (state === 'running') return await io.out(`Operation in progress: ${percent}% done`);
      if (state === 'done') return await io.out(DONE);
      await io.out('Operation failed');
      return 1;
    },
  );
}
