// The filter of a device process: that of all of them, and what its own plan adds.

import { join } from 'node:path';
import { errors } from '../errors.ts';
import { encode } from '../policy/bpf.ts';
import { compilePolicy } from '../policy/compile.ts';
import { parsePolicy } from '../policy/parse.ts';
import type { Clause, Policy, Rule } from '../policy/policy.ts';
import { architectureCalled, type Tables, tablesOf } from '../policy/tables.ts';

export const DEVICE_POLICY = join(import.meta.dirname, '../../policies/device.policy');
const EPERM = 1;
/** The argument of ioctl(2) that says what is asked for. */
const REQUEST = 1;

export interface SystemCalls {
  readonly syscalls: readonly string[];
  /** Request numbers of ioctl(2). */
  readonly ioctls: readonly number[];
}

const compiled: Map<string, Uint8Array> = new Map();

/** @throws SANDBOX_ERR_POLICY, SANDBOX_ERR_JAIL for a name that no system call has */
export function deviceFilter(wanted: SystemCalls): Uint8Array {
  const key = JSON.stringify([wanted.syscalls, wanted.ioctls]);
  let filter = compiled.get(key);
  if (filter === undefined) {
    filter = encode(compilePolicy(devicePolicy(wanted, tablesOf(architectureCalled(process.arch)))));
    compiled.set(key, filter);
  }
  return filter;
}

/** @throws SANDBOX_ERR_POLICY, SANDBOX_ERR_JAIL for a name that no system call has */
export function devicePolicy({ syscalls, ioctls }: SystemCalls, tables: Tables): Policy {
  const policy = parsePolicy(DEVICE_POLICY, {
    ...{ dialect: 'python', tables },
    defaultAction: { kind: 'errno', errno: EPERM },
  });
  const rules = new Map(policy.rules);
  for (const name of syscalls) {
    const number = numberOf(name, tables);
    // What it may ask of ioctl is listed, never all.
    if (name !== 'ioctl') rules.set(number, wholly(name, number));
  }
  const ioctl = rules.get(numberOf('ioctl', tables)) as Rule;
  rules.set(ioctl.number, withRequests(ioctl, ioctls));
  return { ...policy, rules: new Map([...rules].sort(([a], [b]) => a - b)) };
}

function numberOf(name: string, { syscalls, architecture }: Tables): number {
  const number = syscalls.get(name);
  if (number !== undefined) return number;
  const why = `${architecture} has no system call "${name}"`;
  throw errors.SANDBOX_ERR_JAIL({ details: { origin: 'the plan of a device', why } });
}

function wholly(name: string, number: number): Rule {
  const at = { file: DEVICE_POLICY, line: 0, column: 0 };
  return { name, number, frequency: 1, filters: [{ condition: undefined, action: { kind: 'allow' }, at }] };
}

function withRequests(rule: Rule, requests: readonly number[]): Rule {
  const more = requests.map((request): Clause => [{ argument: REQUEST, operator: '==', value: BigInt(request) }]);
  const filters = rule.filters.map((filter, at) =>
    at === 0 && filter.condition !== undefined ? { ...filter, condition: [...filter.condition, ...more] } : filter,
  );
  return { ...rule, filters };
}
