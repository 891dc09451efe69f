// Tables of what a policy must decide: `ioctl arg1=TCGETS -> allow`, one a line, # begins a comment.

import { errors } from '../errors.ts';
import type { Action } from './actions.ts';
import { type AskedCall, parseAction, parseCall } from './calls.ts';
import { ARGUMENTS } from './policy.ts';
import type { Tables } from './tables.ts';

export interface Expectation {
  /** From 1. */
  readonly line: number;
  readonly text: string;
  readonly call: AskedCall;
  readonly action: Action;
}

const MAX_LINES = 100_000;

/** @throws SANDBOX_ERR_EXPECTATION */
export function parseExpectations(text: string, file: string, tables: Tables): readonly Expectation[] {
  const lines = text.split('\n');
  const fail = (line: number, why: string) => errors.SANDBOX_ERR_EXPECTATION({ details: { file, line, why } });
  if (lines.length > MAX_LINES) throw fail(MAX_LINES, `a table may have ${MAX_LINES} lines`);
  const expectations: Expectation[] = [];
  for (const [index, whole] of lines.entries()) {
    const line = index + 1;
    const content = whole.replace(/#.*$/, '').trim();
    if (content === '') continue;
    const [left = '', right, ...more] = content.split('->');
    if (right === undefined || more.length > 0) throw fail(line, 'one arrow -> must stand between call and action');
    const action = parseAction(right, tables);
    if (action === undefined) throw fail(line, `"${right.trim()}" is no action: allow, errno ENOENT, trap, …`);
    let call: AskedCall;
    try {
      call = parseCall(left.trim().split(/\s+/), tables);
    } catch (e) {
      throw fail(line, (e as Error).message);
    }
    expectations.push({ line, text: content, call, action });
  }
  return expectations;
}

/** What is not given is 0. */
export function argumentsOf({ args }: AskedCall): readonly bigint[] {
  return Array.from({ length: ARGUMENTS }, (_, index) => args.get(index) ?? 0n);
}
