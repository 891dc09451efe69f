import { describe, expect, test } from 'vitest';
import { Gate } from './gate.ts';
import { inPhaseOf } from './phase.ts';
import { fakeClock, flush } from './test-programs/fake-clock.ts';
import { Tracer } from './tracing.ts';

const late = (): Error => new Error('late');

function closedGate() {
  const clock = fakeClock();
  return { clock, gate: new Gate('alpha', clock) };
}

describe('waiting', () => {
  test('a new gate is closed; those who wait go on in the order of arrival, at once', async () => {
    const { gate, clock } = closedGate();
    const log: string[] = [];
    const waiting = ['a', 'b', 'c'].map((name) => gate.pass(100, () => log.push(name), late));
    expect(gate.state).toBe('closed');
    expect(gate.waiting).toBe(3);
    await flush();
    expect(log).toEqual([]);

    gate.openUp();

    // Before openUp() returned, and so before anything that comes later.
    expect(log).toEqual(['a', 'b', 'c']);
    expect(gate.waiting).toBe(0);
    expect(clock.pending).toBe(0);
    expect(await Promise.all(waiting)).toEqual([1, 2, 3]);
  });

  test('each is refused at its own deadline and never runs', async () => {
    const { gate, clock } = closedGate();
    const log: string[] = [];
    const attempt = (name: string, ms: number): Promise<unknown> =>
      gate.pass(ms, () => log.push(`${name} ran`), late).catch((e: Error) => log.push(`${name} ${e.message}`));
    const all = Promise.all([attempt('short', 10), attempt('long', 20)]);
    clock.advance(9);
    await flush();
    expect(log).toEqual([]);
    clock.advance(1);
    await flush();
    expect(log).toEqual(['short late']);
    expect(gate.waiting).toBe(1);
    gate.openUp();
    await all;
    expect(log).toEqual(['short late', 'long ran']);
  });

  test('what throws or rejects on the way in fails only for who waited', async () => {
    const { gate } = closedGate();
    const thrown = gate.pass(
      100,
      () => {
        throw new Error('thrown');
      },
      late,
    );
    const rejected = gate.pass(100, () => Promise.reject(new Error('rejected')), late);
    const fine = gate.pass(100, async () => 'fine', late);
    gate.openUp();
    await expect(thrown).rejects.toThrow('thrown');
    await expect(rejected).rejects.toThrow('rejected');
    await expect(fine).resolves.toBe('fine');
  });

  test('who closes it again from inside holds back nobody who waited before', async () => {
    const { gate } = closedGate();
    const log: string[] = [];
    const first = gate.pass(
      100,
      () => {
        log.push('first');
        gate.close();
        void gate.pass(100, () => log.push('newcomer'), late);
      },
      late,
    );
    const second = gate.pass(100, () => log.push('second'), late);
    gate.openUp();
    await Promise.all([first, second]);
    expect(log).toEqual(['first', 'second']);
    expect(gate.waiting).toBe(1);
    gate.openUp();
    expect(log).toEqual(['first', 'second', 'newcomer']);
  });

  test('goes on in its own asynchronous context, not in that of whoever opens', async () => {
    const { gate } = closedGate();
    const tracer = new Tracer('gate');
    const seen: unknown[] = [];
    const waited = tracer.caused(7, () =>
      inPhaseOf('consumer', () =>
        gate.pass(
          100,
          () => {
            seen.push(tracer.cause, new Gate('consumer', fakeClock()).admits('anybody'));
          },
          late,
        ),
      ),
    );
    tracer.caused(99, () => inPhaseOf('reloader', () => gate.openUp()));
    await waited;
    expect(seen).toEqual([7, true]);
  });
});

describe('abandoning', () => {
  test('refuses those who wait and those who come, at once', async () => {
    const { gate, clock } = closedGate();
    const gone = (): Error => new Error('gone');
    const before = gate.pass(100, () => 'ran', late);
    gate.abandon(gone);
    await expect(before).rejects.toThrow('gone');
    await expect(gate.pass(100, () => 'ran', late)).rejects.toThrow('gone');
    expect(gate.state).toBe('gone');
    expect(clock.pending).toBe(0);
  });

  test('is undone by opening again', async () => {
    const { gate } = closedGate();
    gate.abandon(late);
    gate.openUp();
    expect(gate.admits('anybody')).toBe(true);
  });

  test('ends when the plugin is set up again: guests pass, others wait', async () => {
    const { gate } = closedGate();
    gate.abandon(late);
    gate.admit(new Set(['alpha']));
    expect(gate.admits('alpha')).toBe(true);
    expect(gate.admits('stranger')).toBe(false);
    const waited = gate.pass(
      100,
      () => 'ran',
      () => new Error('late'),
    );
    gate.openUp();
    await expect(waited).resolves.toBe('ran');
  });
});

describe('who passes while it is closed', () => {
  test('the owner and its guests, and what runs in a phase of theirs, also after an await', async () => {
    const { gate } = closedGate();
    gate.admit(new Set(['guest']));
    expect(gate.admits('alpha')).toBe(true);
    expect(gate.admits('guest')).toBe(true);
    expect(gate.admits('stranger')).toBe(false);
    for (const [plugin, admitted] of [
      ['alpha', true],
      ['guest', true],
      ['other', false],
    ] as const) {
      const later = await inPhaseOf(plugin, async () => {
        await flush();
        return gate.admits('stranger');
      });
      expect([plugin, later]).toEqual([plugin, admitted]);
    }
    expect(gate.admits('stranger')).toBe(false);
  });

  test('guests only until it opens', () => {
    const { gate } = closedGate();
    gate.admit(new Set(['guest']));
    gate.openUp();
    gate.close();
    expect(gate.admits('guest')).toBe(false);
    expect(gate.admits('alpha')).toBe(true);
  });

  test('nobody once it is gone', () => {
    const { gate } = closedGate();
    gate.abandon(late);
    expect(gate.admits('alpha')).toBe(false);
    expect(inPhaseOf('alpha', () => gate.admits('stranger'))).toBe(false);
  });

  test('everybody while it is open', () => {
    const { gate } = closedGate();
    gate.openUp();
    expect(gate.open).toBe(true);
    expect(gate.admits('stranger')).toBe(true);
    gate.close();
    expect(gate.open).toBe(false);
  });
});

describe('idle', () => {
  test('comes when the last one leaves, for all who wait for it', async () => {
    const { gate } = closedGate();
    const log: string[] = [];
    await gate.idle();
    gate.enter();
    gate.enter();
    const idle = [gate.idle().then(() => log.push('one')), gate.idle().then(() => log.push('two'))];
    gate.leave();
    await flush();
    expect(log).toEqual([]);
    expect(gate.inside).toBe(1);
    gate.leave();
    await Promise.all(idle);
    expect(log).toEqual(['one', 'two']);
    await gate.idle();
  });
});
