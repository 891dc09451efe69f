// Serial ports of a description, in the words of crosvm.

import type { SerialFile } from '../contract.ts';
import { errors } from '../errors.ts';
import type { VmDescription } from './schema.ts';

type Serial = NonNullable<VmDescription['serial']>[number];

/** Where the ports of a PC are. */
const PORTS: Readonly<Record<number, string>> = { 1: '0x3f8', 2: '0x2f8', 3: '0x3e8', 4: '0x2e8' };

/** The console is there in any case. @throws VMM_ERR_DESCRIPTION */
export function plannedSerials(
  vm: string,
  serial: readonly Serial[] = [],
  absolute: (path: string) => string,
): readonly SerialFile[] {
  const files = serial.flatMap((port) => {
    const { type, path } = port;
    const num = portOf(port);
    if (type === 'stdout') {
      if (num !== 1 || path !== undefined) throw refuse(vm, 'the console is port 1, and has no path');
      return [];
    }
    if (num === 1) throw refuse(vm, 'port 1 is the console; a file is one of 2 to 4');
    if (path === undefined) throw refuse(vm, `port ${num} needs the path of its file`);
    return [{ port: num, path: absolute(path) }];
  });
  const ports = serial.map(portOf);
  const twice = ports.find((port, at) => ports.indexOf(port) !== at);
  if (twice !== undefined) throw refuse(vm, `port ${twice} is given twice`);
  return files.toSorted((a, b) => a.port - b.port);
}

/** What the kernel has to be told. */
export function serialParams(serial: readonly Serial[] = []): readonly string[] {
  const last = Math.max(1, ...serial.map(portOf));
  return [
    ...(last > 1 ? [`8250.nr_uarts=${last}`] : []),
    ...serial.flatMap((port) => [...(port.earlycon === true ? [`earlycon=uart8250,io,${PORTS[portOf(port)]}`] : [])]),
  ];
}

function portOf({ type, num }: Serial): number {
  return num ?? (type === 'stdout' ? 1 : 2);
}

function refuse(vm: string, why: string): Error {
  return errors.VMM_ERR_DESCRIPTION({ details: { where: `VM "${vm}"`, why: `serial: ${why}` } });
}
