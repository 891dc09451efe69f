// The last lines of a console, for the message about a guest that did not come up.

import type { Vms } from '@runtime/plugin-vmm/contract';

const LINES = 12;
const PANIC = /Kernel panic/;
/** Letters of a line. */
const WIDTH = 160;

/** Begins with a line feed; '' when there is nothing. What a guest writes cannot reach the terminal. */
export async function consoleTail(vms: Pick<Vms, 'readConsole'>, machine: string): Promise<string> {
  try {
    const { bytes } = await vms.readConsole(machine);
    return tailOf(new TextDecoder().decode(bytes));
  } catch {
    // The machine never was.
    return '';
  }
}

export function tailOf(text: string): string {
  const lines = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is removed
    .replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, '')
    .split(/[\r\n]+/)
    .map((line) => line.replaceAll(/\p{C}/gu, '').trim().slice(0, WIDTH))
    .filter((line) => line !== '');
  // What comes after a panic is where it happened, which says less than what led to it.
  const panic = lines.findIndex((line) => PANIC.test(line));
  const end = panic < 0 ? lines.length : panic + 1;
  const shown = lines.slice(Math.max(0, end - LINES), end);
  return shown.map((line) => `\n    ${line}`).join('');
}
