import type { CommandSpec } from '@runtime/core';
import { describe, expect, it } from 'vitest';
import { CLI_COMMANDS, GLOBAL_OPTIONS } from '../command-table.ts';
import { flagOf } from '../parse.ts';
import { type Candidate, complete } from './complete.ts';

const candidates = (...texts: string[]): readonly Candidate[] => texts.map((text) => ({ text, summary: `of ${text}` }));
const foreign: readonly CommandSpec[] = [
  {
    name: 'vm run',
    summary: 'run a VM',
    options: { gpu: { type: 'string', summary: 'which', choices: ['none', 'venus'] } },
  },
  { name: 'vm list', summary: 'list VMs' },
];
const sources = {
  plugins: () => candidates('crostini', 'core-sched', 'venus'),
  running: async () => candidates('crostini'),
  foreignCommands: async () => foreign,
};
async function texts(...words: string[]): Promise<readonly string[] | string> {
  const answer = await complete(words, sources);
  return typeof answer === 'string' ? answer : answer.map(({ text }) => text);
}

describe('completion', () => {
  it.each<[string[], string[] | string]>([
    [['st'], ['status', 'stop']],
    [['plugin', 'l'], ['list']],
    [
      ['vm', ''],
      ['run', 'list'],
    ],
    [
      ['config', ''],
      ['show', 'check'],
    ],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [
      ['inspect', 'p'],
      ['plugins', 'processes'],
    ],
    [
      ['plugin', 'info', 'c'],
      ['crostini', 'core-sched'],
    ],
    [['plugin', 'reload', ''], ['crostini']],
    [['plugin', 'enable', './'], 'folder'],
    [['plugin', 'dev', 'venus', 'cr'], ['crostini']],
    [['plugin', 'info', 'crostini', ''], []],
    [['--config', ''], 'file'],
    [['--format', 'j'], ['json']],
    [
      ['plugin', 'list', '--format', ''],
      ['table', 'json', 'yaml'],
    ],
    [['--format=y'], ['--format=yaml']],
    [['--format', '=', 'y'], ['yaml']],
    [
      ['--format', '='],
      ['table', 'json', 'yaml'],
    ],
    [['trace', '--kind', 'ev'], ['event']],
    [['trace', '--plugin', ''], ['crostini']],
    [
      ['--plugins', 'c'],
      ['crostini', 'core-sched'],
    ],
    [['-p', 'venus,cr'], ['venus,crostini']],
    [['-p', 'venus', 'vm', 'r'], ['run']],
    [
      ['vm', 'run', '--gpu', ''],
      ['none', 'venus'],
    ],
    [['vm', 'run', '--g'], ['--gpu']],
    [['nonsense', ''], []],
  ])('of %j is %j', async (words, expected) => {
    expect(await texts(...words)).toEqual(expected);
  });

  it('of nothing offers every first word once, with what is below it', async () => {
    const answer = await complete([''], sources);
    const words = new Set([...CLI_COMMANDS, ...foreign].map(({ name }) => name.split(' ')[0]));
    expect((answer as readonly Candidate[]).map(({ text }) => text)).toEqual([...words]);
    expect(answer).toContainEqual({ text: 'vm', summary: 'run, list' });
    expect(answer).toContainEqual({ text: 'doctor', summary: expect.stringContaining('check') });
  });

  it('of "-" offers options for every command first, and those of the command after it', async () => {
    const all = Object.keys(GLOBAL_OPTIONS).map((key) => `--${flagOf(key)}`);
    expect(await texts('-')).toEqual([...all, '--help', '--version']);
    const ofTrace = await texts('trace', '-');
    expect(ofTrace).toEqual(expect.arrayContaining(['--why', '--event', '--format', '--help']));
    expect(ofTrace).not.toContain('--plugins');
  });

  it('asks for what plugins add only where it could matter', async () => {
    let asked = 0;
    const foreignCommands = async (): Promise<readonly CommandSpec[]> => {
      asked += 1;
      return foreign;
    };
    const counting = { ...sources, foreignCommands };
    await complete(['plugin', 'l'], counting);
    expect(asked).toBe(0);
    await complete(['v'], counting);
    expect(asked).toBe(1);
  });
});
