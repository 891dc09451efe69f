// What a vsock device can be told. Checked by hand: the device process starts in a moment and stays small, for which a
// schema library is too much.

import type { Schema, SchemaIssue } from '@runtime/core';
import { ANY } from './packet.ts';

export interface VsockOptions {
  /** The guest's address, 3 to 0xfffffffe; unique among the VMs of this host. */
  readonly cid: number;
  /** Connections at a time, 1 to 65536. */
  readonly maxConnections: number;
  /** Bytes kept at most for sockets of the host that nobody reads, 1 MiB to 4 GiB. */
  readonly bufferMemory: number;
}

export const DEFAULTS: Omit<VsockOptions, 'cid'> = { maxConnections: 4096, bufferMemory: 256 * 2 ** 20 };

/** 0 to 2 are the hypervisor, this machine and the host. */
const FIRST_CID = 3;

type Rule = readonly [from: number, to: number];

const RULES: Readonly<Record<keyof VsockOptions, Rule>> = {
  cid: [FIRST_CID, ANY - 1],
  maxConnections: [1, 65_536],
  bufferMemory: [2 ** 20, 2 ** 32],
};

function problemsOf(given: Readonly<Record<string, unknown>>): readonly SchemaIssue[] {
  return Object.entries(given).flatMap(([name, value]) => {
    if (!Object.hasOwn(RULES, name)) return [{ message: 'is no option of a vsock device', path: [name] }];
    const [from, to] = RULES[name as keyof VsockOptions];
    const isRight = Number.isInteger(value) && (value as number) >= from && (value as number) <= to;
    return isRight ? [] : [{ message: `must be a whole number from ${from} to ${to}`, path: [name] }];
  });
}

export const vsockOptions: Schema<VsockOptions> = {
  '~standard': {
    version: 1,
    vendor: 'runtime',
    validate(value) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        return { issues: [{ message: 'must be an object with the cid of the guest' }] };
      }
      const entries = Object.entries(value).filter(([, setting]) => setting !== undefined);
      const given = Object.fromEntries(entries) as Readonly<Record<string, unknown>>;
      const issues = problemsOf({ cid: undefined, ...given });
      return issues.length > 0 ? { issues } : { value: { ...DEFAULTS, ...(given as unknown as VsockOptions) } };
    },
  },
};
