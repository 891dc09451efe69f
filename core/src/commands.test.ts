import { describe, expect, test } from 'vitest';
import { CommandHub, type CommandSpec } from './commands.ts';
import { isRuntimeError } from './errors.ts';
import { Scope } from './scope.ts';
import { flush } from './test-programs/fake-clock.ts';

function setup() {
  const hub = new CommandHub();
  const plugin = (name: string) => {
    const scope = new Scope(name);
    return { scope, commands: hub.view(scope) };
  };
  return { hub, plugin };
}

const summary = 'Does it';

describe('a command', () => {
  test('is listed with its plugin, found by its whole name, and gone with its registration or plugin', async () => {
    const { hub, plugin } = setup();
    const { commands, scope } = plugin('vmm');
    const handler = (): number => 3;
    const start = { name: 'vm start', summary, options: { cpus: { type: 'number', summary: 'How many' } } } as const;
    const registration = commands.add(start, handler);
    commands.add({ name: 'vm', summary }, () => {});
    expect(hub.list()).toEqual([
      { ...start, plugin: 'vmm' },
      { name: 'vm', summary, plugin: 'vmm' },
    ]);
    expect(hub.find('vm start')).toEqual({ plugin: 'vmm', spec: start, handler });
    expect(hub.find('start')).toBeUndefined();
    registration[Symbol.dispose]();
    expect(hub.list().map(({ name }) => name)).toEqual(['vm']);
    await scope.close();
    expect(hub.list()).toEqual([]);
  });

  test('that another plugin has already is refused, with who has it; later it may be taken', async () => {
    const { hub, plugin } = setup();
    const first = plugin('first');
    const second = plugin('second');
    first.commands.add({ name: 'vm', summary }, () => {});
    for (const { commands } of [first, second]) {
      expect(() => commands.add({ name: 'vm', summary }, () => {})).toThrow(
        'adds command "vm", which first already has',
      );
    }
    await first.scope.close();
    second.commands.add({ name: 'vm', summary }, () => {});
    expect(hub.find('vm')?.plugin).toBe('second');
  });

  test('of a plugin that is unloaded is refused and never seen', async () => {
    const { hub, plugin } = setup();
    const { commands, scope } = plugin('late');
    await scope.close();
    expect(() => commands.add({ name: 'vm', summary }, () => {})).toThrow(/after it was unloaded/);
    expect(hub.list()).toEqual([]);
    await flush();
    expect(hub.list()).toEqual([]);
  });
});

describe('a spec', () => {
  const words = (n: number, length: number): string => Array.from({ length: n }, () => 'x'.repeat(length)).join(' ');
  test.each([['vm'], ['vm start'], ['a b-2 c d'], [words(4, 31)]])('may be called "%s"', (name) => {
    expect(() =>
      setup()
        .plugin('p')
        .commands.add({ name, summary }, () => {}),
    ).not.toThrow();
  });

  const flag = { type: 'boolean', summary: 'x' } as const;
  const argument = { name: 'a', summary: 'x' };
  const name = 'its name must be one to four lower-case words';
  const short = 'the short form of each option must be a letter of its own';
  test.each<[string, Partial<CommandSpec>, string]>([
    ['no name', { name: '' }, name],
    ['a name in capitals', { name: 'VM' }, name],
    ['a name with two spaces', { name: 'vm  start' }, name],
    ['a name that begins with a dash', { name: '-vm' }, name],
    ['a name on two lines', { name: 'vm\nstart' }, name],
    ['a name of five words', { name: 'a b c d e' }, name],
    ['a name too long', { name: words(4, 32) }, name],
    [
      'an argument after the rest',
      { args: [{ ...argument, variadic: true }, argument] },
      'only its last argument may be variadic',
    ],
    ['a short option of two letters', { options: { all: { ...flag, short: 'al' } } }, short],
    ['a short option that is no letter', { options: { all: { ...flag, short: '-' } } }, short],
    ['two short options alike', { options: { all: { ...flag, short: 'a' }, any: { ...flag, short: 'a' } } }, short],
  ])('with %s is refused', (_what, part, why) => {
    const { hub, plugin } = setup();
    const { commands, scope } = plugin('p');
    let error: unknown;
    try {
      commands.add({ name: 'vm', summary, ...part }, () => {});
    } catch (e) {
      error = e;
    }
    if (!isRuntimeError(error, 'CORE_ERR_COMMAND_USAGE')) expect.fail('it was taken');
    expect(error.message).toBe(`${part.name ?? 'vm'}: ${why}`);
    expect([hub.list(), scope.labels]).toEqual([[], []]);
  });

  test('may have as many arguments and short options as it likes', () => {
    const { commands } = setup().plugin('p');
    const options = { all: { ...flag, short: 'a' }, any: { ...flag, short: 'A' }, other: flag };
    const args = [argument, argument, { ...argument, variadic: true }];
    expect(() => commands.add({ name: 'vm', summary, args, options }, () => {})).not.toThrow();
  });
});
