// The command line of QEMU: a function of what the machine is to be, without a look at anything else.

import type { ChildFd } from '@runtime/sdk';
import type { MachineSpec } from '../../contract.ts';
import {
  bindsItself,
  chardevOf,
  type DeviceArguments,
  deviceOption,
  escapeValue,
  nativeDevice,
  vhostDevice,
} from './device-arguments.ts';

export interface QemuParts {
  /** Path of qemu-system-x86_64. */
  readonly program: string;
  /** Path of qboot.rom, which gets to the kernel sooner than SeaBIOS; without it QEMU uses the latter. */
  readonly firmware?: string;
  /** Listening sockets. */
  readonly sockets: { readonly qmp: number; readonly console: number };
  /** Of the serial ports, open for appending, in their order. */
  readonly serials: readonly number[];
  /** Its state is to come over QMP, and this is its memory, a file that can be shared. */
  readonly incoming?: { readonly memory: number };
}

export interface QemuCommand {
  readonly argv: readonly [string, ...string[]];
  readonly fds: readonly ChildFd[];
}

/** seccomp of QEMU itself: none of these is needed, since everything that it opens is opened or inherited at its start. */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';
const FIRST_FD = 3;

/**
 * Nothing runs before `cont`: it is started with -S. A reset ends it (-no-reboot). @throws VMM_ERR_DEVICE_TYPE
 */
export function qemuCommand(spec: MachineSpec, parts: QemuParts): QemuCommand {
  const fds: ChildFd[] = [];
  const inherit = (parent: number): number => {
    const child = FIRST_FD + fds.length;
    fds.push({ child, parent });
    return child;
  };
  const socket = (id: string, fd: number, wait: 'on' | 'off'): string =>
    `socket,id=${id},fd=${inherit(fd)},server=on,wait=${wait}`;
  const { accelerator, memoryMib, params, initrd } = spec;
  const argv: [string, ...string[]] = [
    parts.program,
    '-name',
    `guest=${escapeValue(spec.name)},debug-threads=on`,
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-sandbox',
    SANDBOX,
    '-no-reboot',
    '-S',
    ...(parts.incoming === undefined ? [] : ['-incoming', 'defer']),
    '-M',
    // No smm: a mode of the CPU that the guest has no use for. The device processes share the guest's memory.
    `${spec.board},memory-backend=mem,smm=off,vmport=off`,
    '-accel',
    accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi',
    '-cpu',
    accelerator === 'kvm' ? 'host' : 'max',
    '-smp',
    cpuOption(spec),
    '-m',
    String(memoryMib),
    '-object',
    parts.incoming === undefined
      ? `memory-backend-memfd,id=mem,size=${memoryMib}M,share=on,seal=on`
      : `memory-backend-file,id=mem,size=${memoryMib}M,share=on,mem-path=/dev/fd/${inherit(parts.incoming.memory)}`,
    ...(parts.firmware === undefined ? [] : ['-bios', parts.firmware]),
    '-kernel',
    spec.kernel,
    ...(initrd === undefined ? [] : ['-initrd', initrd]),
    '-append',
    params,
    '-chardev',
    socket('qmp', parts.sockets.qmp, 'off'),
    '-mon',
    'chardev=qmp,mode=control',
    '-chardev',
    socket('console', parts.sockets.console, 'off'),
    '-serial',
    'chardev:console',
    '-device',
    'pvpanic',
  ];
  for (let port = 2, at = 0; at < spec.serials.length; port++) {
    if (spec.serials[at]?.port !== port) {
      argv.push('-serial', 'null');
      continue;
    }
    const fd = inherit(parts.serials[at] ?? -1);
    const id = `serial${port}`;
    argv.push('-add-fd', `fd=${fd},set=${port}`, '-chardev', `file,id=${id},path=/dev/fdset/${port},append=on`);
    argv.push('-serial', `chardev:${id}`);
    at += 1;
  }
  for (const device of spec.devices) {
    // It waits for the first connection, which is there already: QEMU 7.2 sets up rng, vsock and fs at once.
    const chardev = bindsItself(device.type)
      ? `socket,id=${chardevOf(device.id)},path=${escapeValue(device.socketPath)},server=on,wait=on`
      : socket(chardevOf(device.id), device.socketFd, 'on');
    argv.push('-chardev', chardev, ...deviceArguments(vhostDevice(device, accelerator)));
  }
  for (const native of spec.natives) argv.push(...deviceArguments(nativeDevice(native)));
  return { argv, fds };
}

/**
 * QEMU in software leaves out the memory barriers of a guest that can have no second CPU (tcg_gen_mb, CF_PARALLEL), but the
 * back ends of its devices run on other CPUs of the host: the guest would miss an interrupt now and then, and wait for ever.
 */
function cpuOption({ accelerator, cpus }: MachineSpec): string {
  return accelerator === 'tcg' && cpus === 1 ? '1,maxcpus=2' : String(cpus);
}

function deviceArguments({ before, device }: DeviceArguments): readonly string[] {
  return [...before.flat(), '-device', deviceOption(device)];
}
