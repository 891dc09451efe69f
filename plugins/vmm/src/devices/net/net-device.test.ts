import { describe, expect, test } from 'vitest';
import device from './index.ts';
import { CONTROL, cut, featureMask, frame, MAC, netRig, RX, TX, tick, until, withHeader } from './test-rig.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('to the host', () => {
  test.each([
    ['in one segment', [], {}],
    ['the header alone', [12], {}],
    ['in many segments', [1, 5, 6, 14, 100], { packed: true }],
    ['in a table', [3, 9, 60], { indirect: true, eventIdx: true }],
  ])('a frame goes as it is, %s', async (_name, lengths, driver) => {
    await using rig = await netRig({ driver });
    const message = withHeader(
      frame(1514),
      Uint8Array.from({ length: 12 }, (_, i) => i),
    );
    const { written } = await rig.driven.exchange(cut(message, ...lengths), [], TX);
    expect(written).toBe(0);
    expect((await rig.received()).map(hex)).toEqual([hex(message)]);
    expect(rig.driven.stats).toMatchObject({ txFrames: 1, txBytes: 1514, txMalformed: 0 });
  });

  test('the longest frame goes', async () => {
    await using rig = await netRig();
    const message = withHeader(frame(65_550));
    await rig.driven.exchange(cut(message, 12, 4096, 30_000), [], TX);
    const [got] = await rig.received();
    expect(Buffer.compare(got as Uint8Array, message)).toBe(0);
  });

  test.each([
    ['nothing', 0],
    ['half a header', 6],
    ['only a header', 12],
    ['half an Ethernet header', 12 + 13],
    ['more than a frame can be', 12 + 65_551],
  ])('%s is given back and counted', async (_name, length) => {
    await using rig = await netRig();
    const readable = length === 0 ? [] : [new Uint8Array(length)];
    await rig.driven.exchange(readable, length === 0 ? [4] : [], TX);
    await rig.driven.exchange([withHeader(frame(60))], [], TX);
    expect(await rig.received()).toHaveLength(1);
    expect(rig.driven.stats).toMatchObject({ txMalformed: 1, txFrames: 1 });
  });

  test('the guest waits while the host takes nothing, and nothing is lost', async () => {
    await using rig = await netRig({ sendBuffer: 8192 });
    const queue = rig.driven.queue(TX);
    const total = 200;
    let sent = 0;
    let used = 0;
    const got: Uint8Array[] = [];
    const add = (): void => {
      while (sent < total && queue.add([withHeader(frame(1000, sent))], []) >= 0) sent++;
      queue.kick();
    };
    add();
    await until(() => (rig.driven.stats.txFull ?? 0) > 0);
    expect(sent).toBe(64);
    const into = new Uint8Array(4096);
    await until(() => {
      used += queue.used().length;
      add();
      const part = rig.host.receive(into);
      if (part !== undefined) got.push(into.slice(0, part.bytes));
      return got.length === total;
    });
    await until(() => {
      used += queue.used().length;
      return used === total;
    });
    for (const [i, bytes] of got.entries()) expect(Buffer.compare(bytes, withHeader(frame(1000, i)))).toBe(0);
    expect(rig.driven.stats).toMatchObject({ txFrames: total, txDropped: 0 });
  });
});

