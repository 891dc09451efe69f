import { spawn } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CommandHandler, CommandIo, CommandRegistry, CommandSpec, TerminalSize } from '@runtime/sdk';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startVshd } from '../../guest/src/vshd/index.ts';
import type { StartTermina, TerminaVm } from '../contract.ts';
import { errors } from '../errors.ts';
import { guestPath } from './cp.ts';
import { addOriginalVsh } from './vsh.ts';
import { addVsh } from './vsh-commands.ts';

const folder = mkdtempSync(join(tmpdir(), 'vsh-commands-'));
const handlers = new Map<string, { spec: CommandSpec; handler: CommandHandler<CommandSpec> }>();
let server: Server;
let calls: string[] = [];

/** VMs that are this machine. */
const concierge = {
  startVm: async ({ name, profile }: StartTermina) => {
    calls.push(`start ${name} ${profile}`);
    return {} as TerminaVm;
  },
  stopVm: async (name: string) => void calls.push(`stop ${name}`),
  endpoint: async (name: string) => {
    if (name === 'none') throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: name } });
    return { cid: 3, directory: name === 'dead' ? join(folder, 'dead') : folder };
  },
};

beforeAll(async () => {
  const commands = {
    add: (spec: CommandSpec, handler: CommandHandler<CommandSpec>) => handlers.set(spec.name, { spec, handler }),
  };
  addVsh(commands as unknown as CommandRegistry, concierge);
  const containers = { openShell: () => Promise.reject(new Error('no container')) };
  addOriginalVsh(commands as unknown as CommandRegistry, { manager: concierge, containers });
  server = createServer({ allowHalfOpen: true });
  startVshd(
    (onConnection) => server.on('connection', (stream) => onConnection(stream, { cid: 2, port: 1 })),
    () => {},
  );
  await new Promise<void>((resolve) => server.listen(join(folder, 'vsock.sock.g9001'), resolve));
});
beforeEach(() => {
  calls = [];
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

interface Run {
  readonly args?: readonly string[];
  readonly options?: object;
  readonly input?: AsyncIterable<Uint8Array>;
  readonly terminal?: CommandIo['terminal'];
  readonly resizes?: AsyncIterable<TerminalSize>;
  readonly signal?: AbortSignal;
  readonly onOut?: (text: string) => void;
}

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
async function* never(): AsyncGenerator<never> {
  await new Promise(() => {});
}

async function run(name: string, { args = [], options = {}, input, terminal, resizes, signal, onOut }: Run = {}) {
  const { spec, handler } = handlers.get(name) as NonNullable<ReturnType<typeof handlers.get>>;
  const result = { out: '', err: '', lines: [] as string[], raw: [] as boolean[], code: -1 };
  const io: CommandIo = {
    terminal: terminal ?? { isTTY: false, columns: 80, rows: 24 },
    resizes: resizes ?? never(),
    cwd: folder,
    out: async (line) => void result.lines.push(line),
    err: async (line) => void result.lines.push(line),
    write: async (bytes) => {
      result.out += Buffer.from(bytes);
      onOut?.(result.out);
    },
    writeErr: async (bytes) => {
      result.err += Buffer.from(bytes);
    },
    data: async () => {},
    progress: async () => {},
    raw: async (on) => void result.raw.push(on),
    input: input ?? bytesOf(''),
  };
  const defaults = Object.entries(spec.options ?? {}).map(([key, option]) => [
    key,
    option.multiple === true ? [] : option.type === 'boolean' ? false : undefined,
  ]);
  const values = { ...Object.fromEntries(defaults), ...(name === 'cp' ? { user: 'root' } : {}), ...options };
  const invocation = { args, options: values as never, io, signal: signal ?? new AbortController().signal };
  const code = await handler(invocation);
  return { ...result, code: code ?? 0 };
}

const root = { user: 'root' };

test('exec has the input, the output and the exit code of the command', async () => {
  const options = { ...root, env: ['A=b=c'], workdir: '/usr' };
  const args = ['vm', 'sh', '-c', 'cat; echo "$A $PWD"; echo oops >&2; exit 9'];
  const result = await run('exec', { args, options, input: bytesOf('in\n') });
  expect(result).toMatchObject({ out: 'in\nb=c /usr\n', err: 'oops\n', code: 9, raw: [] });
});

test('a shell of vsh begins where a process of the guest is, or in a folder', async () => {
  const child = spawn('sleep', ['60'], { cwd: '/usr/lib', stdio: 'ignore' });
  try {
    const pwd = async (cwd: string) =>
      (await run('vsh', { args: ['sh', '-c', 'pwd -P'], options: { ...root, vm_name: 'vm', cwd } })).out;
    expect(await pwd('/usr')).toBe('/usr\n');
    expect(await pwd(String(child.pid))).toBe('/usr/lib\n');
  } finally {
    child.kill();
  }
});

test('exec at a terminal has one in the guest, of its kind and size, and follows it', async () => {
  const terminal = { isTTY: true, inputIsTTY: true, columns: 100, rows: 30, type: 'xterm' };
  const { promise: isReady, resolve: ready } = Promise.withResolvers<void>();
  async function* resizes(): AsyncGenerator<TerminalSize> {
    await isReady;
    yield { columns: 50, rows: 20 };
  }
  const script = 'trap "stty size; exit 4" WINCH; stty size; echo "$TERM"; echo ready; while :; do sleep 0.02; done';
  const result = await run('exec', {
    ...{ args: ['vm', 'sh', '-c', script], options: root, terminal, resizes: resizes(), input: never() },
    onOut: (text) => text.includes('ready') && ready(),
  });
  expect(result.out).toMatch(/^30 100\r\nxterm\r\nready\r\n20 50\r\n/);
  expect(result).toMatchObject({ code: 4, raw: [true, false] });
});

test('a shell is a login shell, and typing ends it', async () => {
  const terminal = { isTTY: true, inputIsTTY: true, columns: 80, rows: 24 };
  const result = await run('shell', {
    options: root,
    terminal,
    input: bytesOf('shopt -q login_shell; echo l=$?; exit 6\n'),
  });
  expect(result.code).toBe(6);
  expect(result.out).toContain('l=0');
});

test('an interruption reaches the command, and the code is that of one', async () => {
  const controller = new AbortController();
  const onOut = (text: string) => text.includes('on') && controller.abort();
  const args = ['vm', 'sh', '-c', 'trap "echo heard; exit 130" INT; echo on; while sleep 0.05; do :; done'];
  const result = await run('exec', { args, options: root, input: never(), signal: controller.signal, onOut });
  expect(result.code).toBe(130);
  expect(result.out).toContain('heard');
});

test('what cannot be run has code 125, and 127 is for a command that is not there', async () => {
  for (const vm of ['none', 'dead']) {
    await expect(run('exec', { args: [vm, 'true'] })).rejects.toMatchObject({
      code: 'CROSTINI_ERR_NOT_RUN',
      exit: 125,
    });
  }
  await expect(run('exec', { args: ['vm', 'true'], options: { user: 'nobody-here' } })).rejects.toMatchObject({
    exit: 125,
  });
  expect(await run('exec', { args: ['vm', 'no-such-program'], options: root })).toMatchObject({ code: 127 });
});

test('run throws its VM away, also when the command fails or cannot be run', async () => {
  expect(await run('run', { args: ['sh', '-c', 'echo hi; exit 3'], options: root })).toMatchObject({
    out: 'hi\n',
    code: 3,
  });
  expect(calls).toEqual([expect.stringMatching(/^start run-[0-9a-f]{8} fast$/), expect.stringMatching(/^stop run-/)]);
  calls = [];
  await expect(run('run', { args: ['true'], options: { user: 'nobody-here' } })).rejects.toMatchObject({ exit: 125 });
  expect(calls).toEqual([expect.stringMatching(/^start/), expect.stringMatching(/^stop/)]);
});

test('run leaves a VM that has a name, and one that is to be kept', async () => {
  await run('run', { args: ['true'], options: { ...root, name: 'mine', profile: 'full' } });
  await run('run', { args: ['true'], options: { ...root, keep: true } });
  expect(calls).toEqual(['start mine full', expect.stringMatching(/^start run-/)]);
});

test('cp takes files and folders there and back, with modes and links', async () => {
  const source = join(folder, 'tree');
  mkdirSync(join(source, 'empty'), { recursive: true });
  mkdirSync(join(source, 'ünï'.padEnd(130, 'x')));
  const deep = join(source, 'ünï'.padEnd(130, 'x'), 'file');
  writeFileSync(deep, Buffer.alloc(100_001, 'abc'));
  writeFileSync(join(source, 'run.sh'), '#!/bin/sh\n');
  chmodSync(join(source, 'run.sh'), 0o751);
  symlinkSync('run.sh', join(source, 'link'));
  const there = mkdtempSync(join(tmpdir(), 'vsh-there-'));
  try {
    // Into a folder that exists, and under another name.
    await run('cp', { args: ['tree', `vm:${there}`] });
    await run('cp', { args: ['tree', `vm:${there}/other`] });
    for (const name of ['tree', 'other']) {
      expect(readFileSync(deep.replace(source, join(there, name)))).toEqual(readFileSync(deep));
      expect(statSync(join(there, name, 'run.sh')).mode & 0o777).toBe(0o751);
    }
    await run('cp', { args: [`vm:${there}/other/`, './'] });
    await run('cp', { args: [`vm:${there}/tree/run.sh`, 'again.sh'] });
    expect(readFileSync(deep.replace(source, join(folder, 'other')))).toEqual(readFileSync(deep));
    expect(readlinkSync(join(folder, 'other', 'link'))).toBe('run.sh');
    expect(statSync(join(folder, 'other', 'empty')).isDirectory()).toBe(true);
    expect(statSync(join(folder, 'again.sh')).mode & 0o777).toBe(0o751);
    // Again: a folder that is not empty stays as it is, a file is replaced.
    await expect(run('cp', { args: [`vm:${there}/other`, '.'] })).rejects.toMatchObject({ code: 'CROSTINI_ERR_COPY' });
    await run('cp', { args: [`vm:${there}/tree/run.sh`, 'again.sh'] });
  } finally {
    rmSync(there, { recursive: true });
  }
});

test('cp says what is not there, on either side, and leaves nothing behind', async () => {
  const refused = { code: 'CROSTINI_ERR_COPY' };
  await expect(run('cp', { args: ['vm:/no/such/file', 'x'] })).rejects.toMatchObject(refused);
  await expect(run('cp', { args: ['no-such-file', 'vm:/tmp'] })).rejects.toMatchObject(refused);
  await expect(run('cp', { args: ['again.sh', 'vm:/no/such/folder/x'] })).rejects.toMatchObject({
    ...refused,
    message: expect.stringContaining('/no/such/folder'),
  });
  await expect(run('cp', { args: ['a', 'b'] })).rejects.toMatchObject(refused);
  await expect(run('cp', { args: ['vm:a', 'vm:b'] })).rejects.toMatchObject(refused);
  expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
});

test('a path with a slash before its colon is one of the host', () => {
  expect(guestPath('vm:/x')).toEqual({ vm: 'vm', path: '/x' });
  expect(guestPath('vm:')).toEqual({ vm: 'vm', path: '.' });
  expect(guestPath('./vm:/x')).toBeUndefined();
  expect(guestPath('/x')).toBeUndefined();
});
