// Completion in the shells themselves.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HELLO, Home, ROOT } from './command-line.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
  const node = `'${process.execPath}' --conditions=@runtime/source '${ROOT}/sdk/bin/runtime.mjs'`;
  const command = join(home.folder, 'bin/runtime');
  spawnSync('mkdir', ['-p', join(home.folder, 'bin')]);
  writeFileSync(command, `#!/bin/sh\nexec ${node} "$@"\n`);
  chmodSync(command, 0o755);
});
afterEach(() => home[Symbol.dispose]());

function shell(file: string, args: readonly string[], input?: string): SpawnSyncReturns<string> {
  const env = { ...home.env, PATH: `${join(home.folder, 'bin')}:${process.env.PATH}`, TERM: 'xterm' };
  return spawnSync(file, args, {
    env,
    cwd: home.folder,
    encoding: 'utf8',
    timeout: 20_000,
    ...(input === undefined ? {} : { input }),
  });
}
function lines(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
const isMissing = (name: string): boolean => {
  const missing = spawnSync(name, ['--version']).error !== undefined;
  if (missing) console.log(`skipped: ${name} is not installed`);
  return missing;
};

test.skipIf(isMissing('bash'))('bash offers words, values behind "=", lists and folders', () => {
  const script = `
    source <(runtime completion bash)
    try() {
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
      _runtime 2>/dev/null
      printf '%s|' "\${COMPREPLY[@]}"; echo
    }
    compopt() { :; }
    try runtime st
    try runtime plugin re
    try runtime plugin list --format = y
    try runtime -p ''
    mkdir -p plugins-here
    try runtime plugin enable ./plug
    try runtime --config nothing-like-that`;
  const { stdout, stderr } = shell('bash', ['--norc', '-c', script]);
  expect(stderr).toBe('');
  expect(stdout.trimEnd().split('\n')).toEqual([
    'status|stop|start|',
    'reload|',
    'yaml|',
    'crostini|sandbox|vmm|',
    './plugins-here|',
    '|',
  ]);
});

describe.skipIf(isMissing('fish'))('fish', () => {
  test('offers words with what they are for', async () => {
    const running = home.start(['--plugins', HELLO]);
    await running.says('ready in');
    const complete = (line: string): readonly string[] =>
      lines(shell('fish', ['--no-config', '-c', `runtime completion fish | source; complete -C '${line}'`]).stdout);
    expect(complete('runtime sta')).toContain('status\twhether a runtime runs, and the state of its plugins');
    expect(complete('runtime hello ')).toEqual(['greet\tgreet somebody']);
    expect(complete('runtime hello greet --l')).toEqual([expect.stringMatching(/^--loud/)]);
    expect(complete('runtime plugin reload ')).toEqual(['hello\tready']);
    expect(complete('runtime --format=j')).toEqual(['--format=json']);
  });
});

test.skipIf(isMissing('zsh'))('zsh offers words when the tab key is pressed', () => {
  // zpty gives zsh a terminal of its own, which its line editor needs.
  const script = `
    zmodload zsh/zpty
    zpty z zsh -f -i
    zpty -w z "PS1=; autoload -Uz compinit; compinit -u; source <(runtime completion zsh); print rea''dy"
    zpty -r z out '*ready*'
    zpty -w -n z $'runtime plu\\t'
    zpty -r z out '*plugin*' && print -r -- plugin
    zpty -w -n z $'inf\\t'
    zpty -r z out '*info*' && print -r -- info
    zpty -d z`;
  const { stdout } = shell('zsh', ['-f', '-c', script]);
  expect(lines(stdout)).toEqual(['plugin', 'info']);
});
