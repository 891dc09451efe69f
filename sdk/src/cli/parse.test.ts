import type { CommandSpec } from '@runtime/core';
import { describe, expect, it } from 'vitest';
import { CLI_COMMANDS } from './command-table.ts';
import type { GlobalValues } from './context.ts';
import { flagOf, type Parsed, parseCommandLine, parseForeign } from './parse.ts';

const style = { columns: 80, color: false };
const parse = (...argv: string[]): Parsed => parseCommandLine(argv, '9.9.9', style);
const text = (...argv: string[]): string => {
  const parsed = parse(...argv);
  return parsed.kind === 'text' ? parsed.text : `(${parsed.kind})`;
};

describe('the command line', () => {
  it('takes lists in one option or in several', () => {
    const parsed = parse('-p', 'a,b', '--plugins', './c', '--set', 'x=1', '--set', 'y=2');
    expect(parsed).toMatchObject({ kind: 'run', globals: { plugins: ['a', 'b', './c'], set: ['x=1', 'y=2'] } });
    expect(parse()).toMatchObject({ kind: 'run', globals: { plugins: undefined, format: 'table' } });
  });

  it('takes options for every command before and after its name', () => {
    for (const argv of [
      ['--format', 'json', '--name', 'x', 'plugin', 'list'],
      ['plugin', 'list', '--name=x', '--format=json'],
    ]) {
      expect(parse(...argv)).toMatchObject({
        kind: 'command',
        command: { name: 'plugin list' },
        globals: { format: 'json', name: 'x' },
      });
    }
  });

  it('leaves the words and options of commands that are not ours alone', () => {
    const parsed = parse('-p', 'x', 'vm', 'run', '--name', 'mine', '-v', '--', '--plugins');
    expect(parsed).toMatchObject({ kind: 'foreign', globals: { plugins: ['x'], name: undefined } });
    expect(parsed.kind === 'foreign' && parsed.words).toEqual(['vm', 'run', '--name', 'mine', '-v', '--', '--plugins']);
  });

  it('leaves a call of `stop` that names a VM to the command of the same name which a plugin adds', () => {
    const words = (...argv: string[]): unknown => {
      const parsed = parse('--format', 'json', ...argv);
      expect(parsed).toMatchObject({ globals: { format: 'json' } });
      return parsed.kind === 'foreign' ? parsed.words : parsed.kind;
    };
    expect(words('stop')).toBe('command');
    expect(words('stop', '--timeout', '5')).toBe('command');
    expect(words('stop', 'foo')).toEqual(['stop', 'foo']);
    expect(words('stop', '--timeout', '5', 'foo')).toEqual(['stop', 'foo', '--timeout=5']);
    expect(words('stop', '--all')).toEqual(['stop', '--all']);
    expect(() => parse('stop', '--al')).toThrow("unknown option '--al'");
    const help = parseCommandLine(['--help'], '1', style, [{ name: 'stop', summary: 'twice' }]);
    expect(help).toMatchObject({ text: expect.not.stringContaining('twice') });
  });

  it('prints help for the whole and for each command, and the version', () => {
    for (const { name, summary } of CLI_COMMANDS) {
      const help = text(...name.split(' '), '--help').replaceAll(/\s+/g, ' ');
      expect(help).toContain(`Usage: runtime ${name}`);
      expect(help.toLowerCase()).toContain(summary.toLowerCase());
    }
    expect(text('--help')).toMatch(/Run:\n {2}status .*[\s\S]*Examples:/);
    expect(text('plugin')).toContain('graph');
    expect(text('--version')).toBe('9.9.9\n');
    const withPlugins = parseCommandLine(['--help'], '1', style, [{ name: 'vm run', summary: 'run a VM' }]);
    expect(withPlugins).toMatchObject({ text: expect.stringMatching(/Of plugins:\n {2}vm run +run a VM/) });
  });

  it.each([
    [['--fromat', 'json'], `unknown option '--fromat'; did you mean "--format"?`],
    [['status', '--nam', 'x'], `unknown option '--nam'; did you mean "--name"?`],
    [['--format', 'xml'], 'Allowed choices are table, json, yaml'],
    [['plugin', 'info'], "missing required argument 'plugin'"],
    [['plugin', 'lst'], "unknown command 'lst'"],
    [['stop', '--timeout', 'soon'], 'It is not a number'],
    [['status', 'now'], 'too many arguments'],
  ])('refuses %j', (argv, why) => {
    expect(() => parse(...argv)).toThrow(
      expect.objectContaining({ code: 'SDK_ERR_USAGE', exit: 2, message: expect.stringContaining(why) }),
    );
  });
});

