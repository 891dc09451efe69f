import { type DrivenDevice, driveDevice } from '@runtime/sdk/testing';
import { describe, expect, test } from 'vitest';
import { ABS, BTN, CONFIG, EV, LED, REL, SELECT } from './codes.ts';
import device from './index.ts';

const EVENTS = 0;
const STATUS = 1;

/** What a driver reads after it has written what it wants. */
function select(driven: DrivenDevice, ...what: number[]): Uint8Array {
  driven.runner.writeConfig(0, Uint8Array.from(what));
  const [size = 0] = driven.runner.readConfig(CONFIG.size, 1);
  return driven.runner.readConfig(CONFIG.data, size);
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const bits = (bytes: Uint8Array): number[] =>
  Array.from({ length: bytes.length * 8 }, (_, i) => i).filter(
    (i) => (((bytes[i >>> 3] as number) >>> (i & 7)) & 1) === 1,
  );
const event = (type: number, code: number, value: number): Uint8Array => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(type, 0);
  bytes.writeUInt16LE(code, 2);
  bytes.writeInt32LE(value, 4);
  return bytes;
};
const parse = (data: Uint8Array): number[] => {
  const bytes = Buffer.from(data);
  return [bytes.readUInt16LE(0), bytes.readUInt16LE(2), bytes.readInt32LE(4)];
};
const send = (driven: DrivenDevice, ...events: unknown[]) => driven.runner.handle('event', { events }, []);

describe('the driver learns', () => {
  test('who a keyboard is', async () => {
    await using driven = await driveDevice(device, { options: { profile: 'keyboard', serial: 'k1' } });
    expect(text(select(driven, SELECT.name, 0))).toBe('Runtime keyboard');
    expect(text(select(driven, SELECT.serial, 0))).toBe('k1');
    expect([...select(driven, SELECT.ids, 0)]).toEqual([6, 0, 0, 0, 1, 0, 1, 0]);
    expect(bits(select(driven, SELECT.events, EV.key))).toEqual(Array.from({ length: 248 }, (_, i) => i + 1));
    expect(bits(select(driven, SELECT.events, EV.led))).toEqual([0, 1, 2]);
    expect([...select(driven, SELECT.events, EV.rel)]).toEqual([]);
    expect([...select(driven, SELECT.props, 0)]).toEqual([]);
  });

  test('the axes of a tablet, and that a touchscreen is one', async () => {
    await using tablet = await driveDevice(device, { options: { profile: 'tablet', name: 'Stift' } });
    expect(text(select(tablet, SELECT.name, 0))).toBe('Stift');
    expect(bits(select(tablet, SELECT.events, EV.abs))).toEqual([ABS.x, ABS.y]);
    expect([...new Uint32Array(select(tablet, SELECT.absolute, ABS.x).slice().buffer)]).toEqual([0, 32_767, 0, 0, 0]);
    expect([...select(tablet, SELECT.absolute, ABS.slot)]).toEqual([]);
    await using screen = await driveDevice(device, { options: { profile: 'touchscreen' } });
    expect(bits(select(screen, SELECT.props, 0))).toEqual([1]);
  });

  test('nothing where there is nothing, and leaves no answer of before', async () => {
    await using driven = await driveDevice(device, { options: { profile: 'mouse' } });
    expect(select(driven, SELECT.name, 0).length).toBeGreaterThan(0);
    for (const what of [
      [0, 0],
      [SELECT.name, 1],
      [SELECT.ids, 9],
      [SELECT.events, 255],
      [SELECT.absolute, 255],
      [255, 255],
    ]) {
      expect([...select(driven, ...what)]).toEqual([]);
      expect(driven.runner.readConfig(CONFIG.data, CONFIG.dataBytes).every((byte) => byte === 0)).toBe(true);
    }
    // A driver can write what it is not to.
    driven.runner.writeConfig(CONFIG.size, new Uint8Array(134).fill(0xff));
    driven.runner.writeConfig(0, Uint8Array.of(SELECT.ids));
    driven.runner.writeConfig(1, Uint8Array.of(0));
    expect(driven.runner.readConfig(CONFIG.size, 1)[0]).toBe(8);
  });
});

