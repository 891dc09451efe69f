// How short of memory this computer is: /proc/meminfo, and /proc/pressure/memory where the kernel has it
// (Documentation/accounting/psi.rst).

import { readFileSync } from 'node:fs';

export interface HostMemory {
  readonly totalMib: number;
  /** What programs could still get without swapping. */
  readonly availableMib: number;
  /** Share of the last ten seconds in which something waited for memory, in percent. */
  readonly some10: number;
  /** The same, in which everything did. */
  readonly full10: number;
}

/** @param proc where proc(5) is mounted. `undefined`: it does not tell */
export function readHostMemory(proc = '/proc'): HostMemory | undefined {
  const memory = textOf(`${proc}/meminfo`);
  const mib = (name: string): number | undefined => {
    const kib = new RegExp(`^${name}: +(\\d{1,15}) kB$`, 'm').exec(memory)?.[1];
    return kib === undefined ? undefined : Math.floor(Number(kib) / 1024);
  };
  const [totalMib, availableMib] = [mib('MemTotal'), mib('MemAvailable')];
  if (totalMib === undefined || availableMib === undefined) return undefined;
  const pressure = textOf(`${proc}/pressure/memory`);
  return { totalMib, availableMib, some10: average10(pressure, 'some'), full10: average10(pressure, 'full') };
}

function average10(text: string, line: 'some' | 'full'): number {
  return Number(new RegExp(`^${line} avg10=(\\d{1,3}\\.\\d{1,4}) `, 'm').exec(text)?.[1] ?? 0);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