const globals: GlobalValues = {
  plugins: undefined,
  config: undefined,
  set: [],
  isolation: [],
  logLevel: undefined,
  name: undefined,
  format: 'table',
  debug: false,
};

describe('commands of plugins', () => {
  const spec: CommandSpec = {
    name: 'vm run',
    summary: 'run a VM',
    args: [
      { name: 'image', summary: 'what to boot', required: true },
      { name: 'command', summary: 'what to run', variadic: true },
    ],
    options: {
      cpuCount: { type: 'number', summary: 'how many', short: 'c', default: 1 },
      'dry-run': { type: 'boolean', summary: 'do nothing' },
      network: { type: 'boolean', summary: 'with network', default: true },
      share: { type: 'string', summary: 'folders', multiple: true },
      gpu: { type: 'string', summary: 'which', choices: ['none', 'venus'] },
      format: { type: 'string', summary: "the plugin's own" },
    },
  };
  const call = (...argv: string[]): unknown => {
    const parsed = parseForeign(spec, argv, globals, style);
    return 'call' in parsed ? parsed : parsed.text;
  };

  it('get arguments and options under the names of their specification', () => {
    expect(call('disk.img', 'echo', 'hi')).toMatchObject({
      call: {
        args: ['disk.img', 'echo', 'hi'],
        options: { cpuCount: 1, 'dry-run': false, network: true, share: [] },
      },
    });
    const given = ['-c', '4', '--dry-run', '--no-network', '--share', '/a', '--share=/b', '--gpu', 'venus', 'x.img'];
    expect(call(...given)).toMatchObject({
      call: {
        args: ['x.img'],
        options: { cpuCount: 4, 'dry-run': true, network: false, share: ['/a', '/b'], gpu: 'venus' },
      },
    });
  });

  it('have options that deny something, and are false without it', () => {
    const spec = { name: 'x', summary: 'x', options: { 'no-shell': { type: 'boolean', summary: 'x' } } } as const;
    const options = (...argv: string[]) => {
      const parsed = parseForeign(spec, argv, globals, style);
      return 'call' in parsed && parsed.call.options;
    };
    expect(options()).toEqual({ 'no-shell': false });
    expect(options('--no-shell')).toEqual({ 'no-shell': true });
  });

  it('take from the environment what is not given', () => {
    const variable = { type: 'string', summary: 'x', env: 'RUNTIME_TEST_OWNER' } as const;
    const isSet = { type: 'boolean', summary: 'y', env: 'RUNTIME_TEST_YES' } as const;
    const spec = { name: 'x', summary: 'x', options: { owner: variable, yes: isSet } };
    const options = (...argv: string[]) => {
      const parsed = parseForeign(spec, argv, globals, style);
      return 'call' in parsed ? parsed.call.options : parsed.text;
    };
    expect(options()).toEqual({ yes: false });
    process.env.RUNTIME_TEST_OWNER = 'ab';
    process.env.RUNTIME_TEST_YES = '';
    try {
      expect(options()).toEqual({ owner: 'ab', yes: true });
      expect(options('--owner=cd')).toEqual({ owner: 'cd', yes: true });
      expect(options('--help')).toContain('or RUNTIME_TEST_OWNER');
    } finally {
      delete process.env.RUNTIME_TEST_OWNER;
      delete process.env.RUNTIME_TEST_YES;
    }
  });

  it('keep an option that is called like one of ours', () => {
    expect(call('x', '--format', 'qcow2')).toMatchObject({
      call: { options: { format: 'qcow2' } },
      globals: { format: 'table' },
    });
    const plain = parseForeign({ name: 'x', summary: 'x' }, ['--format', 'json'], globals, style);
    expect(plain).toMatchObject({ call: { options: {} }, globals: { format: 'json' } });
  });

  it('have help of their own', () => {
    const help = String(call('--help')).replaceAll(/\s+/g, ' ');
    expect(help).toContain('Usage: runtime vm run [options] <image> [command...]');
    expect(help).toContain('--cpu-count <number> how many; default 1');
    expect(help).toContain('none or venus');
  });

  it('cannot write to the terminal by their descriptions', () => {
    const help = parseForeign({ name: 'x', summary: 'a\x1b[2Jb' }, ['--help'], globals, style);
    expect('text' in help && help.text).not.toContain('\x1b');
  });

  it('refuse what does not fit', () => {
    expect(() => call()).toThrow("missing required argument 'image'");
    expect(() => call('x', '--gpu', 'virgl')).toThrow('Allowed choices');
    expect(() => call('x', '--cpu-count', 'many')).toThrow('not a number');
  });
});

it('writes flags in kebab-case', () => {
  expect(['logLevel', 'dry-run', 'x'].map(flagOf)).toEqual(['log-level', 'dry-run', 'x']);
});
