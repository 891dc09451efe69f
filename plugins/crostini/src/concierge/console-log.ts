// What a guest has written to its console, as the vmm plugin keeps it.

import { readFile } from 'node:fs/promises';
import type { Vms } from '@runtime/plugin-vmm/contract';
import { errors } from '../errors.ts';
import { machineName, type VmKey } from './names.ts';

/**
 * Also of a VM that has ended, until the runtime does. At most two files of the size at which the vmm plugin begins a new
 * one. @throws CROSTINI_ERR_VM_NOT_FOUND
 */
export async function readConsoleLog(vms: Pick<Vms, 'inspect'>, key: VmKey): Promise<Uint8Array> {
  const known = await vms.inspect(machineName(key)).catch(() => undefined);
  if (known === undefined) throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: key.name } });
  const parts = await Promise.all(
    [`${known.consoleLog}.1`, known.consoleLog].map((path) => readFile(path).catch(() => new Uint8Array())),
  );
  return Buffer.concat(parts);
}