describe('events', () => {
  test.each([{}, { packed: true, eventIdx: true }])(
    'come one in a buffer, with a report at the end (%o)',
    async (driver) => {
      await using driven = await driveDevice(device, { options: { profile: 'keyboard' }, driver });
      const queue = driven.queue(EVENTS);
      for (let i = 0; i < 8; i++) queue.add([], [8]);
      queue.kick();
      expect(await send(driven, [EV.key, 30, 1])).toEqual({ queued: 2, dropped: 0 });
      expect(await send(driven, [EV.key, 30, 0], [EV.syn, 0, 0])).toEqual({ queued: 2, dropped: 0 });
      const got = await driven.completions(4, EVENTS);
      expect(got.map(({ data }) => parse(data))).toEqual([
        [EV.key, 30, 1],
        [EV.syn, 0, 0],
        [EV.key, 30, 0],
        [EV.syn, 0, 0],
      ]);
      expect(driven.stats).toMatchObject({ events: 4, dropped: 0 });
    },
  );

  test('wait for buffers, in their order and up to a limit; then whole requests are dropped', async () => {
    await using driven = await driveDevice(device, { options: { profile: 'mouse' } });
    for (let i = 0; i < 512; i++)
      expect(await send(driven, [EV.rel, REL.x, i - 256])).toEqual({ queued: 2, dropped: 0 });
    expect(await send(driven, [EV.rel, REL.y, 1], [EV.rel, REL.x, 1])).toEqual({ queued: 0, dropped: 3 });
    const queue = driven.queue(EVENTS);
    const moves: number[] = [];
    while (moves.length < 512) {
      while (queue.add([], [3, 5]) >= 0);
      queue.kick();
      for (const { data } of await driven.completions(1, EVENTS)) {
        const [type, , value = 0] = parse(data);
        if (type === EV.rel) moves.push(value);
      }
    }
    expect(moves).toEqual(Array.from({ length: 512 }, (_, i) => i - 256));
    expect(driven.stats.dropped).toBe(3);
  });

  test('skip buffers that are too small for one', async () => {
    await using driven = await driveDevice(device, { options: { profile: 'mouse' } });
    const queue = driven.queue(EVENTS);
    for (const length of [7, 8, 100]) queue.add([], [length]);
    queue.kick();
    await send(driven, [EV.key, BTN.left, 1]);
    expect((await driven.completions(3, EVENTS)).map(({ written }) => written)).toEqual([0, 8, 8]);
    expect(driven.stats.malformed).toBe(1);
  });

  test.each([
    ['keyboard', [EV.key, 0, 1], 'no event of type 1, code 0'],
    ['keyboard', [EV.key, 249, 1], 'no event of type 1, code 249'],
    ['keyboard', [EV.key, 30, 3], 'a key cannot be 3'],
    ['keyboard', [EV.led, 0, 1], 'no event of type 17'],
    ['keyboard', [EV.rep, 0, 1], 'no event of type 20'],
    ['keyboard', [EV.syn, 3, 0], 'no event of type 0, code 3'],
    ['keyboard', ['1', 30, 1], 'no event of type 1, code 30'],
    ['mouse', [EV.abs, 0, 1], 'no event of type 3'],
    ['mouse', [EV.rel, 0, 2 ** 31], 'no whole number of 32 bits'],
    ['mouse', [EV.rel, 0, 1.5], 'no whole number of 32 bits'],
    ['mouse', [EV.rel, 0, null], 'no whole number of 32 bits'],
    ['tablet', [EV.abs, 0, 32_768], 'axis 0 has no 32768'],
    ['tablet', [EV.abs, 0, -1], 'axis 0 has no -1'],
    ['tablet', [EV.abs, 0], 'an event is [type, code, value]'],
    ['tablet', 'click', 'an event is [type, code, value]'],
  ])('of a %s cannot be %o', async (kind, wrong, why) => {
    await using driven = await driveDevice(device, { options: { profile: kind } });
    await expect(send(driven, [EV.syn, 0, 0], wrong)).rejects.toThrow(why);
    expect(await driven.runner.handle('state', null, [])).toEqual({ leds: 0, waiting: 0 });
  });

  test('are a list, and not a long one', async () => {
    await using driven = await driveDevice(device, { options: { profile: 'mouse' } });
    for (const params of [null, {}, { events: [] }, { events: {} }, { events: Array(257).fill([0, 0, 0]) }]) {
      await expect(driven.runner.handle('event', params, [])).rejects.toThrow('events must be a list of 1 to 256');
    }
    await expect(driven.runner.handle('press', null, [])).rejects.toThrow('request "press" is unknown');
  });

  test('a finger comes and goes', async () => {
    await using driven = await driveDevice(device, { options: { profile: 'touchscreen' } });
    expect(
      await send(
        driven,
        [EV.abs, ABS.slot, 0],
        [EV.abs, ABS.trackingId, 7],
        [EV.abs, ABS.positionX, 100],
        [EV.key, BTN.touch, 1],
      ),
    ).toEqual({ queued: 5, dropped: 0 });
    expect(await send(driven, [EV.abs, ABS.trackingId, -1], [EV.key, BTN.touch, 0])).toEqual({ queued: 3, dropped: 0 });
  });
});

test('lights are what the guest has last said', async () => {
  await using driven = await driveDevice(device, { options: { profile: 'keyboard' } });
  await driven.exchange([event(EV.led, LED.caps, 1)], [], STATUS);
  await driven.exchange([event(EV.led, LED.num, 1)], [], STATUS);
  await driven.exchange([event(EV.led, LED.num, 0)], [], STATUS);
  for (const odd of [event(EV.led, 40, 1), event(EV.key, 30, 1), new Uint8Array(7), new Uint8Array(16)]) {
    await driven.exchange([odd], [], STATUS);
  }
  expect(await driven.runner.handle('state', null, [])).toEqual({ leds: 1 << LED.caps, waiting: 0 });
  expect(driven.stats).toMatchObject({ status: 5, malformed: 2 });
  driven.runner.reset();
  expect(await driven.runner.handle('state', null, [])).toEqual({ leds: 0, waiting: 0 });
});

test('new code has the events that wait, and the lights', async () => {
  await using driven = await driveDevice(device, { options: { profile: 'keyboard' } });
  await driven.exchange([event(EV.led, LED.scroll, 1)], [], STATUS);
  await send(driven, [EV.key, 30, 1]);
  await driven.runner.replace(device as never);
  expect(await driven.runner.handle('state', null, [])).toEqual({ leds: 4, waiting: 2 });
  const queue = driven.queue(EVENTS);
  for (let i = 0; i < 2; i++) queue.add([], [8]);
  queue.kick();
  expect((await driven.completions(2, EVENTS)).map(({ data }) => parse(data))).toEqual([
    [EV.key, 30, 1],
    [EV.syn, 0, 0],
  ]);
});

test.each([
  [{}, 'profile: must be keyboard or mouse or tablet or touchscreen'],
  [{ profile: 'mouse', name: 'x'.repeat(129) }, 'name: must be a text of at most 128 bytes'],
  [{ profile: 'mouse', speed: 1 }, 'speed: is no option of the input device'],
])('options %o are refused', async (options, why) => {
  await expect(driveDevice(device, { options })).rejects.toThrow(why);
});
