// Shells and commands in a guest, as the person at a terminal and the programs at the ends of pipes have them.

import { spawn } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ROOT } from '../cli/command-line.ts';
import { Subject } from '../soak/subject.ts';
import { lacking } from '../vm/lab.ts';
import { lackingForTmux, lastOf, Tmux } from './tmux.ts';

const missing = lacking() ?? lackingForTmux();
const MIN = 60_000;
const LARGE = { columns: 100, rows: 30 };
const SMALL = { columns: 64, rows: 18 };
const BINARY_BYTES = 100_000_000;
const SHELLS = 50;
const RUNTIME = ['--conditions=@runtime/source', join(ROOT, 'sdk/bin/runtime.mjs')];

/** Its shell waits for a line. */
const showsGuest = (rows: readonly string[]): boolean => /@\S+:.*[#$]$/.test(lastOf(rows));

describe.skipIf(missing !== undefined)(`Shells${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  let subject: Subject;

  beforeAll(async () => {
    subject = new Subject();
    await subject.start();
    // Of the two images it has an editor.
    await subject.command('start', ['s'], { profile: 'full' });
  }, 10 * MIN);
  afterAll(() => subject[Symbol.asyncDispose](), MIN);

  const runtime = (...args: readonly string[]) =>
    spawn(process.execPath, [...RUNTIME, ...args], { env: subject.env, stdio: ['pipe', 'pipe', 'inherit'] });

  /** The command line is there as `runtime`. */
  const atTerminal = async (): Promise<Tmux> => {
    const tmux = new Tmux(subject.folder, subject.env, LARGE);
    await tmux.showsPrompt();
    tmux.enter(`runtime() { '${process.execPath}' ${RUNTIME.join(' ')} "$@"; }`);
    return tmux;
  };

  test(
    'an editor and top follow the size of the terminal, and leave it as it was',
    async () => {
      using tmux = await atTerminal();
      const before = await tmux.answerTo('stty -g');
      tmux.enter('runtime shell s -u root');
      await tmux.shows('a prompt of the guest', showsGuest);

      tmux.enter('cd /tmp; nano note');
      /** Its keys are in its last two rows, and its title is in the middle of the first. */
      const showsNano = ({ columns, rows }: typeof LARGE) =>
        tmux.shows(`nano in ${columns}×${rows}`, (lines) => {
          const title = lines[0]?.indexOf('note') ?? 0;
          return lines.length === rows && /\^X Exit/.test(lines[rows - 1] ?? '') && Math.abs(title - columns / 2) < 12;
        });
      await showsNano(LARGE);
      tmux.type('typed by hand');
      // A size that changes while nano is busy with a key is not seen until the next one.
      await tmux.shows('what was typed', (rows) => rows.includes('typed by hand'));
      tmux.resize(SMALL);
      await showsNano(SMALL);
      tmux.press('Enter');
      tmux.type('and here, ä€😀');
      tmux.press('C-o', 'Enter');
      await tmux.shows('what was written', (rows) => rows.some((row) => row.includes('Wrote 2 lines')));
      tmux.press('C-x');
      await tmux.shows('a prompt', showsGuest);
      expect(await subject.inGuest('s', 'cat /tmp/note')).toBe('typed by hand\nand here, ä€😀');

      tmux.enter('top -d 1');
      // There are more processes than rows.
      const showsTop = ({ columns, rows }: typeof LARGE) =>
        tmux.shows(`top in ${columns}×${rows}`, (lines) => {
          const heads = lines.findIndex((line) => /^ +PID USER/.test(line));
          return lines.length === rows && heads > 0 && lines.slice(heads).every((line) => /^ +(\d+|PID) /.test(line));
        });
      await showsTop(SMALL);
      tmux.resize(LARGE);
      await showsTop(LARGE);
      tmux.press('C-c');
      await tmux.shows('a prompt', showsGuest);

      tmux.enter('stty size');
      await tmux.shows('its size', (rows) => rows.includes(`${LARGE.rows} ${LARGE.columns}`));
      tmux.enter('sleep 1000');
      await tmux.shows('what runs', (rows) => lastOf(rows).endsWith('sleep 1000'));
      tmux.press('C-c');
      await tmux.shows('what ^C did', (rows) => lastOf(rows) !== '' && showsGuest(rows));
      tmux.enter('echo "code $?"');
      await tmux.shows('what ^C did', (rows) => rows.includes('code 130'));
      tmux.enter('exit 7');
      await tmux.showsPrompt(7);
      expect(await tmux.answerTo('stty -g')).toBe(before);
    },
    2 * MIN,
  );

  test(
    'vsh gives a terminal, and gives it back when its command is killed',
    async () => {
      using tmux = await atTerminal();
      const before = await tmux.answerTo('stty -g');
      tmux.enter("runtime vsh --vm_name=s --user=root -- sh -c 'tty; stty raw -echo; kill -9 $$'");
      await tmux.shows('a terminal of the guest', (rows) => rows.some((row) => row.startsWith('/dev/pts/')));
      await tmux.showsPrompt(137);
      expect(await tmux.answerTo('stty -g')).toBe(before);
    },
    MIN,
  );

  test(
    '100 MB of anything go in, and come back',
    async () => {
      const path = join(subject.folder, 'binary');
      const bytes = randomFillSync(Buffer.alloc(BINARY_BYTES));
      writeFileSync(path, bytes);
      const cat = runtime('exec', 's', '--', 'cat');
      const back = createHash('sha256');
      await Promise.all([pipeline(createReadStream(path), cat.stdin), pipeline(cat.stdout, back)]);
      expect(back.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'));
    },
    3 * MIN,
  );

  test(
    '50 shells at once have an answer of their own each',
    async () => {
      const vm = subject.client.vms.get('s');
      const shells = await Promise.all(
        Array.from({ length: SHELLS }, (_, at) =>
          vm.spawn(['/bin/sh', '-c', `echo at ${at}; read word; echo $word; exit ${at}`]),
        ),
      );
      const answers = await Promise.all(
        shells.map(async (shell, at) => {
          const chunks: Buffer[] = [];
          let said = false;
          for await (const chunk of shell.stdout) {
            chunks.push(chunk);
            // Until then it waits, beside all others.
            if (!said) shell.stdin.end(`word ${at}\n`);
            said = true;
          }
          return [Buffer.concat(chunks).toString(), await shell.exit];
        }),
      );
      expect(answers).toEqual(Array.from({ length: SHELLS }, (_, at) => [`at ${at}\nword ${at}\n`, at]));
    },
    2 * MIN,
  );

  test(
    'the end of the input is not that of the output, nor the other way round',
    async () => {
      const sorted = runtime('exec', 's', '--', 'sh', '-c', 'sort; sleep 1; echo and after; exit 9');
      sorted.stdin.end('b\na\n');
      const chunks: Buffer[] = [];
      sorted.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
      expect(await once(sorted, 'close')).toEqual([9, null]);
      expect(Buffer.concat(chunks).toString()).toBe('a\nb\nand after\n');

      const silent = runtime('exec', '-u', 'root', 's', '--', 'sh', '-c', 'exec >&- 2>&-; sleep 1; cat > /run/late');
      silent.stdout.resume();
      setTimeout(() => silent.stdin.end('late'), 1_500);
      expect(await once(silent, 'close')).toEqual([0, null]);
      expect(await subject.inGuest('s', 'cat /run/late')).toBe('late');
    },
    MIN,
  );

  test(
    '^C without a terminal interrupts the command',
    async () => {
      const trap = 'kill $!; echo told > /tmp/told; exit 42';
      const child = runtime('exec', 's', '--', 'sh', '-c', `trap '${trap}' INT; echo ready; sleep 1000 & wait`);
      await once(child.stdout, 'data');
      child.kill('SIGINT');
      expect(await once(child, 'close')).toEqual([130, null]);
      await vi.waitFor(async () => expect(await subject.inGuest('s', 'cat /tmp/told')).toBe('told'));
    },
    MIN,
  );

  test(
    'the end of the VM ends its shells, and the terminal is as before',
    async () => {
      using tmux = await atTerminal();
      const before = await tmux.answerTo('stty -g');
      tmux.enter('runtime shell s');
      await tmux.shows('a prompt of the guest', showsGuest);
      await subject.command('stop', ['s']);
      await tmux.showsPrompt('not 0');
      expect(await tmux.answerTo('stty -g')).toBe(before);
    },
    MIN,
  );
});
