import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { GrpcStatus } from '@runtime/sdk/errors';
import { Protobuf } from '@runtime/sdk/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { addRpcService } from '../rpc/rpc.ts';
import { templateTable } from '../wire/template.ts';
import { wakeGuest } from './wake.ts';

let folder: string;
let server: Server | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wake-'));
});
afterEach(() => {
  server?.forceShutdown();
  rmSync(folder, { recursive: true, force: true });
});

interface Heard {
  readonly seed: Uint8Array;
  readonly seconds: bigint;
}

async function serve(answer: (heard: Heard) => void): Promise<void> {
  server = new Server();
  const wire = new Protobuf(templateTable);
  addRpcService(server, wire, 'runtime.Template', {
    Wake: async (request) => {
      answer(request);
      return {};
    },
  });
  const path = `unix:${join(folder, 'vsock.sock.g8888')}`;
  await new Promise((resolve) => server?.bindAsync(path, ServerCredentials.createInsecure(), resolve));
}

const { signal } = new AbortController();

test('a guest that comes late is told the time, and gets a seed of its own', async () => {
  const heard: Heard[] = [];
  setTimeout(() => void serve((request) => heard.push(request)), 100);
  await wakeGuest(folder, signal);
  await wakeGuest(folder, signal);
  expect(heard.map(({ seed }) => seed.length)).toEqual([64, 64]);
  expect(heard[0]?.seed).not.toEqual(heard[1]?.seed);
  expect(Math.abs(Number(heard[0]?.seconds) - Date.now() / 1_000)).toBeLessThan(10);
});

test('one that refuses is not asked again', async () => {
  let calls = 0;
  await serve(() => {
    calls += 1;
    throw new Error('no');
  });
  await expect(wakeGuest(folder, signal)).rejects.toMatchObject({ code: GrpcStatus.unknown });
  expect(calls).toBe(1);
});

test('one that says nothing is given up when nobody waits', async () => {
  await expect(wakeGuest(folder, AbortSignal.timeout(100))).rejects.toThrow();
});
