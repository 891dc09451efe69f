import { stripVTControlCharacters } from 'node:util';
import type { RuntimeReport } from '@runtime/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { displayWidth } from './format.ts';
import { duration, fit, type StatusFacts, statusBlock } from './status-block.ts';
import { ansiPaint } from './terminal.ts';

function plugin(name: string, state: RuntimeReport['plugins'][number]['state']): RuntimeReport['plugins'][number] {
  return {
    name,
    version: '1.0.0',
    state,
    isolation: 'in-process',
    origin: 'path',
    directory: '/p',
    requires: [],
    provides: [],
    setupMs: 1,
    readyMs: 0.5,
    reloads: 0,
    holds: [],
    busy: [],
    error: undefined,
  };
}
function facts(plugins: RuntimeReport['plugins'], note?: string): StatusFacts {
  const lease = { pool: 'cid', key: 'k', owner: 'vmm', state: 'held', value: 3n } as const;
  return {
    report: {
      instance: 'i',
      state: 'running',
      startMs: 12,
      waves: [],
      plugins,
      services: [
        { service: 'greeter', version: '1.0.0', provider: 'hello', rebind: 'live', consumers: ['a'], inFlight: 0 },
      ],
      hooks: [],
      events: [],
      leases: [lease, { ...lease, key: 'l', value: 4n }],
      keepers: [],
      processes: [{ plugin: 'vmm', key: 'vm', kind: 'vm', pid: 42, state: 'ready', restarts: 0, detached: false }],
    },
    version: '0.1.0',
    uptimeMs: 61_000,
    events: [
      {
        id: 7,
        topic: 'core:plugin-state',
        source: 'core',
        data: { plugin: 'hello', from: 'setup', to: 'waiting' },
      },
    ],
    note,
  };
}

describe('the live view', () => {
  it('shows plugins, services, leases, processes and events', () => {
    const text = statusBlock(facts([plugin('hello', 'ready')]), 100, 40).join('\n');
    expect(text).toContain('runtime 0.1.0  running  1:01');
    expect(text).toMatch(/hello +ready +1\.5 ms +in-process/);
    expect(text).toContain('greeter 1.0.0 by hello, used by 1');
    expect(text).toContain('cid: 2');
    expect(text).toContain('vmm/vm ready (42)');
    expect(text).toContain('#7 core:plugin-state plugin=hello from=setup to=waiting by core');
    expect(text).toContain('ctrl+c stops');
  });

  it('says what is waited for instead of how to stop', () => {
    const text = statusBlock(facts([], 'stopping; waiting for hello'), 100, 40).join('\n');
    expect(text).toContain('stopping; waiting for hello');
    expect(text).not.toContain('ctrl+c');
  });

  it('colours the state, not a name that reads like one', () => {
    const line = statusBlock(facts([plugin('ready-to-go', 'failed')]), 100, 40, ansiPaint).find((l) =>
      l.includes('ready-to-go'),
    );
    expect(line).toContain('\x1b[31mfailed\x1b[39m');
    expect(line).toMatch(/^ready-to-go/);
  });

  it('never takes more room than there is', () => {
    const names = fc.array(fc.stringMatching(/^[a-z]{1,30}$/), { maxLength: 30 });
    fc.assert(
      fc.property(names, fc.integer({ min: 5, max: 200 }), fc.integer({ min: 2, max: 60 }), (list, columns, rows) => {
        const lines = statusBlock(facts(list.map((name) => plugin(name, 'ready'))), columns, rows, ansiPaint);
        expect(lines.length).toBeLessThanOrEqual(rows);
        for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(columns);
      }),
    );
  });
});

describe('fit', () => {
  it('keeps colours whole and counts wide characters', () => {
    expect(fit('short', 10)).toBe('short');
    const cut = fit(`${ansiPaint('red', '東京東京')}x`, 6);
    expect(stripVTControlCharacters(cut)).toBe('東京…');
    expect(cut.endsWith('\x1b[0m')).toBe(true);
  });
});

it.each([
  [0, '0:00'],
  [59_999, '0:59'],
  [61_000, '1:01'],
  [3_723_000, '1:02:03'],
])('%d ms is %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});
