import { fstatSync, openSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { type Keepers, KeeperTable } from './keepers.ts';
import { Scope } from './scope.ts';
import { flush } from './test-programs/fake-clock.ts';
import { quietLog } from './test-programs/quiet-log.ts';

interface Plugin {
  readonly scope: Scope;
  readonly keepers: Keepers;
}

function setup() {
  const log = quietLog();
  const table = new KeeperTable(log);
  const plugin = (name: string): Plugin => {
    const scope = new Scope(name);
    return { scope, keepers: table.view(scope) };
  };
  const takeDown = async (old: Plugin): Promise<Plugin> => {
    table.park(old.scope.owner);
    await old.scope.close();
    return plugin(old.scope.owner);
  };
  const kept = (): string[] => table.report().map(({ plugin: owner, key, kind }) => `${owner} ${kind} ${key}`);
  return { log, table, plugin, takeDown, kept };
}

/** A mapping that knows how often it was closed. */
function mapping(): Disposable & { closed: number } {
  const value = {
    closed: 0,
    [Symbol.dispose]: () => {
      value.closed += 1;
    },
  };
  return value;
}

describe('what is kept', () => {
  test('is made once, and is the same for everybody who asks under its key', async () => {
    const { plugin, kept } = setup();
    const { keepers } = plugin('alpha');
    let made = 0;
    const create = async (): Promise<number> => {
      made += 1;
      await flush();
      return made;
    };
    expect(await Promise.all([keepers.keep('object', 'x', create), keepers.keep('object', 'x', create)])).toEqual([
      1, 1,
    ]);
    expect(await keepers.keep('object', 'x', create)).toBe(1);
    expect(await plugin('beta').keepers.keep('object', 'x', create)).toBe(2);
    expect(kept()).toEqual(['alpha object x', 'beta object x']);
  });

  test('is closed with the plugin, by its kind', async () => {
    const { plugin, kept } = setup();
    const { keepers, scope } = plugin('alpha');
    const log: string[] = [];
    const fd = await keepers.keep('fd', 'null', () => openSync('/dev/null', 'r'));
    const region = await keepers.keep('mapping', 'region', mapping);
    await keepers.keep('worker', 'worker', () => ({
      async [Symbol.asyncDispose]() {
        await flush();
        log.push('worker ended');
      },
    }));
    await keepers.keep('object', 'object', () => mapping());
    const custom = await keepers.keep('mapping', 'custom', mapping, () => void log.push('custom closed'));
    expect(fstatSync(fd).isCharacterDevice()).toBe(true);
    expect(scope.labels).toEqual(
      ['fd null', 'mapping region', 'worker worker', 'object object', 'mapping custom'].map((what) => `kept ${what}`),
    );
    await scope.close();
    expect(() => fstatSync(fd)).toThrow(/EBADF/);
    expect(region.closed).toBe(1);
    expect(custom.closed).toBe(0);
    expect(log).toEqual(['custom closed', 'worker ended']);
    expect(kept()).toEqual([]);
  });

  test('is closed at once when it is dropped, and not again', async () => {
    const { plugin, kept } = setup();
    const { keepers, scope } = plugin('alpha');
    const first = await keepers.keep('mapping', 'x', mapping);
    await keepers.drop('x');
    await keepers.drop('x');
    await keepers.drop('never there');
    expect(first.closed).toBe(1);
    expect([kept(), scope.labels]).toEqual([[], []]);
    // The key is free, also for another kind.
    await keepers.keep('object', 'x', () => 'another');
    await scope.close();
    expect(first.closed).toBe(1);
  });

  test('is nobody else’s to drop', async () => {
    const { plugin } = setup();
    const value = await plugin('alpha').keepers.keep('mapping', 'x', mapping);
    await plugin('beta').keepers.drop('x');
    expect(value.closed).toBe(0);
  });

  test('under another kind is refused', async () => {
    const { plugin } = setup();
    const { keepers } = plugin('alpha');
    await keepers.keep('object', 'x', () => 1);
    let made = false;
    const error = await keepers
      .keep('mapping', 'x', () => {
        made = true;
        return mapping();
      })
      .catch((e: unknown) => e);
    expect(isRuntimeError(error, 'CORE_ERR_KEEPER_KIND')).toBe(true);
    expect((error as Error).message).toBe('alpha keeps "x" as object and asked for it as mapping');
    expect(made).toBe(false);
  });

  test('that could not be made leaves nothing, and may be tried again', async () => {
    const { plugin, kept } = setup();
    const { keepers, scope } = plugin('alpha');
    for (const create of [
      () => {
        throw new Error('no');
      },
      () => Promise.reject(new Error('no')),
    ]) {
      await expect(keepers.keep('mapping', 'x', create)).rejects.toThrow('no');
      expect([kept(), scope.labels]).toEqual([[], []]);
    }
    const value = await keepers.keep('mapping', 'x', mapping);
    await scope.close();
    expect(value.closed).toBe(1);
  });

  test('anew is not forgotten when the first one, which was dropped, fails late', async () => {
    const { plugin, kept } = setup();
    const { keepers, scope } = plugin('alpha');
    const { promise, reject } = Promise.withResolvers<Disposable>();
    const first = keepers.keep('mapping', 'x', () => promise);
    const refused = expect(first).rejects.toThrow('late');
    const dropped = keepers.drop('x');
    const second = await keepers.keep('mapping', 'x', mapping);
    reject(new Error('late'));
    await Promise.all([refused, dropped]);
    expect(kept()).toEqual(['alpha mapping x']);
    await scope.close();
    expect(second.closed).toBe(1);
  });

  test('while it is still being made is closed as soon as it is, when the plugin goes', async () => {
    const { plugin } = setup();
    const { keepers, scope } = plugin('alpha');
    const { promise, resolve } = Promise.withResolvers<Disposable>();
    const keeping = keepers.keep('mapping', 'x', () => promise);
    const closing = scope.close();
    const value = mapping();
    resolve(value);
    await Promise.all([keeping, closing]);
    expect(value.closed).toBe(1);
  });

  test('is not made for a plugin that is unloaded', async () => {
    const { plugin, kept } = setup();
    const { keepers, scope } = plugin('alpha');
    await scope.close();
    let made = false;
    const create = (): number => {
      made = true;
      return openSync('/dev/null', 'r');
    };
    await expect(keepers.keep('fd', 'x', create)).rejects.toThrow('alpha registered "kept fd x" after it was unloaded');
    await flush();
    expect(made).toBe(false);
    expect(kept()).toEqual([]);
  });

  test('and cannot be closed is told of, and gone all the same', async () => {
    const { plugin, kept } = setup();
    const { keepers, scope } = plugin('alpha');
    const refuse = (): Promise<void> => Promise.reject(new Error('busy'));
    await keepers.keep('object', 'dropped', () => 1, refuse);
    await keepers.keep('object', 'closed', () => 2, refuse);
    await expect(keepers.drop('dropped')).rejects.toThrow('busy');
    await expect(scope.close()).rejects.toThrow(/1 cleanup/);
    expect(kept()).toEqual([]);
  });
});

describe('over a reload', () => {
  test('stays as it is and is claimed by its key; the fd is open all the time', async () => {
    const { plugin, takeDown, table } = setup();
    const old = plugin('alpha');
    const fd = await old.keepers.keep('fd', 'null', () => openSync('/dev/null', 'r'));
    const next = await takeDown(old);
    expect(fstatSync(fd).isCharacterDevice()).toBe(true);
    expect(await next.keepers.keep('fd', 'null', () => expect.fail('it exists'))).toBe(fd);
    expect(await table.sweep('alpha')).toEqual([]);
    expect(fstatSync(fd).isCharacterDevice()).toBe(true);
    await next.scope.close();
    expect(() => fstatSync(fd)).toThrow(/EBADF/);
  });

  test('is closed by the code of whoever asked last', async () => {
    const { plugin, takeDown } = setup();
    const log: string[] = [];
    const old = plugin('alpha');
    await old.keepers.keep(
      'object',
      'x',
      () => 'value',
      () => void log.push('old code'),
    );
    const next = await takeDown(old);
    await next.keepers.keep(
      'object',
      'x',
      () => 'another',
      (value) => void log.push(`new code closes ${value}`),
    );
    await next.scope.close();
    expect(log).toEqual(['new code closes value']);
  });

  test('what is not claimed is closed, told, and whatever fails in that is logged', async () => {
    const { plugin, takeDown, table, kept, log } = setup();
    const old = plugin('alpha');
    const claimed = await old.keepers.keep('mapping', 'claimed', mapping);
    const broken = new Error('busy');
    await old.keepers.keep(
      'object',
      'broken',
      () => 1,
      () => Promise.reject(broken),
    );
    const left = await old.keepers.keep('mapping', 'left', mapping);
    const foreign = plugin('beta');
    await foreign.keepers.keep('mapping', 'left', mapping);
    table.park('beta');
    const running = plugin('gamma');
    const untouched = await running.keepers.keep('mapping', 'left', mapping);
    const next = await takeDown(old);
    await next.keepers.keep('mapping', 'claimed', mapping);
    expect(await table.sweep('alpha')).toEqual(['broken', 'left']);
    expect([claimed.closed, left.closed]).toEqual([0, 1]);
    expect(kept()).toEqual(['alpha mapping claimed', 'beta mapping left', 'gamma mapping left']);
    await running.scope.close();
    expect(untouched.closed).toBe(1);
    expect(log.lines.map(({ level, fields }) => [level, fields.key, fields.err])).toEqual([['warn', 'broken', broken]]);
  });

  test('goes on to the next attempt when the new code fails, and so does what that one made', async () => {
    const { plugin, takeDown, table } = setup();
    const old = plugin('alpha');
    const value = await old.keepers.keep('mapping', 'x', mapping);
    const failed = await takeDown(old);
    expect(await failed.keepers.keep('mapping', 'x', mapping)).toBe(value);
    const extra = await failed.keepers.keep('mapping', 'extra', mapping);
    const restored = await takeDown(failed);
    expect(await restored.keepers.keep('mapping', 'x', mapping)).toBe(value);
    expect(await table.sweep('alpha')).toEqual(['extra']);
    expect([value.closed, extra.closed]).toEqual([0, 1]);
    await restored.scope.close();
    expect([value.closed, extra.closed]).toEqual([1, 1]);
  });

  test('under another kind is refused, and the old value swept', async () => {
    const { plugin, takeDown, table } = setup();
    const old = plugin('alpha');
    const value = await old.keepers.keep('mapping', 'x', mapping);
    const next = await takeDown(old);
    await expect(next.keepers.keep('object', 'x', () => 1)).rejects.toThrow(/keeps "x" as mapping/);
    await table.sweep('alpha');
    expect(value.closed).toBe(1);
    expect(await next.keepers.keep('object', 'x', () => 1)).toBe(1);
  });
});
