import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answers, claimSocket } from './socket-claim.ts';
import { checkSocketFolder, controlSocketPath } from './socket-path.ts';

let folder: string;
let path: string;
const servers: Server[] = [];
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'claim-'));
  path = join(folder, 'default.sock');
});
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

function newServer(greeting: string): Server {
  const server = createServer((socket) => socket.on('error', () => {}).end(greeting));
  servers.push(server);
  return server;
}

async function whoAnswers(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of connect(path)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** A socket whose owner was killed. */
async function leaveStaleSocket(name: string): Promise<void> {
  const script = `require('node:net').createServer().listen(${JSON.stringify(name)}, () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(existsSync(name)).toBe(true);
}

describe('the name of the control socket', () => {
  it('is taken with mode 0600, and released', async () => {
    const claimed = await claimSocket(newServer('me'), path);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(await whoAnswers()).toBe('me');
    expect(readdirSync(folder)).toEqual(['default.sock']);
    await claimed.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is not taken from the living', async () => {
    await claimSocket(newServer('first'), path);
    await expect(claimSocket(newServer('second'), path)).rejects.toMatchObject({ code: 'CORE_ERR_RUNTIME_RUNNING' });
    expect(await whoAnswers()).toBe('first');
    expect(readdirSync(folder)).toEqual(['default.sock']);
  });

  it('is taken over from the dead', async () => {
    await leaveStaleSocket(path);
    await claimSocket(newServer('heir'), path);
    expect(await whoAnswers()).toBe('heir');
    expect(readdirSync(folder)).toEqual(['default.sock']);
  });

  it.each([false, true])('goes to exactly one of many who want it at once (left by a dead one: %s)', async (stale) => {
    for (let round = 0; round < 20; round++) {
      if (stale) await leaveStaleSocket(path);
      const names = Array.from({ length: 8 }, (_, i) => `runtime ${i}`);
      const outcomes = await Promise.allSettled(
        names.map(async (name) => {
          // Not in step with each other, so that one sees what another has just changed.
          for (let i = Math.random() * 40; i > 0; i--) await setImmediate();
          return claimSocket(newServer(name), path);
        }),
      );
      const winners = names.filter((_, i) => outcomes[i]?.status === 'fulfilled');
      expect(winners).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'CORE_ERR_RUNTIME_RUNNING' });
      }
      expect(await whoAnswers()).toBe(winners[0]);
      expect(readdirSync(folder)).toEqual(['default.sock']);
      for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
      rmSync(path);
    }
  });

  it('is not lost to one who saw the dead socket, but acts after it was taken over', async () => {
    await leaveStaleSocket(path);
    const { promise: firstDone, resolve: firstIsDone } = Promise.withResolvers<void>();
    const { promise: secondSaw, resolve: secondHasSeen } = Promise.withResolvers<void>();
    const second = claimSocket(newServer('second'), path, async (name) => {
      const alive = await answers(name);
      secondHasSeen();
      await firstDone;
      return alive;
    });
    await secondSaw;
    await claimSocket(newServer('first'), path);
    firstIsDone();
    await expect(second).rejects.toMatchObject({ code: 'CORE_ERR_RUNTIME_RUNNING' });
    expect(await whoAnswers()).toBe('first');
    expect(readdirSync(folder)).toEqual(['default.sock']);
  });

  it('is taken over although another was killed while it did the same', async () => {
    await leaveStaleSocket(path);
    const { ino, dev, ctimeNs } = lstatSync(path, { bigint: true });
    const claim = createHash('sha256').update(`${dev}:${ino}:${ctimeNs}`).digest('hex').slice(0, 10);
    await leaveStaleSocket(join(folder, `.${claim}`));
    await claimSocket(newServer('heir'), path);
    expect(await whoAnswers()).toBe('heir');
    expect(readdirSync(folder)).toEqual(['default.sock']);
  });

  it("is not removed when it is another's by then", async () => {
    const claimed = await claimSocket(newServer('first'), path);
    rmSync(path);
    await claimSocket(newServer('second'), path);
    await claimed.release();
    expect(await whoAnswers()).toBe('second');
  });

  it('is not taken from a file that is no socket', async () => {
    writeFileSync(path, 'precious');
    await expect(claimSocket(newServer('me'), path)).rejects.toMatchObject({ code: 'CORE_ERR_CONTROL_PATH' });
    expect(lstatSync(path).size).toBe(8);
  });

  it('is refused when the kernel could not hold it', async () => {
    const long = join(folder, `${'x'.repeat(108 - folder.length)}.sock`);
    await expect(claimSocket(newServer('me'), long)).rejects.toMatchObject({
      code: 'CORE_ERR_CONTROL_PATH',
      message: expect.stringContaining('bytes, more than 107'),
    });
  });

  it('is refused in a folder that others may enter', async () => {
    chmodSync(folder, 0o750);
    await expect(claimSocket(newServer('me'), path)).rejects.toMatchObject({
      code: 'CORE_ERR_CONTROL_PATH',
      remedy: `chmod 700 ${folder}`,
    });
  });

  it('is refused in a folder that is only linked to', async () => {
    const elsewhere = join(folder, 'elsewhere');
    mkdirSync(elsewhere, { mode: 0o700 });
    symlinkSync(elsewhere, join(folder, 'runtime'));
    const attempt = claimSocket(newServer('me'), join(folder, 'runtime', 'default.sock'));
    await expect(attempt).rejects.toMatchObject({ message: expect.stringContaining('is not a folder') });
  });

  it('has a folder of its own, made with mode 0700', async () => {
    const inside = join(folder, 'runtime', 'default.sock');
    await claimSocket(newServer('me'), inside);
    expect(lstatSync(join(folder, 'runtime')).mode & 0o777).toBe(0o700);
  });

  it('keeps its place through a second link, as when a start was interrupted', async () => {
    await claimSocket(newServer('first'), path);
    linkSync(path, join(folder, '.0123456789'));
    await expect(claimSocket(newServer('second'), path)).rejects.toMatchObject({ code: 'CORE_ERR_RUNTIME_RUNNING' });
  });
});

describe('the place of the control socket', () => {
  it('is under XDG_RUNTIME_DIR', () => {
    expect(controlSocketPath({ XDG_RUNTIME_DIR: '/run/user/7' })).toBe('/run/user/7/runtime/default.sock');
    expect(controlSocketPath({ XDG_RUNTIME_DIR: '/run/user/7' }, 'work')).toBe('/run/user/7/runtime/work.sock');
  });

  it('is a folder named after the user when there is no such variable', () => {
    const uid = process.getuid?.();
    const expected = existsSync(`/run/user/${uid}`)
      ? `/run/user/${uid}/runtime/default.sock`
      : `${folder}/runtime-${uid}/default.sock`;
    expect(controlSocketPath({ TMPDIR: folder })).toBe(expected);
    expect(controlSocketPath({ TMPDIR: folder, XDG_RUNTIME_DIR: 'relative' })).toBe(expected);
  });

  it.each(['', '../x', 'a/b', '.hidden', 'x'.repeat(40)])('is refused for the name %j', (name) => {
    expect(() => controlSocketPath({}, name)).toThrow(expect.objectContaining({ code: 'CORE_ERR_CONTROL_PATH' }));
  });

  it('is not there before somebody made it', () => {
    expect(checkSocketFolder(join(folder, 'runtime', 'default.sock'))).toBe(false);
  });
});