describe('to the guest', () => {
  test('a frame comes with a header that says one buffer', async () => {
    await using rig = await netRig();
    const queue = rig.driven.queue(RX);
    queue.add([], [12, 1514]);
    queue.add([], [1526]);
    queue.kick();
    const header = Uint8Array.from([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0xff, 0xff]);
    rig.host.send(withHeader(frame(1514, 1), header));
    rig.host.send(withHeader(frame(60, 2), header));
    const [first, second] = await rig.driven.completions(2, RX);
    header.set([1, 0], 10);
    expect(hex(first?.data ?? new Uint8Array())).toBe(hex(withHeader(frame(1514, 1), header)));
    expect(hex(second?.data ?? new Uint8Array())).toBe(hex(withHeader(frame(60, 2), header)));
    expect(rig.driven.ram.intact).toBe(true);
    expect(rig.driven.stats).toMatchObject({ rxFrames: 2, rxBytes: 1574 });
  });

  test.each([{}, { packed: true }, { indirect: true, eventIdx: true }])(
    'a long one takes as many buffers as it needs (%o)',
    async (driver) => {
      await using rig = await netRig({ driver });
      const queue = rig.driven.queue(RX);
      // The header is cut across segments.
      queue.add([], [5, 6, 200]);
      for (let i = 0; i < 40; i++) queue.add([], [2048]);
      queue.kick();
      const message = withHeader(frame(65_000));
      rig.host.send(message);
      await until(() => rig.driven.stats.rxFrames === 1);
      const buffers = await rig.driven.completions(33, RX);
      const whole = Buffer.concat(buffers.map(({ data }) => data));
      expect([whole.length, whole.readUInt16LE(10)]).toEqual([message.length, 33]);
      whole.writeUInt16LE(0, 10);
      expect(whole.equals(message)).toBe(true);
    },
  );

  test('a frame waits for buffers, also in the middle', async () => {
    await using rig = await netRig();
    const queue = rig.driven.queue(RX);
    rig.host.send(withHeader(frame(1000, 1)));
    rig.host.send(withHeader(frame(60, 2)));
    await until(() => rig.driven.stats.rxStarved === 1);
    queue.add([], [600]);
    queue.kick();
    await tick();
    expect(queue.used()).toEqual([]);
    queue.add([], [600]);
    queue.add([], [600]);
    queue.kick();
    const buffers = await rig.driven.completions(3, RX);
    expect(buffers.map(({ written }) => written)).toEqual([600, 412, 72]);
    expect(hex(buffers[2]?.data.subarray(12) ?? new Uint8Array())).toBe(hex(frame(60, 2)));
  });

  test('a queue that stops in the middle gets its buffers back, and the frame comes when it runs again', async () => {
    await using rig = await netRig();
    const { runner } = rig.driven;
    const queue = rig.driven.queue(RX);
    rig.host.send(withHeader(frame(1000)));
    queue.add([], [600]);
    queue.kick();
    await until(() => rig.driven.stats.rxStarved === 1);
    const base = await runner.stopQueue(RX);
    expect(queue.used()).toMatchObject([{ written: 0 }]);
    for (let i = 0; i < 2; i++) queue.add([], [600]);
    queue.kick();
    runner.startQueue({ setup: queue.setup({ index: RX, base }), kick: queue.kickFd });
    const buffers = await rig.driven.completions(2, RX);
    const whole = Buffer.concat(buffers.map(({ data }) => data));
    expect(whole.subarray(12).equals(frame(1000))).toBe(true);
  });

  test('without merging, a frame that is too long for its buffer is dropped', async () => {
    await using rig = await netRig({ features: featureMask('mac') });
    const queue = rig.driven.queue(RX);
    for (let i = 0; i < 2; i++) queue.add([], [500]);
    queue.kick();
    rig.host.send(withHeader(frame(1000)));
    rig.host.send(withHeader(frame(488)));
    const buffers = await rig.driven.completions(2, RX);
    expect(buffers.map(({ written }) => written)).toEqual([0, 500]);
    expect(rig.driven.stats).toMatchObject({ rxMalformed: 1, rxFrames: 1 });
  });

  test('what is no frame is skipped', async () => {
    await using rig = await netRig();
    rig.driven.queue(RX).add([], [1526]);
    rig.driven.queue(RX).kick();
    for (const length of [1, 12, 25]) rig.host.send(new Uint8Array(length));
    rig.host.send(withHeader(frame(60)));
    const [buffer] = await rig.driven.completions(1, RX);
    expect(buffer?.written).toBe(72);
    expect(rig.driven.stats).toMatchObject({ rxMalformed: 3, rxFrames: 1 });
  });

  test('a thousand frames come in order, whatever the ring', async () => {
    for (const driver of [
      { packed: true, eventIdx: true },
      { eventIdx: true, indirect: true, inOrder: true },
    ]) {
      await using rig = await netRig({ driver });
      const queue = rig.driven.queue(RX);
      let sent = 0;
      let got = 0;
      await until(() => {
        while (sent < 1000 && rig.host.send(withHeader(frame(100 + (sent % 1300), sent))) !== undefined) sent++;
        while (queue.add([], [1526]) >= 0);
        queue.kick();
        for (const { data } of queue.used()) {
          const wanted = frame(100 + (got % 1300), got);
          if (Buffer.compare(data.subarray(12), wanted) !== 0) throw new Error(`frame ${got} is another`);
          got++;
        }
        return got === 1000;
      });
      expect(rig.driven.ram.intact).toBe(true);
    }
  });
});

