import { coreErrorTable, defineErrors } from '@runtime/core';
import { describe, expect, it } from 'vitest';
import { errorJson, errorText, exitCodeOf } from './error-text.ts';

const errors = defineErrors(coreErrorTable);
const missing = (plugin: string): Error =>
  errors.CORE_ERR_GRAPH_MISSING({ details: { plugin, service: 's', range: '^1' } });

describe('errors for people', () => {
  it('say what failed, what to do, and why, each cause further in', () => {
    const cause = errors.CORE_ERR_PHASE_FAILED({ details: { phase: 'setup', plugin: 'b' }, cause: 'no moon' });
    const text = errorText(errors.CORE_ERR_PHASE_FAILED({ details: { phase: 'start', plugin: 'a' }, cause }));
    expect(text.split('\n')).toEqual([
      'start of a failed [CORE_ERR_PHASE_FAILED]',
      '  → See the cause.',
      '  because: setup of b failed [CORE_ERR_PHASE_FAILED]',
      '    → See the cause.',
      '    because: no moon',
    ]);
  });

  it('do not say twice what the cause says', () => {
    const about = (why: string, cause?: unknown): Error =>
      errors.CORE_ERR_COMMAND_USAGE({ details: { command: 'x', why }, cause });
    expect(errorText(about('x: no moon', about('no moon', 'clouds'))).split('\n')).toEqual([
      expect.stringMatching(/^x: x: no moon/),
      expect.stringMatching(/^ {2}→ /),
      '  because: clouds',
    ]);
  });

  it('list every one of several, with its own remedy', () => {
    const cause = new AggregateError([missing('a'), missing('b')]);
    const text = errorText(errors.CORE_ERR_GRAPH({ details: { count: 2 }, cause }));
    expect(text).toMatch(/ {2}1\. a requires .*\n {7}→ Add.*\n {2}2\. b requires .*\n {7}→ Add/);
  });

  it('name the place in the code of a plugin, but no frames of ours', () => {
    const error = new TypeError('boom');
    error.stack = [
      'TypeError: boom',
      '    at ours (file:///opt/node_modules/@runtime/core/dist/phase.js:1:1)',
      '    at setup (file:///home/me/plugin/src/index.ts:7:9)',
      '    at node:internal/process/task_queues:104:5',
    ].join('\n');
    expect(errorText(error)).toBe('boom [TypeError]\n    at setup (file:///home/me/plugin/src/index.ts:7:9)');
    expect(errorText(error, { debug: true }).split('\n')).toHaveLength(4);
  });

  it('end, whatever is wrong with the error', () => {
    const circular = new Error('around');
    circular.cause = circular;
    expect(errorText(circular).split('because').length).toBeLessThan(12);
    expect(errorText(undefined)).toBe('undefined');
    expect(errorText(new Error('\x1b]0;title\x07'))).not.toContain('\x1b');
    const many = new AggregateError(Array.from({ length: 200 }, (_, i) => new Error(`${i}`)));
    expect(errorText(many)).toContain('and 150 more');
  });
});

describe('errors for programs', () => {
  it('are one line with code, message, remedy and cause', () => {
    const line = errorJson(
      errors.CORE_ERR_PHASE_FAILED({ details: { phase: 'x', plugin: 'p' }, cause: new Error('y') }),
    );
    expect(line).not.toContain('\n');
    expect(JSON.parse(line)).toMatchObject({
      error: {
        code: 'CORE_ERR_PHASE_FAILED',
        message: 'x of p failed',
        remedy: 'See the cause.',
        cause: { message: 'y' },
      },
    });
  });

  it('end with the exit code of the error, of several with the largest', () => {
    expect(exitCodeOf(new Error('any'))).toBe(1);
    const usage = errors.CORE_ERR_COMMAND_USAGE({ details: { command: 'x', why: 'y' } });
    expect(exitCodeOf(usage)).toBe(2);
    expect(exitCodeOf(new AggregateError([new Error('any'), usage]))).toBe(2);
  });
});
