import { isRuntimeError } from '@runtime/core';
import { expect, test } from 'vitest';
import { seededRandom } from '../../testing/virtio/front-end-hostile.ts';
import { BackendRequest, type PayloadKind, Request, requestById } from './messages.ts';
import { decodePayload, encodePayload, type Payloads } from './payloads.ts';

const HUGE = 2 ** 53 - 1;

const examples: { readonly [K in PayloadKind]: readonly [value: Payloads[K], bytes: number] } = {
  none: [undefined, 0],
  u64: [0xffff_ffff_ffff_ffffn, 8],
  'vring-state': [{ index: 3, num: 0xffff_ffff }, 8],
  'vring-address': [{ index: 1, flags: 1, descriptor: HUGE, used: 2 ** 47, available: 4096, log: 0 }, 40],
  'vring-area': [{ u64: 0x101n, size: 4096, offset: HUGE }, 24],
  'memory-table': [
    [
      { guestAddress: 0, size: 2 ** 31, userAddress: 2 ** 46, mmapOffset: 0 },
      { guestAddress: 2 ** 32, size: HUGE, userAddress: 2 ** 46 + 2 ** 31, mmapOffset: 2 ** 31 },
    ],
    72,
  ],
  'memory-region': [{ guestAddress: 2 ** 32, size: 1, userAddress: HUGE, mmapOffset: 4096 }, 40],
  log: [{ size: 2 ** 33, offset: 8 }, 16],
  iotlb: [{ iova: 1n, size: 2n, userAddress: 3n, permissions: 3, type: 2 }, 32],
  config: [{ offset: 8, flags: 1, bytes: Uint8Array.of(1, 2, 3) }, 15],
  inflight: [{ mmapSize: 2112, mmapOffset: 64, queues: 65_535, queueSize: 32_768 }, 24],
  transfer: [{ direction: 1, phase: 0 }, 8],
  uuid: [new Uint8Array(16).fill(7), 16],
  'shmem-map': [{ shmid: 255, fdOffset: 4096, shmOffset: HUGE, length: 2 ** 32, flags: 1 }, 40],
  'shmem-config': [[0, 4096, 0, 2 ** 33], 2056],
  opaque: [Uint8Array.of(9), 1],
};

test.each(Object.keys(examples) as PayloadKind[])('%s: out and in again, and in no other size', (kind) => {
  const [value, size] = examples[kind];
  const bytes = encodePayload(kind, value);
  expect(bytes.length).toBe(size);
  expect(decodePayload(kind, bytes)).toEqual(value);
  if (kind === 'opaque') return;
  for (const other of [bytes.slice(0, size - 1), Uint8Array.of(...bytes, 0)]) {
    if (kind !== 'none' || other.length > 0) expect(() => decodePayload(kind, other)).toThrow(`is no ${kind}`);
  }
});

test('no bytes decode to anything but a value or a refusal', () => {
  const random = seededRandom(3);
  for (let round = 0; round < 20_000; round++) {
    const kind = Object.keys(examples)[random(16)] as PayloadKind;
    const bytes = encodePayload(kind, examples[kind][0]).slice(0, random(8) === 0 ? random(60) : 4096);
    for (let i = random(6); i > 0 && bytes.length > 0; i--) bytes[random(bytes.length)] = random(256);
    try {
      decodePayload(kind, bytes);
    } catch (e) {
      if (!isRuntimeError(e, 'SDK_ERR_VHOST_USER_PROTOCOL')) throw e;
    }
  }
});

test('the table has each request of the protocol once, under its number', () => {
  const ids = Object.values(Request).map(({ id }) => id);
  expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 44 }, (_, i) => i + 1));
  for (const [name, spec] of Object.entries(Request)) {
    expect(spec.name).toBe(name);
    expect(requestById(spec.id)).toBe(spec);
  }
  expect(Object.values(BackendRequest).map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});