describe('commands', () => {
  const list = (...macs: readonly string[]): number[] => [
    macs.length,
    0,
    0,
    0,
    ...macs.flatMap((mac) => mac.split(':').map((byte) => Number.parseInt(byte, 16))),
  ];
  const OTHER = '02:00:00:00:00:99';
  const GROUP = '01:00:5e:00:00:01';

  test.each([
    ['nothing', []],
    ['a class alone', [0]],
    ['no value', [0, 0]],
    ['a value that is neither', [0, 0, 2]],
    ['more than the value', [0, 0, 1, 0]],
    ['a receive mode that is not offered', [0, 2, 1]],
    ['half an address', [1, 1, 2, 0, 0]],
    ['the address of a group', [1, 1, 1, 0, 0, 0, 0, 1]],
    ['no address at all', [1, 1, 0, 0, 0, 0, 0, 0]],
    ['a list that is longer than its data', [1, 0, 255, 255, 255, 255, ...list()]],
    ['one list of two', [1, 0, ...list(OTHER)]],
    ['more after the lists', [1, 0, ...list(OTHER), ...list(), 0]],
    ['VLANs', [2, 0, 1, 0]],
    ['pairs without that feature', [4, 0, 1, 0]],
    ['offloads without that feature', [5, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['a class that is not there', [99, 0, 1]],
  ])('%s is refused', async (_name, bytes) => {
    await using rig = await netRig();
    const { data } = await rig.driven.exchange(bytes.length > 0 ? [Uint8Array.from(bytes)] : [], [1], CONTROL);
    expect([...data]).toEqual([1]);
    expect(rig.driven.stats).toMatchObject({ commands: 1, commandsRefused: 1 });
  });

  test('one without room for its answer changes nothing', async () => {
    await using rig = await netRig();
    const { written } = await rig.driven.exchange([Uint8Array.of(1, 1, 2, 0, 0, 0, 0, 1)], [], CONTROL);
    expect(written).toBe(0);
    expect(rig.config.getUint8(5)).toBe(7);
  });

  test('frames are filtered as the driver says', async () => {
    await using rig = await netRig();
    const command = async (...bytes: number[]): Promise<void> => {
      const parts = cut(Uint8Array.from(bytes), 2, 3);
      const { data } = await rig.driven.exchange(parts, [1], CONTROL);
      expect([...data]).toEqual([0]);
    };
    const queue = rig.driven.queue(RX);
    for (let i = 0; i < 20; i++) queue.add([], [1526]);
    queue.kick();
    const targets = [MAC, OTHER, GROUP, 'ff:ff:ff:ff:ff:ff'];
    const passing = async (): Promise<boolean[]> => {
      for (const [i, target] of targets.entries()) rig.host.send(withHeader(frame(60 + i, i, target)));
      const before = (rig.driven.stats.rxFrames ?? 0) + (rig.driven.stats.rxFiltered ?? 0);
      await until(() => (rig.driven.stats.rxFrames ?? 0) + (rig.driven.stats.rxFiltered ?? 0) === before + 4);
      await tick();
      const lengths = queue.used().map(({ written }) => written - 72);
      return targets.map((_, i) => lengths.includes(i));
    };
    expect(await passing()).toEqual([true, true, true, true]);
    await command(0, 0, 0);
    await command(0, 1, 0);
    expect(await passing()).toEqual([true, false, false, true]);
    await command(1, 0, ...list(OTHER), ...list(GROUP));
    expect(await passing()).toEqual([true, true, true, true]);
    await command(1, 0, ...list(), ...list());
    await command(1, 1, 2, 0, 0, 0, 0, 0x99);
    expect(await passing()).toEqual([false, true, false, true]);
    expect(rig.config.getUint8(5)).toBe(0x99);
    await command(0, 1, 1);
    expect(await passing()).toEqual([false, true, true, true]);
    rig.driven.runner.reset();
    expect(rig.config.getUint8(5)).toBe(7);
  });

  test('more addresses than are kept let all of their kind pass', async () => {
    await using rig = await netRig();
    const many = Array.from({ length: 65 }, (_, i) => `02:00:00:00:01:${i.toString(16).padStart(2, '0')}`);
    for (const bytes of [
      [0, 0, 0],
      [1, 0, ...list(...many), ...list()],
    ])
      expect([...(await rig.driven.exchange([Uint8Array.from(bytes)], [1], CONTROL)).data]).toEqual([0]);
    rig.driven.queue(RX).add([], [1526]);
    rig.driven.queue(RX).kick();
    rig.host.send(withHeader(frame(60, 1, OTHER)));
    expect((await rig.driven.completions(1, RX))[0]?.written).toBe(72);
  });
});

describe('the device', () => {
  test('tells the driver what it is', async () => {
    await using rig = await netRig({ options: { mtu: 9000 } });
    const { config } = rig;
    expect(hex(new Uint8Array(config.buffer, 0, 6))).toBe('020000000007');
    expect([config.getUint16(6, true), config.getUint16(8, true), config.getUint16(10, true)]).toEqual([1, 1, 9000]);
    const wanted = featureMask('mac', 'status', 'mtu', 'mrgRxbuf', 'ctrlVq', 'ctrlRx', 'ctrlMacAddr');
    expect(rig.driven.runner.features & 0xff_ffffn).toBe(wanted);
    rig.driven.runner.writeConfig(0, new Uint8Array(12));
    expect(hex(new Uint8Array(rig.config.buffer, 0, 6))).toBe('020000000007');
  });

  test('offers unfinished frames and pairs only where the tap has them', () => {
    const features = (options: Record<string, unknown>) => {
      const result = device.options['~standard'].validate({ mac: MAC, backend: 'tap', ...options });
      if (!('value' in result)) throw new Error('refused');
      const bits = typeof device.features === 'function' ? device.features(result.value, {}) : [];
      return bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
    };
    const offloads = featureMask(
      'csum',
      'guestCsum',
      'guestTso4',
      'guestTso6',
      'hostTso4',
      'hostTso6',
      'ctrlGuestOffloads',
    );
    expect(features({}) & (offloads | featureMask('mq'))).toBe(0n);
    expect(features({ offload: true }) & offloads).toBe(offloads);
    expect(features({ queuePairs: 2 }) & featureMask('mq')).toBe(featureMask('mq'));
  });

  test('a link that is down passes nothing, and the driver is told', async () => {
    await using rig = await netRig();
    const { driven } = rig;
    expect(await driven.runner.handle('link', { up: false }, [])).toEqual({ up: false });
    expect([driven.configChanges, rig.config.getUint16(6, true)]).toEqual([1, 0]);
    driven.queue(RX).add([], [1526]);
    driven.queue(RX).kick();
    rig.host.send(withHeader(frame(60, 1)));
    await driven.exchange([withHeader(frame(60))], [], TX);
    await until(() => driven.stats.rxFiltered === 1);
    expect(driven.stats.txDropped).toBe(1);
    await driven.runner.handle('link', { up: true }, []);
    expect(rig.config.getUint16(6, true)).toBe(1);
    rig.host.send(withHeader(frame(80, 2)));
    expect((await driven.completions(1, RX))[0]?.written).toBe(92);
    for (const bad of [{}, { up: 1 }, null])
      await expect(driven.runner.handle('link', bad, [])).rejects.toThrow('up must be');
    await expect(driven.runner.handle('unlink', {}, [])).rejects.toThrow('request "unlink"');
  });

  test('new code goes on with half a frame in the guest, and what the driver has chosen', async () => {
    await using rig = await netRig();
    const { driven } = rig;
    await driven.exchange([Uint8Array.of(1, 1, 2, 0, 0, 0, 0, 8)], [1], CONTROL);
    await driven.exchange([Uint8Array.of(0, 0, 0)], [1], CONTROL);
    await driven.runner.handle('link', { up: true }, []);
    const queue = driven.queue(RX);
    for (let i = 0; i < 4; i++) queue.add([], [600]);
    queue.kick();
    await driven.runner.replace(device as never);
    rig.host.send(withHeader(frame(60, 1)));
    rig.host.send(withHeader(frame(60, 1, '02:00:00:00:00:08')));
    expect((await driven.completions(1, RX))[0]?.written).toBe(72);
    expect(driven.stats).toMatchObject({ rxFiltered: 1, rxFrames: 1, commands: 2 });
  });

  test.each([
    [{}, 'mac: must be six pairs'],
    [{ mac: '01:00:00:00:00:01' }, 'mac: must be six pairs'],
    [{ mac: MAC, backend: 'bridge' }, 'backend: must be tap or passt'],
    [{ mac: MAC, backend: 'tap', mtu: 67 }, 'mtu: must be 0, or 68'],
    [{ mac: MAC, backend: 'tap', queuePairs: 17 }, 'queuePairs: must be a whole number from 1 to 16'],
    [{ mac: MAC, backend: 'tap', queueSize: 100 }, 'queueSize: must be a power of two'],
    [{ mac: MAC, backend: 'passt', queuePairs: 2 }, 'passt has one pair of queues'],
    [{ mac: MAC, backend: 'tap', colour: 'red' }, 'colour: is no option of the net device'],
  ])('options %o are refused', async (options, why) => {
    await expect(netRig({ options: { mac: undefined, backend: undefined, ...options } })).rejects.toThrow(why);
  });

  test('a tap that was not handed over is missed at once', async () => {
    await expect(netRig({ fds: {} })).rejects.toThrow('tap0');
  });
});
