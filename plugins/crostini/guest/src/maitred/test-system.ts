// A machine that is a folder, and that writes down what was asked of it.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Log } from './log.ts';
import type { ProgramResult, System } from './system.ts';

export interface TestSystem extends Disposable {
  readonly system: System;
  readonly log: Log;
  /** Names of the calls and what they were given. */
  readonly calls: unknown[][];
  readonly lines: string[];
  /** What the next calls of that name throw. */
  readonly failures: Map<string, unknown[]>;
  /** What programs answer, by their first word. */
  readonly programs: Map<string, ProgramResult>;
  write(path: string, text: string): void;
}

const CALLS = [
  ...['mount', 'unmount', 'sync', 'endMachine', 'setHostName', 'setResourceLimit', 'setClock', 'setInterfaceUp'],
  ...['setInterfaceAddress', 'addDefaultRoute', 'removeDefaultRoute', 'kill'],
];

export function testSystem(): TestSystem {
  const root = mkdtempSync(join(tmpdir(), 'guest-'));
  const calls: unknown[][] = [];
  const lines: string[] = [];
  const failures = new Map<string, unknown[]>();
  const programs = new Map<string, ProgramResult>();
  const record = (name: string, args: unknown[]): void => {
    calls.push([name, ...args]);
    const failure = failures.get(name)?.shift();
    if (failure !== undefined) throw failure;
  };
  const recorded = Object.fromEntries(CALLS.map((name) => [name, (...args: unknown[]) => record(name, args)]));
  const rest: Pick<System, 'root' | 'space' | 'run'> = {
    root,
    space: () => ({ free: 5_000_000, size: 10_000_000 }),
    run: async (argv) => {
      record('run', [...argv]);
      return programs.get(argv[0] ?? '') ?? { code: 0, signal: undefined, output: '' };
    },
  };
  return {
    ...{ calls, lines, failures, programs, system: { ...(recorded as unknown as System), ...rest } },
    log: (priority, text) => void lines.push(`${priority}: ${text}`),
    write: (path, text) => {
      mkdirSync(dirname(root + path), { recursive: true });
      writeFileSync(root + path, text);
    },
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}
