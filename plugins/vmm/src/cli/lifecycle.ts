// `runtime vm start`, `stop`, `list`, `inspect`, `pause`, `resume`, `stats` and `console`.

import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import type { VmDescription, Vms } from '../contract.ts';
import { MAX_DESCRIPTION, parseDescription } from '../description/parse.ts';
import { VM_NAME } from '../description/schema.ts';
import { errors } from '../errors.ts';
import { runConsole, untilEnded } from './console-session.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { prepareGuest } from './prepare-guest.ts';

const VM = { name: 'vm', summary: 'its name', required: true } as const;

export function addLifecycle(commands: CommandRegistry, vms: Vms): void {
  commands.add(
    {
      name: 'vm start',
      summary: 'start a VM from a description',
      description:
        'Starts the VM that a YAML or JSON file describes (docs/reference/vm.md), and leaves it running. A name stands for ' +
        'the file of that name in ~/.config/runtime/vms.',
      args: [{ name: 'file', summary: 'such as my-vm.yaml, or a name', required: true }],
      options: { name: { type: 'string', summary: 'another name than that in the file' } },
    },
    async ({ args: [file = ''], options, io }) => {
      const path = descriptionPath(file, io.cwd);
      const description = await readDescription(path, file);
      if (description.kernel === undefined) await prepareGuest(io);
      await io.progress('starting the machine');
      const cwd = dirname(path);
      const named = { ...description, name: options.name ?? description.name ?? nameOf(file) };
      const { name, cid, pid } = await vms.start(definedOnly(named), { cwd });
      await io.data({ name, cid, pid });
    },
  );

  commands.add(
    {
      name: 'vm stop',
      summary: 'stop a VM',
      description: 'Asks the guest to switch itself off and waits; what does not end in time is ended.',
      args: [VM],
      options: { force: { type: 'boolean', short: 'f', summary: 'do not ask the guest' } },
    },
    async ({ args: [vm = ''], options, io }) => {
      await io.progress(options.force ? 'ending the machine' : 'waiting for the guest to switch itself off');
      const { detail } = await vms.stop(vm, { force: options.force });
      await io.err(`VM ${vm}: ${detail}`);
    },
  );

  commands.add({ name: 'vm list', summary: 'list the VMs' }, async ({ io }) => {
    const list = await vms.list();
    await io.data(
      list.map(({ name, state, accelerator, memoryMib, cpus, cid, pid }) => {
        return { name, state, accel: accelerator, 'mem-mib': memoryMib, cpus, cid: cid ?? null, pid: pid ?? null };
      }),
    );
  });

  commands.add(
    { name: 'vm inspect', summary: 'show all that is known of a VM', args: [VM] },
    async ({ args: [vm = ''], io }) => {
      await io.data(await vms.inspect(vm));
    },
  );

  commands.add({ name: 'vm pause', summary: 'stop the CPUs of a VM', args: [VM] }, async ({ args: [vm = ''] }) => {
    await vms.pause(vm);
  });

  commands.add({ name: 'vm resume', summary: 'let a paused VM go on', args: [VM] }, async ({ args: [vm = ''] }) => {
    await vms.resume(vm);
  });

  commands.add(
    { name: 'vm stats', summary: 'show the counters of a VM and its devices', args: [VM] },
    async ({ args: [vm = ''], io }) => {
      const stats = await vms.stats(vm);
      const rows = Object.entries(stats).flatMap(([part, counters]) =>
        Object.entries(counters).map(([counter, value]) => ({ part, counter, value })),
      );
      await io.data(rows);
    },
  );

  commands.add(
    {
      name: 'vm console',
      summary: 'connect this terminal to the console of a VM',
      description: 'Shows what the console still has, then what comes; what is typed goes to the guest. Ctrl+] leaves.',
      args: [VM],
    },
    async ({ args: [vm = ''], io, signal }) => {
      if (io.terminal.isTTY) await io.err('Ctrl+] leaves.');
      const end = await runConsole({ vms, vm, io, signal });
      if (end === 'left') return 0;
      return EXIT_CODES[(await untilEnded(vms, vm)).reason];
    },
  );

  commands.add(
    {
      name: 'vm logs',
      summary: 'show what a VM has written to its console',
      args: [VM],
      options: { follow: { type: 'boolean', short: 'f', summary: 'go on with what comes' } },
    },
    async ({ args: [vm = ''], options, io, signal }) => {
      const { consoleLog } = await vms.inspect(vm);
      for (const path of [`${consoleLog}.1`, consoleLog]) await copyFile(path, io);
      if (!options.follow) return;
      const { next } = await vms.readConsole(vm);
      await runConsole({ vms, vm, io: { ...io, input: nothing() }, signal, from: next });
    },
  );
}

/** @throws VMM_ERR_DESCRIPTION */
export async function readDescription(path: string, shown: string): Promise<VmDescription> {
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_DESCRIPTION) throw new Error(`it has more than ${MAX_DESCRIPTION} bytes`);
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? `there is no file ${path}` : message;
    throw errors.VMM_ERR_DESCRIPTION({ details: { where: shown, why }, cause });
  }
  return parseDescription(text, shown);
}

const FILE_NAME = /\.(ya?ml|json)$/;

/** What looks like a name and is no file here is looked up in the folder of descriptions. */
function descriptionPath(file: string, cwd: string): string {
  const here = resolve(cwd, file);
  if (!VM_NAME.test(file) || FILE_NAME.test(file) || existsSync(here)) return here;
  const { XDG_CONFIG_HOME: config } = process.env;
  const base = config !== undefined && isAbsolute(config) ? config : join(homedir(), '.config');
  return join(base, 'runtime', 'vms', `${file}.yaml`);
}

/** `./my-vm.yaml` → `my-vm`, where that can be a name. */
function nameOf(file: string): string | undefined {
  const name = basename(file).replace(FILE_NAME, '').toLowerCase();
  return VM_NAME.test(name) ? name : undefined;
}

function definedOnly({
  name,
  ...rest
}: Omit<VmDescription, 'name'> & { readonly name: string | undefined }): VmDescription {
  return name === undefined ? rest : { ...rest, name };
}

async function copyFile(path: string, io: CommandIo): Promise<void> {
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes !== undefined) await io.write(bytes);
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
