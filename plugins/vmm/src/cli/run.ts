// `runtime vm run`.

import { type CommandIo, type CommandRegistry, isRuntimeError } from '@runtime/sdk';
import type { MachineExit, VmDescription, Vms } from '../contract.ts';
import { runConsole, untilEnded } from './console-session.ts';
import { ECHO_PORT, echoSocket } from './echo-socket.ts';
import { EXIT_CHECK_FAILED, EXIT_CODES, EXIT_INVALID } from './exit-codes.ts';
import { prepareGuest } from './prepare-guest.ts';
import { describeRun, RUN_SPEC } from './run-options.ts';
import { makeScratchDisk } from './scratch-disk.ts';
import { CheckReader } from './self-check.ts';

/** Has the default guest check its devices and end. */
const CHECK_PARAMETERS = ['runtime.check', `runtime.vsock=${ECHO_PORT}`];
/** For a guest that was told to end; then it is ended. */
const SELF_CHECK_MS = 180_000;

export function addRun(commands: CommandRegistry, vms: Vms): void {
  commands.add(RUN_SPEC, async ({ args: [kernel], options, io, signal }) => {
    let description: VmDescription;
    try {
      description = describeRun(kernel, options);
    } catch (e) {
      if (!isRuntimeError(e, 'VMM_ERR_DESCRIPTION')) throw e;
      await io.err(`${e.message}\n${e.remedy}`);
      return EXIT_INVALID;
    }
    if (kernel !== undefined) return interactive(vms, description, io, signal);
    await prepareGuest(io);
    using scratch = description.block === undefined ? makeScratchDisk() : undefined;
    const equipped = scratch === undefined ? description : { ...description, block: [scratch.block] };
    return await (io.terminal.isTTY ? interactive(vms, equipped, io, signal) : selfCheck(vms, equipped, io, signal));
  });
}

async function interactive(vms: Vms, description: VmDescription, io: CommandIo, signal: AbortSignal): Promise<number> {
  await io.progress('starting the machine');
  const { name } = await vms.start(description, { cwd: io.cwd });
  if (io.terminal.isTTY) await io.err(`VM ${name} runs; Ctrl+] ends it.`);
  const end = await runConsole({ vms, vm: name, io, signal });
  if (end === 'left') await io.err(`\r\nending VM ${name}`);
  return exitCode(await finish(vms, name, end === 'left'), io);
}

/** Ends it unless it has, and takes it off the list. */
async function finish(vms: Vms, name: string, stop: boolean): Promise<MachineExit> {
  const exit = stop ? await vms.stop(name) : await untilEnded(vms, name);
  await vms.remove(name);
  return exit;
}

async function exitCode(exit: MachineExit, io: CommandIo): Promise<number> {
  const code = EXIT_CODES[exit.reason];
  if (code !== 0) await io.err(exit.detail);
  return code;
}

async function selfCheck(vms: Vms, description: VmDescription, io: CommandIo, signal: AbortSignal): Promise<number> {
  await io.progress('starting the machine');
  const given = typeof description.params === 'string' ? description.params : description.params?.join(' ');
  const params = [given, ...CHECK_PARAMETERS].filter((part) => part !== undefined).join(' ');
  const began = performance.now();
  const { name } = await vms.start({ ...description, params }, { cwd: io.cwd });
  using _ = echoSocket((await vms.inspect(name)).directory);
  await io.progress('the guest checks its devices');
  const reader = new CheckReader();
  const limit = AbortSignal.any([signal, AbortSignal.timeout(SELF_CHECK_MS)]);
  const silent: CommandIo = { ...io, write: async () => {}, raw: async () => {}, input: nothing() };
  const end = await runConsole({ vms, vm: name, io: silent, signal: limit, onOutput: (bytes) => reader.push(bytes) });
  const exit = await finish(vms, name, end === 'left');
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  await io.data(reader.lines);
  const failed = reader.lines.filter(({ result }) => result === 'failed');
  const verdict = !reader.done
    ? `the guest did not finish its check: ${end === 'left' ? 'it took too long' : exit.detail}`
    : failed.length > 0
      ? `${failed.length} of its devices do not work`
      : 'all of its devices work';
  await io.err(`a guest was booted and ended in ${seconds} s; ${verdict}`);
  return reader.done && failed.length === 0 ? 0 : EXIT_CHECK_FAILED;
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
