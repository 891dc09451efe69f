import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { checkTransition, type PluginState, TRANSITIONS } from './lifecycle.ts';

const states = Object.keys(TRANSITIONS) as PluginState[];

describe('the states of a plugin', () => {
  test('allow exactly the moves of the table, and say which', () => {
    for (const from of states) {
      for (const to of states) {
        const attempt = (): void => checkTransition('alpha', from, to);
        if (TRANSITIONS[from].includes(to)) {
          expect(attempt, `${from} → ${to}`).not.toThrow();
          continue;
        }
        expect(attempt, `${from} → ${to}`).toThrow(`moving to "${to}" is not possible while alpha is ${from}`);
      }
    }
    try {
      checkTransition('alpha', 'paused', 'setup');
      expect.fail('not allowed');
    } catch (error) {
      expect(isRuntimeError(error, 'CORE_ERR_STATE') && [error.plugin, error.remedy]).toEqual([
        'alpha',
        'Wait for one of: disposing, ready, failed.',
      ]);
    }
  });

  test('lead from anywhere to the end, and from the end back to life', () => {
    const reachable = (start: PluginState): Set<PluginState> => {
      const found = new Set([start]);
      for (const state of found) for (const next of TRANSITIONS[state]) found.add(next);
      return found;
    };
    for (const state of states) expect(reachable(state)).toContain('disposed');
    expect(reachable('disposed')).toContain('ready');
    // Nothing serves again that was taken down without being set up.
    for (const state of ['disposing', 'disposed', 'failed'] as const) {
      expect(TRANSITIONS[state]).not.toContain('ready');
      expect(TRANSITIONS[state]).not.toContain('waiting');
    }
  });
});
